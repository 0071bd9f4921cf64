"""SAM 2's part: prompts, both directions, what is kept, who lives. With a network that sees by brightness
where the answer must be known, with random weights where only the mechanics count."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from keysync.errors import CheckpointError
from keysync.mask import sam2
from keysync.mask.occlusion import Click
from keysync.mask.sam2 import Sam2Follower, open_sam2
from keysync.mask.segmenter import SIDE

CPU = torch.device("cpu")
FACE, CUP, PEN = 150, 30, 220
STRETCH = Sam2Follower.stretch


class Seer:
    """In SAM 2's place: an object is whatever is as bright as what its prompt is on."""

    device, dtype = CPU, torch.float32
    config = SimpleNamespace(image_size=128)

    def __init__(self) -> None:
        self.calls: list[tuple[int, bool]] = []
        self.prompts: list[dict[str, object]] = []
        self.blind_to_points = self.blind = False
        self._level: dict[int, float] = {}

    def __call__(
        self, session: object, frame_idx: int, frame: torch.Tensor, reverse: bool
    ) -> SimpleNamespace:
        self.calls.append((frame_idx, reverse))
        grey = (frame[0] * 0.229 + 0.485) * 255
        if session.obj_with_new_inputs:  # type: ignore[attr-defined]
            session.obj_with_new_inputs = []  # type: ignore[attr-defined]
            self._level[id(session)] = self._asked(session, frame_idx, grey)
        if self.blind:
            grey = grey * 0 - 1
        seen = (grey - self._level[id(session)]).abs() < 20
        score = torch.full((1, 1), 1.0 if seen.any() else -1.0)
        return SimpleNamespace(pred_masks=(seen.float() * 20 - 10)[None, None], object_score_logits=score)

    def _asked(self, session: object, number: int, grey: torch.Tensor) -> float:
        points = session.point_inputs_per_obj[0].get(number)  # type: ignore[attr-defined]
        if points is None:
            mask = session.mask_inputs_per_obj[0][number][0, 0] > 0  # type: ignore[attr-defined]
            self.prompts.append({"mask": mask})
            return float(grey[mask].median())
        self.prompts.append({name: value[0, 0].tolist() for name, value in points.items()})
        x, y = points["point_coords"][0, 0, -1].round().int().tolist()
        return -1000.0 if self.blind_to_points else float(grey[y, x])


def film(frames: int = STRETCH, **things: dict[int, tuple[slice, slice]]) -> np.ndarray:
    """Plain faces; things={"cup": {frame: (rows, columns of 128)}}."""
    crops = np.full((frames, SIDE, SIDE, 3), FACE, np.uint8)
    for name, places in things.items():
        for number, area in places.items():
            crops[(number, *area)] = {"cup": CUP, "pen": PEN}[name]
    side = Sam2Follower.side
    return np.stack([cv2.resize(crop, (side, side), interpolation=cv2.INTER_NEAREST) for crop in crops])


def nothing(frames: int = STRETCH) -> np.ndarray:
    return np.zeros((frames, SIDE, SIDE), np.float32)


AREA, CRUDE = np.s_[40:80, 30:70], np.s_[44:78, 34:70]


def all_of(follower: Sam2Follower, *stretches: tuple[np.ndarray, ...]) -> np.ndarray:
    """The masks of a whole run."""
    return np.concatenate([*(follower.take(*stretch) for stretch in stretches), follower.rest()])


def shown(masks: np.ndarray, area: tuple[slice, slice] = AREA) -> list[int]:
    """The frames in which exactly ``area`` is hidden; in all others nothing may be."""
    exact = np.zeros((SIDE, SIDE), bool)
    exact[area] = True
    here = [number for number, mask in enumerate(masks) if (mask > 0.5).any()]
    for number in here:
        np.testing.assert_array_equal(masks[number] > 0.5, exact)
    return here


def test_what_was_found_once_is_followed_both_ways_and_gets_its_own_outline() -> None:
    seer = Seer()
    found = nothing()
    found[30:32][(slice(None), *CRUDE)] = 1
    masks = all_of(Sam2Follower(seer), (film(cup=dict.fromkeys(range(10, 51), AREA)), found))
    assert shown(masks) == list(range(10, 51))
    assert [number for number, reverse in seer.calls if reverse] == list(range(29, -1, -1))
    assert (31, False) in seer.calls
    (prompt,) = seer.prompts
    assert prompt["point_labels"] == [2, 3, 1]
    assert prompt["point_coords"][:2] == [[33.5, 43.5], [69.5, 77.5]]  # type: ignore[index]


def test_where_nothing_is_found_the_network_never_runs() -> None:
    seer = Seer()
    masks = all_of(Sam2Follower(seer), (film(), nothing()), (film(), nothing()))
    assert not masks.any()
    assert masks.shape == (2 * STRETCH, SIDE, SIDE)
    assert not seer.calls


def test_an_object_that_stays_is_not_lost_between_stretches() -> None:
    seer, found = Seer(), nothing()
    found[(STRETCH - 4, *CRUDE)] = 1
    long = film(cup=dict.fromkeys(range(STRETCH), AREA))
    masks = all_of(Sam2Follower(seer), (long, found), (long, nothing()), (long[:20], nothing(20)))
    assert shown(masks) == list(range(2 * STRETCH + 20))
    assert len(seer.prompts) == 1


def test_what_is_first_found_in_a_stretch_is_followed_back_into_the_one_before() -> None:
    found = nothing()
    found[(1, *CRUDE)] = 1
    before = film(cup=dict.fromkeys(range(40, STRETCH), AREA))
    after = film(cup=dict.fromkeys(range(9), AREA))
    masks = all_of(Sam2Follower(Seer()), (before, nothing()), (after, found))
    assert shown(masks) == list(range(40, STRETCH + 9))


def test_an_object_that_comes_back_soon_is_the_same_and_later_a_new_one() -> None:
    seer, found = Seer(), nothing()
    found[(5, *CRUDE)] = found[(60, *CRUDE)] = 1
    there = [*range(3, 15), *range(25, 29), *range(58, 62)]  # away for 10 frames, then for 29
    masks = all_of(Sam2Follower(seer), (film(cup=dict.fromkeys(there, AREA)), found))
    assert shown(masks) == there
    assert len(seer.prompts) == 2


@pytest.mark.parametrize(("there", "looked_for"), [(1, 1), (9, 9), (60, sam2._GONE)])
def test_a_lost_object_is_looked_for_as_long_as_it_was_there_but_not_for_ever(
    there: int, looked_for: int
) -> None:
    seer, found = Seer(), nothing()
    found[(0, *CRUDE)] = 1
    cups = film(cup=dict.fromkeys(range(there), AREA))
    all_of(Sam2Follower(seer), (cups, found), (film(), nothing()), (film(), nothing()))
    assert max(number for number, _ in seer.calls) == there + looked_for


def test_a_slanting_edge_gets_alpha_however_unsure_the_network_is() -> None:
    class Slanting(Seer):
        def __call__(self, *args: object, **options: object) -> SimpleNamespace:
            super().__call__(*args, **options)  # type: ignore[arg-type]
            y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
            logits = 0.001 * (x + y / 3 - 150)
            return SimpleNamespace(pred_masks=logits[None, None], object_score_logits=torch.ones(1, 1))

    follower = Sam2Follower(Slanting())
    follower.take(film(1), nothing(1), [Click(0, 300.0, 300.0)])
    (mask,) = follower.rest()
    y, x = np.mgrid[:SIDE, :SIDE] * 2 + 0.5  # centres in pixels of the answer
    beyond = (x + y / 3 - 150) / np.hypot(1, 1 / 3)
    assert (mask[beyond > 2] == 1).all()
    assert (mask[beyond < -2] == 0).all()
    assert len(np.unique(mask[np.abs(beyond) < 1])) > 4


def test_two_things_are_two_objects() -> None:
    seer, found = Seer(), nothing()
    other = np.s_[90:120, 80:120]
    found[(20, *CRUDE)] = found[(40, *other)] = 1
    cup, pen = dict.fromkeys(range(10, 30), AREA), dict.fromkeys(range(20, 50), other)
    masks = all_of(Sam2Follower(seer), (film(cup=cup, pen=pen), found)) > 0.5
    assert [bool(mask[AREA].all()) for mask in masks] == [10 <= k < 30 for k in range(STRETCH)]
    assert [bool(mask[other].all()) for mask in masks] == [20 <= k < 50 for k in range(STRETCH)]
    assert len(seer.prompts) == 2


def test_an_object_that_turns_out_to_be_a_known_one_is_given_up() -> None:
    seer = Seer()
    twice = [Click(10, 200.0, 240.0), Click(12, 210.0, 250.0)]
    crops = film(cup=dict.fromkeys(range(STRETCH), AREA))
    follower = Sam2Follower(seer)
    follower.take(crops, nothing(), twice)
    assert shown(follower.rest()) == list(range(STRETCH))
    assert len(seer.calls) == STRETCH + 3  # the second: its prompt, one frame back, one on


def test_if_sam_sees_another_thing_in_the_box_the_spot_itself_is_the_prompt() -> None:
    seer, found = Seer(), nothing()
    seer.blind_to_points = True
    found[(30, *CRUDE)] = 1
    masks = all_of(Sam2Follower(seer), (film(cup=dict.fromkeys(range(28, 33), AREA)), found))
    assert shown(masks) == list(range(28, 33))
    assert [list(prompt)[-1] for prompt in seer.prompts] == ["point_labels", "mask"]
    expected = np.zeros((SIDE, SIDE), bool)
    expected[CRUDE] = True
    np.testing.assert_array_equal(seer.prompts[1]["mask"].numpy(), expected)  # type: ignore[attr-defined]


def test_what_no_object_explains_stays_as_it_was_found() -> None:
    seer, found = Seer(), nothing()
    found[5, 10:16, 10:16] = 0.8  # too small for a prompt
    masks = all_of(Sam2Follower(seer), (film(), found))
    assert not seer.calls
    np.testing.assert_array_equal(masks, found)


def test_what_sam_denies_is_asked_about_once_and_stays_as_it_was_found() -> None:
    seer, found = Seer(), nothing()
    found[(30, *CRUDE)] = found[(40, *AREA)] = 1
    seer.blind = True
    masks = all_of(Sam2Follower(seer), (film(), found))
    assert len(seer.prompts) == 4  # two frames, each with a box and the spot itself
    np.testing.assert_array_equal(masks, found)


def test_a_click_is_a_point_on_a_new_object() -> None:
    seer = Seer()
    crops = film(cup=dict.fromkeys(range(20, 40), AREA))
    masks = all_of(Sam2Follower(seer), (crops, nothing(), [Click(25, 202.0, 242.0)]))
    assert shown(masks) == list(range(20, 40))
    # 512 pixels of the crop are 128 of this network, which puts 0 at the first one's centre.
    assert seer.prompts == [{"point_coords": [[50.0, 60.0]], "point_labels": [1]}]


def test_the_network_sees_normalised_pictures_of_its_own_size() -> None:
    frames: list[torch.Tensor] = []

    class Looking(Seer):
        def __call__(
            self, session: object, frame_idx: int, frame: torch.Tensor, reverse: bool
        ) -> SimpleNamespace:
            frames.append(frame)
            return super().__call__(session, frame_idx, frame, reverse)

    white = np.full((2, 512, 512, 3), 255, np.uint8)
    Sam2Follower(Looking()).take(white, nothing(2), [Click(0, 9.0, 9.0)])
    assert frames[0].shape == (3, 128, 128)
    for plane, mean, deviation in zip(frames[0], (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True):
        torch.testing.assert_close(plane, torch.full((128, 128), (1 - mean) / deviation))


def test_what_is_kept_of_a_long_run_is_bounded(sam2_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Random weights: let no object end, whatever they say.
    monkeypatch.setattr(sam2, "_SAME", 2.0)
    monkeypatch.setattr(sam2, "_GONE", 10**6)
    monkeypatch.setattr(Sam2Follower, "stretch", 24)
    follower = Sam2Follower(open_sam2(sam2_weights, CPU))
    rng, sizes = np.random.default_rng(0), []
    for number in range(4):
        crops = rng.integers(0, 255, (24, 512, 512, 3), dtype=np.uint8)
        clicks = [Click(12, 100.0, 200.0), Click(20, 300.0, 400.0)] if number == 0 else []
        masks = follower.take(crops, nothing(24), clicks)
        assert masks.shape == (24 if number else 0, SIDE, SIDE)
        assert len(follower._living) == 2
        assert len(follower._crops) == len(follower._masks) == 24
        assert len(follower._cache._vision_features) == 1
        for one in follower._living:
            session = one._session
            assert session.processed_frames is None
            (outputs,) = session.output_dict_per_obj.values()
            assert len(outputs["cond_frame_outputs"]) == 1
            assert len(outputs["non_cond_frame_outputs"]) == 15 or number == 0
            assert not session.frames_tracked_per_obj[0]
            kept = [tensor for kind in outputs.values() for one in kind.values() for tensor in one.values()]
            sizes.append(sum(tensor.nbytes for tensor in kept))
    assert max(sizes) == sizes[2] == sizes[-1]  # no more after four stretches than after two
    assert follower._first == 72


def test_pruning_changes_no_answer(sam2_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the way on from a prompt, what is dropped is what the network would not look at."""
    monkeypatch.setattr(sam2, "_SAME", 2.0)
    monkeypatch.setattr(sam2, "_GONE", 10**6)
    crops = np.random.default_rng(1).integers(0, 255, (40, 512, 512, 3), dtype=np.uint8)
    network = open_sam2(sam2_weights, CPU)

    def answers() -> np.ndarray:
        follower = Sam2Follower(network)
        follower.take(crops, nothing(40), [Click(2, 300.0, 200.0)])
        return follower.rest()

    pruned = answers()
    monkeypatch.setattr(sam2, "_REMEMBERED", 10**6)
    assert pruned.std() > 0
    np.testing.assert_array_equal(answers(), pruned)


def test_neither_torchvision_nor_a_processor_is_needed(sam2_weights: Path) -> None:
    script = f"""
import sys
sys.modules["torchvision"] = None  # importing it fails
from pathlib import Path
import numpy as np, torch
from keysync.mask.occlusion import Click
from keysync.mask.sam2 import Sam2Follower, open_sam2
follower = Sam2Follower(open_sam2(Path({str(sam2_weights)!r}), torch.device("cpu")))
found = np.zeros((4, 128, 128), np.float32)
found[1, 40:80, 40:80] = 1
follower.take(np.zeros((4, 512, 512, 3), np.uint8), found, [Click(2, 99.0, 99.0)])
assert follower.rest().shape == (4, 128, 128)
assert sys.modules["torchvision"] is None
assert not [name for name in sys.modules if name.startswith("transformers.models.sam2") and "process" in name]
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def folder(sam2_weights: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sam2_weights, tmp_path / "sam2"))


def _fails(folder: Path, fact: str) -> None:
    with pytest.raises(CheckpointError, match=fact) as caught:
        open_sam2(folder, CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_weights_name_the_folder_and_the_command(folder: Path, name: str) -> None:
    (folder / name).unlink()
    _fails(folder, rf"sam2/{name}: not there; 'keysync models fetch sam2' gets it, or put .* at {folder}")


def _configure(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"model_type": "sam2"}, r"config\.json: not a SAM 2 for video \(model_type is 'sam2'"),
        ({"image_size": 10**6}, r"image_size 1000000"),
        ({"image_size": "big"}, r"image_size 'big'"),
        ({"memory_attention_feed_forward_hidden_size": 10**8}, "larger than any SAM 2"),
        ({"image_size": 256}, "its sizes do not fit together"),
        ({"vision_config": 5}, r"config\.json: not a SAM 2 for video"),
        ({"memory_attention_num_layers": 2}, r"model\.safetensors: \d+ missing \(memory_attention"),
        ({"memory_attention_num_layers": 0}, r"model\.safetensors: \d+ unknown \(memory_attention"),
        ({"memory_fuser_intermediate_dim": 32}, r"model\.safetensors: .* of another shape"),
    ],
)
def test_another_networks_description_is_refused(folder: Path, changes: dict[str, object], fact: str) -> None:
    _configure(folder, **changes)
    _fails(folder, fact)


@pytest.mark.parametrize("content", ["", "[1]", "{}", "{}" + " " * 2**20])
def test_a_broken_description_is_one_line(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    _fails(folder, r"config\.json: not a SAM 2 for video")


def test_an_extra_weight_is_refused(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    save_file(state | {"surplus": torch.zeros(1)}, folder / "model.safetensors", {"format": "pt"})
    _fails(folder, r"model\.safetensors: 1 unknown \(surplus\)")


def test_a_pickle_is_refused_and_never_opened(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"PK\x03\x04 a pickle in a zip")
    _fails(folder, r"model\.safetensors: a pickle")


def test_too_large_a_file_is_refused_before_it_is_read(folder: Path) -> None:
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(sam2.MAX_BYTES + 1)
    _fails(folder, "more than the limit")

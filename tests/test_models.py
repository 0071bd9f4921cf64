import json
import pickle
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from keysync.audio.compact import CompactAudioEncoder
from keysync.checkpoints import hash_file
from keysync.errors import CheckpointError, ConfigError
from keysync.face.track import FaceTracker
from keysync.mask.occlusion import Together
from keysync.mask.sam2 import Sam2Follower
from keysync.models import OCCLUSION, load_models, load_occlusion
from keysync.outline import COMPACT, model_folder
from keysync.speech import Speech


@pytest.fixture
def folder(
    tiny_folder: Path, tmp_path: Path, still_face: type[FaceTracker], monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setattr("keysync.models.face_tracker", still_face)
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def _rewrite(folder: Path, name: str, **changes: torch.Tensor | None) -> None:
    """Change tensors of a part and make its hash fit again, as an honest but wrong file would."""
    state = load_file(folder / name)
    state.update({key: value for key, value in changes.items() if value is not None})
    for key in [key for key, value in changes.items() if value is None]:
        del state[key]
    save_file(state, folder / name)
    description = json.loads((folder / "model.json").read_text())
    description["sha256"][name] = hash_file(folder / name)
    (folder / "model.json").write_text(json.dumps(description))


def _fails(folder: Path, fact: str) -> None:
    with pytest.raises(CheckpointError, match=fact) as caught:
        load_models(folder, "cpu")
    assert "\n" not in str(caught.value)


def test_a_missing_key_names_it(folder: Path) -> None:
    _rewrite(folder, "autoencoder.safetensors", latent_mean=None)
    _fails(folder, r"autoencoder\.safetensors: 1 missing \(latent_mean\)")


def test_an_extra_key_names_it(folder: Path) -> None:
    _rewrite(folder, "keyframes.safetensors", surplus=torch.zeros(1))
    _fails(folder, r"keyframes\.safetensors: 1 unknown \(surplus\)")


def test_a_wrong_shape_names_both(folder: Path) -> None:
    _rewrite(folder, "audio.safetensors", token_mean=torch.zeros(3))
    _fails(folder, r"audio\.safetensors: .*token_mean \(3,\) instead of \(48,\)")


def test_an_altered_file_is_refused(folder: Path) -> None:
    content = bytearray((folder / "keyframes.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "keyframes.safetensors").write_bytes(content)
    _fails(folder, r"keyframes\.safetensors: SHA-256 .* is not the expected")


def test_a_pickle_is_refused_and_never_opened(folder: Path) -> None:
    (folder / "keyframes.safetensors").write_bytes(pickle.dumps({"weight": [1.0]}))
    _fails(folder, r"keyframes\.safetensors: a pickle")


def test_a_missing_part_is_named(folder: Path) -> None:
    (folder / "interpolation.safetensors").unlink()
    _fails(folder, r"interpolation\.safetensors: no such weight file")


@pytest.mark.parametrize("content", ["", "[1]", '{"kind": "compact"}', '{"kind": 5'])
def test_a_broken_description_is_one_line(folder: Path, content: str) -> None:
    (folder / "model.json").write_text(content)
    _fails(folder, r"model\.json: ")


def test_no_model_in_a_folder_tells_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="use --model compact"):
        load_models(tmp_path, "cpu")


def test_an_unknown_device_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="choose auto, cpu, cuda or mps"):
        load_models(folder, "tpu")


def test_auto_takes_the_full_model_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYSYNC_CACHE", str(tmp_path))
    assert model_folder("auto") == COMPACT
    full = tmp_path / "models" / "full"
    full.mkdir(parents=True)
    (full / "model.json").write_text("{}")
    assert model_folder("auto") == full


def test_the_shipped_model_loads_and_is_small(
    still_face: type[FaceTracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keysync.models.face_tracker", still_face)
    models = load_models("compact", "cpu")
    assert models.name == "compact"
    assert sum(path.stat().st_size for path in COMPACT.glob("*.safetensors")) <= 40e6


def test_the_networks_are_told_half_the_tuck_that_is_heard(folder: Path) -> None:
    generator = np.random.default_rng(0)
    sound = Speech([generator.normal(0, 0.1, 32_000).astype(np.float32)])
    stage = load_models(folder, "cpu").keyframes
    assert isinstance(stage.encoder, CompactAudioEncoder)
    heard = stage.encoder(torch.from_numpy(sound.samples(0, 32_000)))[51 - stage.tokens // 2 :]
    expected = stage.encoder.half_tucked(heard[: stage.tokens])
    told = stage.listen(sound)([Fraction(1)])[0]
    torch.testing.assert_close(told, expected)


def test_a_known_mouth_is_told_instead_of_what_is_heard_and_stays_as_it_ends(folder: Path) -> None:
    sound = Speech([np.zeros(16_000, np.float32)])
    stage = load_models(folder, "cpu").keyframes
    assert isinstance(stage.encoder, CompactAudioEncoder)
    times = [Fraction(0), Fraction(1, 2), Fraction(5)]
    mouth = np.arange(100, dtype=np.float32)[:, None].repeat(7, axis=1)  # every 20 ms; the last is silence
    jaw = stage.encoder.told_curves(stage.listen(sound, mouth)(times))[..., 0]
    own = [[0, 25, 250][frame] + np.arange(stage.tokens) - stage.tokens // 2 + 1 for frame in range(3)]
    torch.testing.assert_close(jaw, torch.tensor(np.clip(own, 0, 99)).to(jaw))


CPU = torch.device("cpu")


@pytest.fixture
def own_sam2(sam2_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of models, with SAM 2 in it."""
    monkeypatch.setenv("KEYSYNC_MODELS", str(tmp_path / "mine"))
    return Path(shutil.copytree(sam2_weights, tmp_path / "mine" / "sam2"))


@pytest.mark.usefixtures("own_sam2")
def test_sam2_follows_what_auto_finds_and_auto_stays_without_it() -> None:
    with_sam2, auto = load_occlusion("sam2", CPU), load_occlusion("auto", CPU)
    assert with_sam2 is not None
    assert auto is not None
    assert isinstance(with_sam2.finder, Together)
    assert isinstance(auto.finder, Together)
    assert with_sam2.follower is not None
    first, second = with_sam2.follower(), with_sam2.follower()
    assert isinstance(first, Sam2Follower)
    assert first is not second  # each run of a face has its own
    assert auto.follower is None
    assert load_occlusion("off", CPU) is None


def test_sam2_without_weights_names_the_command_and_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keysync.models.sam2_folder", lambda: tmp_path / "sam2")
    with pytest.raises(ConfigError, match=rf"'keysync models fetch sam2' .* at {tmp_path}/sam2$") as caught:
        load_occlusion("sam2", CPU)
    assert "\n" not in str(caught.value)


def test_the_digest_tells_all_weights_that_look_for_occluders_apart(own_sam2: Path, tmp_path: Path) -> None:
    def digest(occlusion: str, folder: Path = OCCLUSION) -> str:
        looking = load_occlusion(occlusion, CPU, folder)  # type: ignore[arg-type]
        assert looking is not None
        return looking.digest

    before = {how: digest(how) for how in ("hands", "auto", "sam2")}
    assert len(set(before.values())) == 3
    assert {how: digest(how) for how in before} == before
    # Another segmenter.
    other = Path(shutil.copytree(OCCLUSION, tmp_path / "occlusion"))
    state = load_file(other / "segmenter.safetensors")
    state["leave.bias"] = state["leave.bias"] + 1
    _rewrite(other, "segmenter.safetensors", **state)
    assert digest("auto", other) != before["auto"]
    assert digest("sam2", other) != before["sam2"]
    assert digest("hands", other) == before["hands"]
    # Another SAM 2.
    state = load_file(own_sam2 / "model.safetensors")
    state["no_object_pointer"] = state["no_object_pointer"] + 1
    save_file(state, own_sam2 / "model.safetensors", {"format": "pt"})
    assert digest("sam2") != before["sam2"]
    assert digest("auto") == before["auto"]

from pathlib import Path

import numpy as np
import pytest
import torch

from keysync.errors import CheckpointError, InputError
from keysync.evaluate.learned import lpips
from keysync.evaluate.learned.lpips import AlexNet, LinearHeads, Lpips

from .conftest import Clip, lively


def heads() -> LinearHeads:
    """Weights of heads are never negative."""
    network = lively(LinearHeads(8))
    for value in network.state_dict().values():
        value.abs_()
    return network  # type: ignore[return-value]


def metric() -> Lpips:
    return Lpips(lively(AlexNet(8)), heads())  # type: ignore[arg-type]


def test_identical_frames_have_no_distance_and_more_noise_has_more(clip: Clip) -> None:
    score, video = metric(), clip(18)
    noise = np.random.default_rng(1).normal(size=video.shape)
    values = [score.add(np.uint8(np.clip(video + s * noise, 0, 255)), video, None, None) for s in (0, 20, 80)]
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert values[0] < values[1] < values[2]
    assert score.total() == pytest.approx(np.mean(values))
    assert not Lpips.higher_is_better


def test_different_lengths_are_refused(clip: Clip) -> None:
    with pytest.raises(InputError, match="6 frames against 4"):
        metric().add(clip(6), clip(4), None, None)


@pytest.mark.usefixtures("unpinned")
def test_the_published_files_load(models: Path, monkeypatch: pytest.MonkeyPatch, clip: Clip) -> None:
    monkeypatch.setattr(Lpips, "build", staticmethod(lambda: (AlexNet(8), LinearHeads(8))))
    state = {**lively(AlexNet(8)).state_dict(), "classifier.1.weight": torch.zeros(1)}
    torch.save(state, models / lpips.BACKBONE.name)
    assert "alex.pth" in str(Lpips.absent())
    torch.save(heads().state_dict(), models / lpips.HEADS.name)
    assert Lpips.absent() is None
    loaded = Lpips.load("cpu").add(clip(2, 1), clip(2), None, None)
    assert loaded == metric().add(clip(2, 1), clip(2), None, None)


def test_the_published_files_are_pinned(models: Path) -> None:
    torch.save(AlexNet(8).state_dict(), models / lpips.BACKBONE.name)
    with pytest.raises(CheckpointError, match="not the published 7be5be791159"):
        lpips.BACKBONE.load(AlexNet(8))


def test_official_names_of_both_networks() -> None:
    alex = {name: tuple(value.shape) for name, value in AlexNet().state_dict().items()}
    assert [name for name in alex if name.endswith("weight")] == [
        f"features.{index}.weight" for index in (0, 3, 6, 8, 10)
    ]
    assert alex["features.3.weight"] == (192, 64, 5, 5)
    shapes = {name: tuple(value.shape) for name, value in LinearHeads().state_dict().items()}
    assert shapes == {
        f"lin{index}.model.1.weight": (1, width, 1, 1) for index, width in enumerate((64, 192, 384, 256, 256))
    }

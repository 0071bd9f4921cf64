from pathlib import Path

import numpy as np
import pytest
import torch

from keysync.errors import CheckpointError, InputError
from keysync.evaluate.learned import lse
from keysync.evaluate.learned.lse import LseC, LseD, SyncScorer, search_offset
from keysync.evaluate.learned.mfcc import mfcc
from keysync.evaluate.learned.syncnet import SyncNet

from .conftest import Clip, lively


def speech(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, frames * 640).astype(np.float32)


@pytest.mark.parametrize("late", [-4, 0, 3])
def test_the_search_finds_by_how_much_the_picture_is_late(late: int) -> None:
    sounds = torch.randn(80, 16, generator=torch.Generator().manual_seed(0))
    found = search_offset(torch.roll(sounds, late, dims=0), sounds)
    assert found.offset == late
    assert found.confidence > 2


def test_perfect_sync_has_no_distance_and_noise_no_confidence() -> None:
    make = torch.Generator().manual_seed(0)
    a, b = torch.randn(200, 64, generator=make), torch.randn(200, 64, generator=make)
    perfect, noise = search_offset(a, a), search_offset(a, b)
    assert perfect.distance == pytest.approx(0, abs=1e-3)
    assert perfect.confidence > 5
    assert noise.confidence < 0.5 * perfect.confidence
    assert noise.distance > perfect.distance


def test_delayed_speech_moves_the_best_offset() -> None:
    """Through the sound network: lips that agree with the sound, then the same lips with late sound."""
    network, frames = lively(SyncNet(16)), 60
    sound = speech(frames)
    late = np.concatenate([np.zeros(3 * 640, np.float32), sound])[: len(sound)]
    windows = frames - 5
    lips = network.sounds(torch.from_numpy(mfcc(sound)), windows)
    moved = network.sounds(torch.from_numpy(mfcc(late)), windows)
    assert search_offset(lips, lips).offset == 0
    assert search_offset(lips, moved).offset == -3


def test_a_stretched_pass_gives_every_window_its_own_vector() -> None:
    network = lively(SyncNet(16))
    frames = torch.rand(23, 3, 224, 224) * 255  # more than one batch
    together = network.lips(frames)
    assert len(together) == 19
    for start in (0, 7, 15, 16, 18):
        torch.testing.assert_close(
            network.lips(frames[start : start + 5])[0], together[start], rtol=1e-3, atol=1e-3
        )


def test_both_metrics_share_one_pass(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    network, passes = lively(SyncNet(16)), []
    plain = SyncNet.lips
    monkeypatch.setattr(SyncNet, "lips", lambda self, x: (passes.append(1), plain(self, x))[1])
    scorer = SyncScorer(network)
    c, d = LseC(scorer), LseD(scorer)
    for seed in (0, 1):
        assert c.add(clip(8, seed), clip(8), speech(8), None) >= 0
        assert d.add(clip(8, seed), clip(8), speech(8), None) > 0
    assert len(passes) == 2
    video = clip(8)
    first = d.add(video, video, speech(8), None)
    video[:] = 255 - video  # another clip in the same memory
    assert d.add(video, video, speech(8), None) != first


def test_what_syncnet_cannot_judge_is_refused(clip: Clip) -> None:
    metric = LseC(SyncScorer(lively(SyncNet(16))))
    with pytest.raises(InputError, match="no speech"):
        metric.add(clip(8), clip(8), None, None)
    with pytest.raises(InputError, match="needs 6 frames"):
        metric.add(clip(8), clip(8), speech(5), None)
    with pytest.raises(InputError, match="8 frames against 7"):
        metric.add(clip(8), clip(7), speech(8), None)
    assert metric.total() is None


@pytest.mark.usefixtures("unpinned")
def test_the_published_file_loads_once_for_both(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "syncnet_v2.model" in str(LseC.absent())
    monkeypatch.setattr(lse, "SyncNet", lambda: SyncNet(16))
    lse.load_scorer.cache_clear()
    state = SyncNet(16).state_dict()
    torch.save({**state, "netfclip.3.bias": torch.zeros(3)}, models / lse.WEIGHTS.name)
    with pytest.raises(CheckpointError, match=r"netfclip\.3\.bias \(3,\)"):
        LseC.load("cpu")
    torch.save(state, models / lse.WEIGHTS.name)
    assert LseC.absent() is None
    assert LseC.load("cpu")._scorer is LseD.load("cpu")._scorer
    lse.load_scorer.cache_clear()


def test_the_published_file_is_pinned(models: Path) -> None:
    torch.save(SyncNet(16).state_dict(), models / lse.WEIGHTS.name)
    with pytest.raises(CheckpointError, match="not the published 961e8696f888"):
        LseD.load("cpu")


def test_official_names_of_the_network() -> None:
    shapes = {name: tuple(value.shape) for name, value in SyncNet().state_dict().items()}
    assert shapes["netcnnaud.0.weight"] == (64, 1, 3, 3)
    assert shapes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert shapes["netcnnlip.0.weight"] == (96, 3, 5, 7, 7)
    assert shapes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert shapes["netfcaud.3.weight"] == (1024, 512)
    assert shapes["netfclip.1.running_var"] == (512,)

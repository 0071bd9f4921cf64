"""Small networks with random weights in the place of the published ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import UInt8
from torch import nn

from keysync.evaluate.learned import weights

Clip = Callable[..., UInt8[np.ndarray, "t h w 3"]]


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of weight files, and an empty cache beside it."""
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.setenv("KEYSYNC_MODELS", str(folder))
    monkeypatch.setenv("KEYSYNC_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def unpinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights have no published hash."""
    plain = weights.WeightFile.path

    def path(file: weights.WeightFile) -> Path:
        return plain(weights.WeightFile(file.name, file.source))

    monkeypatch.setattr(weights.WeightFile, "path", path)


@pytest.fixture
def clip() -> Clip:
    """clip(frames, seed, size): a noisy picture that drifts, so frames differ but follow each other."""

    def make(frames: int = 6, seed: int = 0, size: int = 128) -> UInt8[np.ndarray, "t h w 3"]:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (size // 8, size // 8, 3)).astype(np.uint8)
        picture = coarse.repeat(8, axis=0).repeat(8, axis=1)
        return np.stack([np.roll(picture, 3 * index, axis=1) for index in range(frames)])

    return make


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights that keep signals alive through many layers, and statistics that are not 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if not value.is_floating_point():
            continue
        if value.ndim > 1:
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
        elif name.endswith(("running_var", "weight")):
            value.uniform_(0.5, 1.5, generator=generator)
        else:
            value.normal_(0, 0.1, generator=generator)
    return network.eval().requires_grad_(False)

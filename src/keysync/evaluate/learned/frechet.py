"""FID and FVD: how far the generated set is from the true one, as Gaussians of features."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional as F

from keysync.errors import InputError
from keysync.evaluate.learned import i3d, inception
from keysync.evaluate.learned.distance import Moments, frechet_distance
from keysync.evaluate.learned.i3d import I3d
from keysync.evaluate.learned.inception import Inception
from keysync.evaluate.learned.metric import LearnedMetric, check_pair, device_of, to_unit
from keysync.evaluate.learned.weights import WeightFile

INCEPTION = WeightFile(
    "pt_inception-2015-12-05-6726825d.pth",
    "the releases of github.com/mseitzer/pytorch-fid",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
I3D = WeightFile("i3d_pretrained_400.pt", "github.com/wilson1yan/VideoGPT")
WINDOW = 16  # frames of one FVD sample
_BATCH = 16  # frames at once


class _FrechetMetric(LearnedMetric):
    higher_is_better: ClassVar[bool] = False

    def __init__(self, dim: int) -> None:
        self._pred, self._ref = Moments(dim), Moments(dim)

    @abstractmethod
    def _features(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, "n dim"]: ...

    @torch.no_grad()
    def add(
        self,
        pred: UInt8[np.ndarray, "t h w 3"],
        ref: UInt8[np.ndarray, "u h w 3"],
        speech: Float32[np.ndarray, " n"] | None,  # noqa: ARG002
        mouth: Float32[np.ndarray, "v 68 2"] | None,  # noqa: ARG002
    ) -> None:
        check_pair(pred, ref)
        features = self._features(pred), self._features(ref)
        self._pred.add(features[0])
        self._ref.add(features[1])

    def total(self) -> float | None:
        if self._pred.count < 2:  # one sample has no covariance
            return None
        a, b = self._pred, self._ref
        return frechet_distance(a.mean, a.covariance, b.mean, b.covariance)


class Fid(_FrechetMetric):
    """Fréchet distance of Inception features over all frames of all clips; 0 for equal sets, lower is better.

    Misleads: strongly biased for few frames, and blind to sync and motion. The crops are of faces, so values
    compare with each other, not with those of whole frames.

    Source: Heusel et al. 2017, arXiv:1706.08500.
    """

    files: ClassVar[tuple[WeightFile, ...]] = (INCEPTION,)

    def __init__(self, network: Inception) -> None:
        super().__init__(network.dim)
        self._network = network

    @staticmethod
    def build() -> Inception:
        """The network at the size of the published file."""
        return Inception()

    @classmethod
    def load(cls, device: str) -> Fid:
        return cls(INCEPTION.load(cls.build(), unused=("fc.",)).to(device))

    def _features(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, "t dim"]:
        parts = []
        for start in range(0, len(frames), _BATCH):
            x = to_unit(frames[start : start + _BATCH], device_of(self._network))
            x = F.interpolate(x, (inception.SIDE, inception.SIDE), mode="bilinear", align_corners=False)
            parts.append(self._network(2 * x - 1).cpu().numpy())
        return np.concatenate(parts)


class Fvd(_FrechetMetric):
    """Fréchet distance of I3D scores over windows of 16 frames; 0 for equal sets, lower is better.

    Every clip is cut into whole windows from its start; the rest of less than 16 frames is not looked at.
    Misleads: biased for few windows, and moved more by how frames look than by how they follow each other
    (Ge et al. 2024, arXiv:2404.12391).

    Source: Unterthiner et al. 2018, arXiv:1812.01717.
    """

    files: ClassVar[tuple[WeightFile, ...]] = (I3D,)

    def __init__(self, network: I3d) -> None:
        super().__init__(i3d.ACTIONS)
        self._network = network

    @staticmethod
    def build() -> I3d:
        """The network at the size of the published file."""
        return I3d()

    @classmethod
    def load(cls, device: str) -> Fvd:
        return cls(I3D.load(cls.build()).to(device))

    def _features(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, "n 400"]:
        if len(frames) < WINDOW:
            raise InputError(f"{len(frames)} frames; FVD needs {WINDOW} or more")
        parts = [
            self._network(self._window(frames[start : start + WINDOW])).cpu().numpy()
            for start in range(0, len(frames) - WINDOW + 1, WINDOW)
        ]
        return np.concatenate(parts)

    def _window(self, frames: UInt8[np.ndarray, "16 h w 3"]) -> Float[Tensor, "1 3 16 224 224"]:
        x = to_unit(frames, device_of(self._network))
        x = F.interpolate(x, (i3d.SIDE, i3d.SIDE), mode="bilinear", align_corners=False)
        window: Tensor = rearrange(2 * x - 1, "t c h w -> 1 c t h w")
        return window

"""LSE-C and LSE-D: how sure SyncNet is that lips and sound belong together."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional as F

from keysync.errors import InputError
from keysync.evaluate.learned.metric import ClipMetric, check_pair, device_of
from keysync.evaluate.learned.mfcc import mfcc
from keysync.evaluate.learned.syncnet import FRAMES, SIDE, SyncNet
from keysync.evaluate.learned.weights import WeightFile
from keysync.face.warp import warp

WEIGHTS = WeightFile(
    "syncnet_v2.model",
    "robots.ox.ac.uk/~vgg/software/lipsync",
    "961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
)

REACH = 15  # frames searched to either side, as in Prajwal et al. 2020
_SAMPLES_PER_FRAME = 640
# SyncNet sees 1.4 times the face detector's box, shifted down. Our crop is aligned, so that view is one fixed
# square in it: left, top and side as shares of the crop. It reaches beyond the crop on all sides.
_LEFT, _TOP, _VIEW = -0.18, -0.09, 1.36
_OUTSIDE = 110  # grey level that the published preparation puts beyond the picture


@dataclass(frozen=True, slots=True)
class Sync:
    """What SyncNet says of one clip."""

    distance: float  # LSE-D: at the best offset, lower is better
    confidence: float  # LSE-C: median over offsets minus the best, higher is better
    offset: int  # frames of 40 ms by which the picture runs behind the sound


def search_offset(
    lips: Float[Tensor, "window dim"], sounds: Float[Tensor, "window dim"], reach: int = REACH
) -> Sync:
    """Slide the sound against the lips and take the offset of least mean distance.

    Beyond the ends of the clip the sound's vectors are zero, as in the published program; this biases
    clips that are not much longer than ``reach``.

    Source: Chung and Zisserman 2016; LSE-C and LSE-D, Prajwal et al. 2020, arXiv:2008.10010.
    """
    padded = F.pad(sounds, (0, 0, reach, reach))
    means = torch.stack(
        [
            F.pairwise_distance(lips, padded[shift : shift + len(lips)]).mean()
            for shift in range(2 * reach + 1)
        ]
    )
    best = int(means.argmin())
    return Sync(float(means[best]), float(means.median() - means[best]), reach - best)


class SyncScorer:
    """SyncNet on one device; the last clip's answer is kept, because LSE-C and LSE-D both ask for it."""

    def __init__(self, network: SyncNet) -> None:
        self._network = network
        self._last: tuple[bytes, Sync] | None = None

    @torch.no_grad()
    def score(self, pred: UInt8[np.ndarray, "t h w 3"], speech: Float32[np.ndarray, " n"]) -> Sync:
        """How well the clip is in sync.

        Raises:
            InputError: fewer than 6 frames with sound.
        """
        frames = min(len(pred), len(speech) // _SAMPLES_PER_FRAME)
        windows = frames - FRAMES  # the published program leaves the last one out
        if windows < 1:
            raise InputError(
                f"{len(pred)} frames, {len(speech) / 16000:.2f} s of speech; SyncNet needs 6 frames (0.24 s)"
            )
        views = np.stack([_view(frame) for frame in pred[:frames]])
        key = hashlib.blake2b(views.tobytes() + speech.tobytes()).digest()
        if self._last is None or self._last[0] != key:
            device = device_of(self._network)
            bgr = torch.from_numpy(np.ascontiguousarray(views[..., ::-1])).to(device).permute(0, 3, 1, 2)
            cepstrum = torch.from_numpy(mfcc(speech)).to(device)
            lips = self._network.lips(bgr.float())[:windows]
            self._last = key, search_offset(lips, self._network.sounds(cepstrum, windows))
        return self._last[1]


@lru_cache(maxsize=1)
def load_scorer(device: str) -> SyncScorer:
    """SyncNet from the user's file, loaded once for both metrics.

    Raises:
        CheckpointError: the file is missing, altered, or does not fit.
    """
    return SyncScorer(WEIGHTS.load(SyncNet()).to(device))


class _SyncMetric(ClipMetric):
    files: ClassVar[tuple[WeightFile, ...]] = (WEIGHTS,)

    def __init__(self, scorer: SyncScorer) -> None:
        super().__init__()
        self._scorer = scorer

    @classmethod
    def load(cls, device: str) -> _SyncMetric:
        return cls(load_scorer(device))

    def _sync(
        self,
        pred: UInt8[np.ndarray, "t h w 3"],
        ref: UInt8[np.ndarray, "u h w 3"],
        speech: Float32[np.ndarray, " n"] | None,
    ) -> Sync:
        check_pair(pred, ref)
        if speech is None:
            raise InputError("no speech; LSE-C and LSE-D compare the lips with it")
        return self._scorer.score(pred, speech)


class LseC(_SyncMetric):
    """SyncNet confidence, 0 and up; higher is better.

    Misleads: a generator that was trained against SyncNet can outscore real video. Only the generated
    video and the speech are looked at, ``ref`` is not.
    """

    higher_is_better: ClassVar[bool] = True

    def add(
        self,
        pred: UInt8[np.ndarray, "t h w 3"],
        ref: UInt8[np.ndarray, "u h w 3"],
        speech: Float32[np.ndarray, " n"] | None,
        mouth: Float32[np.ndarray, "v 68 2"] | None,  # noqa: ARG002
    ) -> float:
        return self._keep(self._sync(pred, ref, speech).confidence)


class LseD(_SyncMetric):
    """SyncNet distance, 0 and up; lower is better. Misleads as LSE-C does."""

    higher_is_better: ClassVar[bool] = False

    def add(
        self,
        pred: UInt8[np.ndarray, "t h w 3"],
        ref: UInt8[np.ndarray, "u h w 3"],
        speech: Float32[np.ndarray, " n"] | None,
        mouth: Float32[np.ndarray, "v 68 2"] | None,  # noqa: ARG002
    ) -> float:
        return self._keep(self._sync(pred, ref, speech).distance)


def _view(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "224 224 3"]:
    """The square that SyncNet expects around a face, out of an aligned crop."""
    height, width = frame.shape[:2]
    left, right = round(-_LEFT * width), round((_VIEW + _LEFT - 1) * width)
    above, below = round(-_TOP * height), round((_VIEW + _TOP - 1) * height)
    padded = np.pad(frame, ((above, below), (left, right), (0, 0)), constant_values=_OUTSIDE)
    scale = SIDE / padded.shape[1]
    return warp(padded, np.array([[scale, 0, 0], [0, scale, 0]], np.float64), SIDE, SIDE)

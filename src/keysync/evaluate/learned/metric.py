"""What every metric with learned weights can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from keysync.errors import InputError
from keysync.evaluate.learned.weights import WeightFile


class LearnedMetric(ABC):
    """One number about generated videos, measured by a published network."""

    files: ClassVar[tuple[WeightFile, ...]]
    higher_is_better: ClassVar[bool]

    @classmethod
    def absent(cls) -> str | None:
        """One line that says why it cannot run here; None if it can."""
        return next((line for file in cls.files if (line := file.absent()) is not None), None)

    @classmethod
    @abstractmethod
    def load(cls, device: str) -> LearnedMetric:
        """The metric with its network on ``device``, no clip added yet.

        Raises:
            CheckpointError: a weight file is missing, altered, or does not fit.
        """

    @abstractmethod
    def add(
        self,
        pred: UInt8[np.ndarray, "t h w 3"],
        ref: UInt8[np.ndarray, "u h w 3"],
        speech: Float32[np.ndarray, " n"] | None,
        mouth: Float32[np.ndarray, "v 68 2"] | None,
    ) -> float | None:
        """Take in one clip.

        Args:
            pred: aligned face crops of the generated video, RGB at 25 frames per second.
            ref: the same of the true one, equally long.
            speech: what ``pred`` should say, 16 kHz mono, -1 to 1.
            mouth: landmarks (iBUG 68) of every frame in crop pixels; NaN where a frame has none.
        Returns:
            The clip's own value, or None for metrics that compare whole sets.
        Raises:
            InputError: lengths differ, or something that the metric needs is missing or too short.
        """

    @abstractmethod
    def total(self) -> float | None:
        """The value over all clips added; None if there were too few to tell."""


class ClipMetric(LearnedMetric):
    """A metric that every clip has for itself; the total is the mean over clips."""

    def __init__(self) -> None:
        self._values: list[float] = []

    def _keep(self, value: float) -> float:
        self._values.append(value)
        return value

    def total(self) -> float | None:
        return float(np.mean(self._values)) if self._values else None


def check_pair(pred: UInt8[np.ndarray, "t h w 3"], ref: UInt8[np.ndarray, "u h w 3"]) -> None:
    """Raises InputError unless both have the same number of frames, one or more."""
    if len(pred) != len(ref) or not len(pred):
        raise InputError(f"{len(pred)} frames against {len(ref)}; both must be equally long, 1 frame or more")


def to_unit(frames: UInt8[np.ndarray, "t h w 3"], device: torch.device) -> Float[Tensor, "t 3 h w"]:
    """Frames as a network takes them: channels first, 0 to 1."""
    return torch.from_numpy(np.ascontiguousarray(frames)).to(device).permute(0, 3, 1, 2).float() / 255


def device_of(network: torch.nn.Module) -> torch.device:
    """Where the weights of a network lie."""
    return next(network.parameters()).device

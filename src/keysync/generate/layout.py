"""Which frames are keyframes, how they are grouped, which windows lie between them.

Keyframe k stands at frame ``spacing * k``; a window runs from one keyframe to the next, both included.
The last window may reach past the clip: those frames repeat the last one and are thrown away after
sampling, so every input frame gets an output frame, whatever the length.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from keysync.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Sizes that a model was trained with.

    Source: KeySync keyframe model, windows of 14 frames that share one, groups of 1 + 13 keyframes.
    """

    window: int = 14  # frames in one interpolation window, both keyframes included
    group: int = 14  # entries of one keyframe batch; the first is the identity frame
    open_portrait: bool = False  # the identity frame shows an open mouth; else it is the first in plain view

    def __post_init__(self) -> None:
        if self.window < 2 or self.group < 2:
            raise ConfigError(f"window {self.window} and group {self.group} must both be 2 or more")

    @property
    def spacing(self) -> int:
        """Frames from one keyframe to the next."""
        return self.window - 1

    @property
    def keyframes_per_group(self) -> int:
        return self.group - 1

    def keyframes(self, frames: int) -> list[int]:
        """Keyframe positions that cover ``frames`` frames; the last may lie past the end."""
        if frames < 1:
            raise ConfigError(f"a clip has {frames} frames; it needs 1 or more")
        windows = -(-(frames - 1) // self.spacing)
        return [self.spacing * k for k in range(windows + 1)]

    def groups(self, keyframes: list[int]) -> list[list[int]]:
        """Keyframes in batches of ``keyframes_per_group``."""
        size = self.keyframes_per_group
        return [keyframes[i : i + size] for i in range(0, len(keyframes), size)]

    def stretches(self, frames: int) -> list[tuple[int, int]]:
        """The frames that each keyframe group brings, as (first, stop).

        The first group brings its own first keyframe; later ones start from the last one before.
        """
        parts, first, span = [], 0, self.spacing * (self.keyframes_per_group - 1)
        while first + span < frames - 1:
            parts.append((first, first + span))
            first, span = first + span, self.spacing * self.keyframes_per_group
        return [*parts, (first, frames)]

    def windows(self, keyframes: list[int]) -> list[tuple[int, int]]:
        """First and last frame of every interpolation window."""
        return list(pairwise(keyframes))

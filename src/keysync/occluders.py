"""What is before whose face, frame by frame: one more look through the clip, before anything is painted.

Each unbroken run of one face is cut out small and judged in stretches of some ten seconds; a mask takes
about 0.5 kB where there is an occluder and nothing where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from keysync.clip import Cover, Frame
from keysync.face.survey import Appearance, Survey
from keysync.face.warp import apply, invert, warp
from keysync.mask.occlusion import NOTHING_KNOWN, Clean, Finder, cover
from keysync.mask.segmenter import SIDE
from keysync.media.masks import write_masks

STRETCH = 250  # crops judged together, 12 MB
_LIPS = slice(48, 60)


def find_occluders(
    frames: Iterable[Frame],
    seen: Survey,
    people: Collection[int],
    finder: Finder,
    size: int,
    *,
    on_progress: Callable[[int], None] | None = None,
) -> Survey:
    """The survey, with what covers each face of ``people`` filled in.

    Args:
        frames: those that were surveyed, and maybe more.
        size: side of the crops that ``seen.to_crop`` leads to, pixels.
        on_progress: told the number of frames done.
    """
    views = [_View(part, size, finder) for part in seen.appearances if part.person in people]
    waiting, active = sorted(views, key=lambda view: view.part.first, reverse=True), list[_View]()
    for number, (_, frame) in enumerate(zip(seen.times, frames, strict=False)):
        while waiting and waiting[-1].part.first == number:
            active.append(waiting.pop())
        if active:
            rgb = frame.rgb()
            for view in active:
                view.look(rgb)
            active = [view for view in active if not view.complete]
        if on_progress:
            on_progress(number + 1)
    found = {id(view.part): view.covers for view in views}
    parts = [replace(part, covers=tuple(found.get(id(part), ()))) for part in seen.appearances]
    return replace(seen, appearances=parts)


def in_frame(
    cover: Cover, to_crop: Float64[np.ndarray, "2 3"], size: int, shape: tuple[int, int]
) -> Float32[np.ndarray, "h w"]:
    """A mask at its place in the frame.

    Args:
        to_crop: frame pixels -> pixels of a crop of ``size``.
        shape: height and width of the frame.
    """
    alpha = cover.alpha()
    alpha[[0, -1]] = alpha[:, [0, -1]] = 0  # else the border would be repeated over the rest of the frame
    return warp(alpha, invert(to_crop * (cover.side / size)), shape[1], shape[0])


def save_masks(folder: Path, seen: Survey, size: int, shape: tuple[int, int]) -> None:
    """Write what was found as ``FOLDER/person-N.mkv``, white where something is before that face.

    Raises:
        MediaError: a file cannot be written.
    """

    def masks(parts: list[Appearance]) -> Iterator[UInt8[np.ndarray, "h w"]]:
        for number in range(len(seen.times)):
            shown = np.zeros(shape, np.uint8)
            for part in parts:
                place = number - part.first
                cover = part.covers[place] if 0 <= place < len(part.covers) else None
                if cover is not None:
                    alpha = in_frame(cover, part.to_crop[place], size, shape)
                    shown = np.maximum(shown, np.rint(alpha * 255).astype(np.uint8))
            yield shown

    for person in seen.people():
        parts = [part for part in seen.appearances if part.person == person and part.covers]
        if parts:
            write_masks(folder / f"person-{person}.mkv", masks(parts), seen.times, shape)


@dataclass(slots=True)
class _View:
    """One appearance while its frames go by."""

    part: Appearance
    size: int
    finder: Finder
    covers: list[Cover | None] = field(default_factory=list)
    _crops: list[np.ndarray] = field(default_factory=list)
    _clean: Clean = NOTHING_KNOWN

    @property
    def complete(self) -> bool:
        return len(self.covers) == len(self.part)

    def look(self, rgb: np.ndarray) -> None:
        """The next frame."""
        place = len(self.covers) + len(self._crops)
        side = SIDE * self.finder.reach
        to_small = self.part.to_crop[place] * (SIDE / self.size)
        to_small[:, 2] += (side - SIDE) / 2
        self._crops.append(warp(rgb, to_small, side, side))
        if len(self._crops) == STRETCH or place == len(self.part) - 1:
            self._settle()

    def _settle(self) -> None:
        masks, self._clean = self.finder.find(np.stack(self._crops), self._clean)
        for mask in masks:
            place = len(self.covers)
            lips = apply(self.part.to_crop[place] * (SIDE / self.size), self.part.landmarks[place][_LIPS])
            self.covers.append(cover(mask, lips.astype(np.float32)))
        self._crops.clear()

"""What is before whose face, frame by frame: one more look through the clip, before anything is painted.

Each unbroken run of one face is cut out small and judged in stretches of some ten seconds; a mask takes
about 0.5 kB where there is an occluder and nothing where there is none. Where asked for, a second look
refines what the first one found, in larger crops and shorter stretches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from keysync.clip import Cover, Frame
from keysync.face.survey import Appearance, Survey
from keysync.face.warp import apply, invert, warp
from keysync.mask.occlusion import NOTHING_KNOWN, Click, Finder, Follower, cover, masks, middle_of
from keysync.mask.segmenter import SIDE
from keysync.media.masks import write_masks

STRETCH = 250  # crops judged together, 12 MB


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
    views = [_Found(part, size, finder) for part in seen.appearances if part.person in people]
    return _look(frames, seen, views, on_progress)


def refine_occluders(
    frames: Iterable[Frame],
    seen: Survey,
    people: Collection[int],
    follower: Callable[[], Follower],
    size: int,
    *,
    clicks: Sequence[tuple[int, int, Fraction]] = (),
    on_note: Callable[[str], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Survey:
    """The survey, with what was found before each face of ``people`` refined, and what was clicked at added.

    Args:
        frames: as for ``find_occluders``, as ``size`` and ``on_progress``.
        seen: after ``find_occluders``.
        follower: makes a new one for each unbroken run of a face.
        clicks: x, y and seconds of points of the frame that are not face.
        on_note: told of every click that no face's crop shows.
    """
    views = [_Followed(part, size, follower()) for part in seen.appearances if part.person in people]
    for x, y, time in clicks:
        number = _frame_at(seen.times, time)
        hits = [view.click(number, x, y) for view in views] if number is not None else []
        if not any(hits) and on_note:
            fact = "no frame is shown then" if number is None else "no synced face is near that point then"
            on_note(
                f"occluder {x},{y}@{float(time):g} was left out: {fact}; 'keysync check --sheet' shows faces"
            )
    return _look(frames, seen, views, on_progress)


def _frame_at(times: Sequence[Fraction], time: Fraction) -> int | None:
    """The number of the frame that is shown at a time; None before the first and after the last."""
    step = (times[-1] - times[0]) / max(len(times) - 1, 1)
    return bisect_right(times, time) - 1 if times[0] <= time <= times[-1] + step else None


def _look(
    frames: Iterable[Frame],
    seen: Survey,
    views: Sequence[_View],
    on_progress: Callable[[int], None] | None,
) -> Survey:
    """The survey, with the covers of every view filled in."""
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
    parts = [replace(part, covers=tuple(found.get(id(part), part.covers))) for part in seen.appearances]
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

    def shown(parts: list[Appearance]) -> Iterator[UInt8[np.ndarray, "h w"]]:
        for number in range(len(seen.times)):
            whole = np.zeros(shape, np.uint8)
            for part in parts:
                place = number - part.first
                cover = part.covers[place] if 0 <= place < len(part.covers) else None
                if cover is not None:
                    alpha = in_frame(cover, part.to_crop[place], size, shape)
                    whole = np.maximum(whole, np.rint(alpha * 255).astype(np.uint8))
            yield whole

    for person in seen.people():
        parts = [part for part in seen.appearances if part.person == person and part.covers]
        if parts:
            write_masks(folder / f"person-{person}.mkv", shown(parts), seen.times, shape)


class _View(ABC):
    """One appearance while its frames go by."""

    def __init__(self, part: Appearance, size: int, sides: tuple[int, int], stretch: int) -> None:
        """Crops of ``sides[0]`` pixels in which the aligned crop takes ``sides[1]``, so many at a time."""
        self.part = part
        self.covers: list[Cover | None] = []
        self._size, self._sides, self._stretch = size, sides, stretch
        self._crops: list[np.ndarray] = []
        self._place = 0  # of the next frame

    @property
    def complete(self) -> bool:
        return self._place == len(self.part)

    def look(self, rgb: np.ndarray) -> None:
        """The next frame."""
        self._crops.append(warp(rgb, self._to_crop(self._place), self._sides[0], self._sides[0]))
        self._place += 1
        if len(self._crops) == self._stretch or self.complete:
            crops = np.stack(self._crops)
            self._crops.clear()
            self._settle(crops)

    @abstractmethod
    def _settle(self, crops: UInt8[np.ndarray, "n s s 3"]) -> None:
        """Judge a stretch of crops, the last of which is that of the frame before ``_place``."""

    def _to_crop(self, place: int) -> Float64[np.ndarray, "2 3"]:
        wide, inner = self._sides
        matrix: Float64[np.ndarray, "2 3"] = self.part.to_crop[place] * (inner / self._size)
        matrix[:, 2] += (wide - inner) / 2
        return matrix

    def _keep(self, masks: Iterable[Float32[np.ndarray, "128 128"]]) -> None:
        for mask in masks:
            self.covers.append(cover(mask, self._points(len(self.covers))))

    def _points(self, place: int) -> Float32[np.ndarray, "68 2"]:
        """Landmarks in pixels of a mask."""
        to_mask = self.part.to_crop[place] * (SIDE / self._size)
        return apply(to_mask, self.part.landmarks[place]).astype(np.float32)


class _Found(_View):
    """What a finder finds."""

    def __init__(self, part: Appearance, size: int, finder: Finder) -> None:
        super().__init__(part, size, (SIDE * finder.reach, SIDE), STRETCH)
        self._finder, self._clean = finder, NOTHING_KNOWN

    def _settle(self, crops: UInt8[np.ndarray, "n s s 3"]) -> None:
        first = self._place - len(crops)
        shares, self._clean = self._finder.find(crops, self._clean)
        points = np.stack([self._points(k) for k in range(first, self._place)])
        faces = np.stack([middle_of(wide) for wide in crops])
        self._keep(masks(shares, points, faces, self._clean))


class _Followed(_View):
    """What a follower makes of that."""

    def __init__(self, part: Appearance, size: int, follower: Follower) -> None:
        super().__init__(part, size, (follower.side, follower.side), follower.stretch)
        self._follower = follower
        self._clicks: list[Click] = []

    def click(self, number: int, x: int, y: int) -> bool:
        """Take a pixel of frame ``number`` for an occluder's; False if the crop does not show it then."""
        place = number - self.part.first
        if not 0 <= place < len(self.part):
            return False
        where = apply(self._to_crop(place), np.array([[x + 0.5, y + 0.5]]))[0]
        if not ((where >= 0) & (where < self._sides[0])).all():
            return False
        self._clicks.append(Click(place, float(where[0]), float(where[1])))
        return True

    def _settle(self, crops: UInt8[np.ndarray, "n s s 3"]) -> None:
        first = self._place - len(crops)
        known = self.part.covers[first : self._place] or [None] * len(crops)
        nothing = np.zeros((SIDE, SIDE), np.float32)
        found = np.stack([hidden.alpha() if hidden else nothing for hidden in known])
        clicks = [Click(place - first, x, y) for place, x, y in self._clicks if first <= place < self._place]
        self._keep(self._follower.take(crops, found, clicks))
        if self.complete:
            self._keep(self._follower.rest())

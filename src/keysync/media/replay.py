"""A clip's frames in the order of the result: forwards, from the start again, or backwards; streamed."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from keysync.clip import Frame
from keysync.media.failure import media_errors
from keysync.media.read import read_frames


class Replay:
    """Frames of ``path``: frame k shows source frame ``order[k]`` at ``times[k]`` seconds.

    Each call walks through the whole order. Pictures that are shown backwards wait in an anonymous
    temporary file, shared by all walks; memory holds one frame, however long the clip.
    """

    def __init__(self, path: Path, order: Sequence[int], times: Sequence[Fraction]) -> None:
        self._path, self._order, self._times = path, order, times
        steps_back = (k for k in range(1, len(order)) if 0 < order[k] < order[k - 1])
        self._turn = next(steps_back, len(order))  # from here on everything comes from the store
        self._wanted = frozenset(order[self._turn :])
        self._store = _Store(path)

    def __call__(self) -> Iterator[Frame]:
        """One walk."""
        at, picture = -1, None
        source = read_frames(self._path)
        try:
            for k, (index, time) in enumerate(zip(self._order, self._times, strict=True)):
                if k >= self._turn:
                    picture, at = self._store.get(index), index
                elif index < at:  # the clip again
                    source.close()
                    source, at = read_frames(self._path), -1
                while at < index:
                    picture, at = next(source).picture, at + 1
                    if at in self._wanted:
                        self._store.put(at, picture)
                assert picture is not None
                yield Frame(picture, time)
        finally:
            source.close()


class _Store:
    """Raw pictures of one size and format on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as this object)
        self._closer = weakref.finalize(self, self._file.close)
        self._places: dict[int, int] = {}
        self._like: av.VideoFrame | None = None

    def put(self, index: int, picture: av.VideoFrame) -> None:
        if index in self._places:
            return
        self._like = self._like or picture
        with media_errors(self._path, "read"):
            self._places[index] = self._file.seek(0, 2)
            for rows in _rows(picture, _blank(picture)):
                self._file.write(rows.tobytes())

    def get(self, index: int) -> av.VideoFrame:
        was = self._like
        assert was is not None
        picture = _blank(was)
        self._file.seek(self._places[index])
        for rows in _rows(picture, was):
            rows[:] = np.frombuffer(self._file.read(rows.size), np.uint8).reshape(rows.shape)
        picture.colorspace, picture.color_range = was.colorspace, was.color_range
        picture.color_primaries, picture.color_trc = was.color_primaries, was.color_trc
        return picture


def _blank(like: av.VideoFrame) -> av.VideoFrame:
    return av.VideoFrame(like.width, like.height, like.format.name)


def _rows(picture: av.VideoFrame, other: av.VideoFrame) -> Iterator[UInt8[np.ndarray, "h b"]]:
    """The bytes of each plane, row by row, without the padding that ``other`` does not have."""
    for plane, twin in zip(picture.planes, other.planes, strict=True):
        rows = np.asarray(memoryview(plane)).view(np.uint8).reshape(plane.height, -1)
        yield rows[:, : min(plane.line_size, twin.line_size)]

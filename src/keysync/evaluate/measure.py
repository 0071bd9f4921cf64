"""A video file -> what the metrics eat: landmarks, and aligned crops one frame at a time.

The film is read twice, once for the face and once for the crops, so memory holds the track and a few
frames, whatever the length.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from keysync.clip import Frame
from keysync.errors import InputError, NoFaceFound
from keysync.evaluate.picture import Areas, PictureScores, areas
from keysync.face.crop import Framing, align_faces, crop
from keysync.face.track import Timed, face_tracker, smooth
from keysync.face.warp import apply
from keysync.media.read import read_frames

PICTURE_SIZE = 256  # pixels a side, for PSNR and the like
_MIN_SEEN = 0.5  # share of frames that must show a face
_TRACK = "track-2"  # file format; counts up when it or the tracking changes


@dataclass(frozen=True, slots=True)
class Track:
    """One face through one film."""

    landmarks: Float32[np.ndarray, "t 68 2"]  # pixels of the frame; filled in where no face was seen
    to_crop: Float64[np.ndarray, "t 2 3"]  # to a crop of side 1
    seen: Bool[np.ndarray, " t"]
    times_s: Float64[np.ndarray, " t"]

    def __len__(self) -> int:
        return len(self.seen)

    @property
    def fps(self) -> float:
        """Average frames per second."""
        if len(self) < 2:
            return 25.0
        return float((len(self) - 1) / (self.times_s[-1] - self.times_s[0]))

    def points(self, index: int, size: int) -> Float32[np.ndarray, "68 2"]:
        """Landmarks of one frame in pixels of its crop."""
        return (apply(self.to_crop[index], self.landmarks[index]) * size).astype(np.float32)

    def matrix(self, index: int, size: int) -> Float64[np.ndarray, "2 3"]:
        """Frame pixels to crop pixels."""
        return np.asarray(self.to_crop[index] * size)

    def save(self, path: Path) -> None:
        """As npz, whole or not at all."""
        partial = path.with_name(f".{path.name}.partial.npz")
        fields = {name: getattr(self, name) for name in ("landmarks", "to_crop", "seen", "times_s")}
        np.savez_compressed(partial, version=_TRACK, **fields)
        partial.replace(path)


def load_track(path: Path) -> Track | None:
    """What ``save`` wrote; None if it is not there or of another version."""
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as saved:
        if str(saved["version"]) != _TRACK:
            return None
        return Track(saved["landmarks"], saved["to_crop"], saved["seen"], saved["times_s"])


def track(video: Path) -> Track:
    """Follow the largest face; frames without one are filled in between their neighbours.

    Raises:
        MediaError: the film cannot be read.
        NoFaceFound: fewer than half of the frames show a face.
    """
    landmarks: list[Float32[np.ndarray, "68 2"]] = []
    times: list[Fraction] = []
    tracker = face_tracker()
    now: list[Frame] = []

    def shown(frames: Iterator[Frame]) -> Iterator[Frame]:
        for frame in frames:
            now[:] = [frame]
            yield frame

    def noted(found: Iterator[Timed]) -> Iterator[Timed]:
        for time, face in found:
            times.append(time)
            # What is measured is not smoothed in time: that takes more from the lips than from the tremble.
            if face is not None:
                landmarks.append(tracker.steady_68(now[0].rgb(), face))
            yield time, face

    with closing(read_frames(video)) as frames:
        aligned = list(align_faces(smooth(noted(tracker.follow(shown(frames)))), Framing(), 1))
    seen = np.array([face is not None for face in aligned])
    if seen.mean() < _MIN_SEEN:
        raise NoFaceFound(
            f"{video}: a face in only {int(seen.sum())} of {len(seen)} frames; use a clip that shows one"
        )
    known = np.flatnonzero(seen)
    matrices = np.stack([face.to_crop for face in aligned if face is not None])
    return Track(
        landmarks=_filled(np.stack(landmarks), known, len(seen)).astype(np.float32),
        to_crop=_filled(matrices, known, len(seen)),
        seen=seen,
        times_s=np.array([float(time) for time in times]),
    )


def crops(
    video: Path, where: Track, size: int, at: Collection[int] | None = None
) -> Iterator[UInt8[np.ndarray, "{size} {size} 3"]]:
    """Cut the place where ``where`` saw its face out of every frame of ``video``.

    Args:
        at: numbers of the only frames that are wanted.
    Raises:
        InputError: ``video`` has another number of frames than the track.
    """
    count = 0
    with closing(read_frames(video)) as frames:
        for count, frame in enumerate(frames, start=1):
            if count > len(where):
                break
            if at is None or count - 1 in at:
                yield crop(frame.rgb(), where.matrix(count - 1, size), size)
    if count != len(where):
        raise InputError(f"{video}: {count} frames, {len(where)} are needed; cut both to one length")


def same_length(pred: Path, ours: Track, ref: Path, theirs: Track) -> None:
    """Refuse two films of different lengths: a metric over what they share would hide what is missing.

    Raises:
        InputError: the numbers of frames differ.
    """
    if len(ours) != len(theirs):
        raise InputError(f"{pred}: {len(ours)} frames, but {ref} has {len(theirs)}; cut both to one length")


def picture_scores(
    pred: Path, ref: Path, where: Track, source: Path | None = None
) -> dict[str, float | None]:
    """The picture metrics of a film against the true one; see ``PictureScores.values``.

    All are cut where ``where``, the true film's track, saw the face, so they must show the same framing.
    """
    scores = PictureScores()
    films = [crops(film, where, PICTURE_SIZE) for film in (pred, ref, source) if film is not None]
    for index, pictures in enumerate(zip(*films, strict=True)):
        scores.add(
            pictures[0],
            pictures[1],
            pictures[2] if source is not None else None,
            partial(_areas, where, index),
        )
    return scores.values()


def _areas(where: Track, index: int) -> Areas:
    return areas(where.points(index, PICTURE_SIZE), PICTURE_SIZE)


def _filled(
    values: Float32[np.ndarray, "k a b"] | Float64[np.ndarray, "k a b"], known: np.ndarray, count: int
) -> Float64[np.ndarray, "{count} a b"]:
    """Values of the frames in ``known``, drawn straight over the gaps between them."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    rows = [np.interp(np.arange(count), known, column) for column in flat.T]
    return np.stack(rows, axis=1).reshape(count, *values.shape[1:])

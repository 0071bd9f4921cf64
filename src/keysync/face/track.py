"""Frames -> the faces in them, one steady track each.

Everything streams: ``follow`` and ``faces`` look at one frame at a time, ``smooth`` a few frames ahead.
Values travel as (time, face) pairs, where face is None for a frame without one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import takewhile

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from keysync.checkpoints import model_file
from keysync.clip import Face, Frame
from keysync.face.detect import Detection, FaceDetector
from keysync.face.mesh import STABLE, FaceMesh, Roi, roi_of_detection, roi_of_mesh, to_68
from keysync.face.warp import apply, fit_similarity

Timed = tuple[Fraction, Face | None]
Window = list[tuple[Fraction, Face]]

MIN_PRESENCE = 0.5
CHECK_EVERY = 10  # frames between looks by the detector while the mesh follows the face
SMOOTH_REACH_S = Fraction(3, 25)  # three frames to either side at 25 per second
SMOOTH_SIGMA_S = 0.035  # keeps 94 % of a lip movement at 4 Hz, a quick syllable; 0.06 would keep 82 %
# A face that moves by this part of its own width from one frame to the next is a cut or another
# person. The fastest head shake among our test clips moves by 0.28.
JUMP = 0.5
SAME = 0.3  # two meshes whose middles are nearer than this part of a face's width sit on one face


class FaceTracker:
    """Follows faces: ``follow`` one, the largest when it starts or when that one is lost; ``faces`` all.

    The mesh of each frame tells where to look in the next; the detector runs at the start, when the
    mesh loses the face, and every ``check_every`` frames to see that the mesh still sits on a face.
    """

    def __init__(self, detector: FaceDetector, mesh: FaceMesh, *, check_every: int = CHECK_EVERY) -> None:
        self._detector = detector
        self._mesh = mesh
        self._check_every = check_every

    def follow(self, frames: Iterable[Frame]) -> Iterator[Timed]:
        """The face of every frame. Each call follows a clip of its own."""
        last: Face | None = None
        for number, frame in enumerate(frames):
            last = self.step(frame.rgb(), last, check=number % self._check_every == 0)
            yield frame.time, last

    def step(self, rgb: UInt8[np.ndarray, "h w 3"], last: Face | None, *, check: bool = False) -> Face | None:
        """The face in one picture.

        Args:
            last: the face in the picture before.
            check: ask the detector whether ``last`` still is a face, even if the mesh is content.
        """
        if last is not None:
            # On a failed check another face is taken at once: the mesh alone can sit on anything.
            roi = roi_of_mesh(last.mesh)
            found = self._detector.detect(rgb) if check else []
            if not found or any(_holds(face, roi) for face in found):
                face = self._look(rgb, roi)
                if face is not None:
                    return face
        largest = max(self._detector.detect(rgb), key=lambda face: face.area, default=None)
        if largest is None:
            return None
        first = self._look(rgb, roi_of_detection(largest))
        # Once more from the mesh's own box: the detector's is looser, and the track would start with a jolt.
        return first and self._look(rgb, roi_of_mesh(first.mesh))

    def steady_68(self, rgb: UInt8[np.ndarray, "h w 3"], face: Face) -> Float32[np.ndarray, "68 2"]:
        """The landmarks of a face that was found in this picture, looked at four times, for measuring."""
        return self._mesh.steady_68(rgb, roi_of_mesh(face.mesh))

    def faces(
        self, rgb: UInt8[np.ndarray, "h w 3"], last: Sequence[Face], *, search: bool = False, most: int = 6
    ) -> list[Face | None]:
        """The faces of one picture.

        The detector, which costs about as much as two meshes, runs only to search, when there is nobody
        to follow, or when somebody was lost.

        Args:
            last: the faces followed so far, as they were last seen.
            search: ask the detector for new faces, and whether ``last`` still are faces.
            most: of all the faces only so many, the largest, are kept.
        Returns:
            one entry for each of ``last``, in its order, None if that face is lost; then the newly found
            ones, the largest first.
        """
        seen: list[Face | None] = []
        for face in last:
            now = self._look(rgb, roi_of_mesh(face.mesh))
            seen.append(None if now is None or any(other and _same(other, now) for other in seen) else now)
        if search or None in seen or not seen:
            found = self._detector.detect(rgb)
            if search and found:  # as in ``step``: a detector that sees nothing at all proves nothing
                seen = [
                    face if face and any(_holds(box, roi_of_mesh(face.mesh)) for box in found) else None
                    for face in seen
                ]
            new = (box for box in found if not any(face and _covers(box, face) for face in seen))
            for box in sorted(new, key=lambda box: -box.area)[:most]:
                first = self._look(rgb, roi_of_detection(box))
                closer = first and self._look(rgb, roi_of_mesh(first.mesh))
                if closer is not None and not any(other and _same(other, closer) for other in seen):
                    seen.append(closer)
        kept = sorted((face for face in seen if face), key=lambda face: -_area(face))[:most]
        known, new_ones = seen[: len(last)], seen[len(last) :]
        return [face if any(face is one for one in kept) else None for face in known] + [
            face for face in new_ones if any(face is one for one in kept)
        ]

    def _look(self, rgb: UInt8[np.ndarray, "h w 3"], roi: Roi) -> Face | None:
        mesh, score = self._mesh.landmarks(rgb, roi)
        return Face(mesh, to_68(mesh), score) if score >= MIN_PRESENCE else None


@cache
def face_tracker() -> FaceTracker:
    """Detector and mesh from their files; fetched on first use, loaded once per process."""
    return FaceTracker(
        FaceDetector(model_file("face_detection_full_range_sparse.tflite")),
        FaceMesh(model_file("face_landmark.tflite")),
    )


def _holds(found: Detection, roi: Roi) -> bool:
    x0, y0, x1, y1 = found.box
    return bool(x0 <= roi.x <= x1 and y0 <= roi.y <= y1)


def _middle(face: Face) -> Float64[np.ndarray, " 2"]:
    return np.asarray(face.mesh.mean(axis=0), np.float64)


def _area(face: Face) -> float:
    return float(np.prod(np.ptp(face.mesh, axis=0)))


def _same(one: Face, other: Face) -> bool:
    width = max(np.ptp(one.mesh[:, 0]), np.ptp(other.mesh[:, 0]))
    return bool(np.linalg.norm(_middle(one) - _middle(other)) < SAME * width)


def _covers(box: Detection, face: Face) -> bool:
    """Whether the box is that of a face that is followed already."""
    x0, y0, x1, y1 = box.box
    apart = np.linalg.norm(_middle(face) - ((x0 + x1) / 2, (y0 + y1) / 2))
    return _holds(box, roi_of_mesh(face.mesh)) or bool(apart < JUMP * np.ptp(face.mesh[:, 0]))


def smooth(faces: Iterable[Timed], reach_s: Fraction = SMOOTH_REACH_S) -> Iterator[Timed]:
    """Take the jitter out of a track without delay and without shrinking what the lips do.

    The neighbours are first moved onto the frame's own head by its stable points, so that only the shape
    is smoothed: a shaken head stays where it is. Then every point is read off a parabola fitted to its
    path (Savitzky and Golay 1964, here by true time, so variable frame rates are right). Looks
    ``reach_s`` ahead; windows end at a missing face, a jump or the end of the clip.
    """
    for time, window in windows(faces, reach_s):
        if not window:
            yield time, None
            continue
        times = [moment for moment, _ in window]
        here = window[times.index(time)][1]
        anchor = here.mesh[STABLE]
        moved = [apply(fit_similarity(face.mesh[STABLE], anchor), face.mesh) for _, face in window]
        distance = seconds_from(time, times)
        weights = fit_weights(distance, np.exp(-((distance / SMOOTH_SIGMA_S) ** 2) / 2), degree=2)
        mesh = np.tensordot(weights, np.stack(moved), axes=1).astype(np.float32)
        yield time, replace(here, mesh=mesh, landmarks=to_68(mesh))


def windows(faces: Iterable[Timed], reach_s: Fraction) -> Iterator[tuple[Fraction, Window]]:
    """For every frame, in order: its time, and the faces of one unbroken track within ``reach_s`` of it.

    The window holds the frame's own face; it is empty when the frame has none.
    """
    # Each entry with the number of its track: neighbours belong together if the numbers agree.
    seen: deque[tuple[Fraction, Face | None, int]] = deque()
    waiting = 0  # entries at the end of ``seen`` that were not handed on yet
    track = 0

    def oldest() -> tuple[Fraction, Window]:
        time, face, own = seen[-waiting]
        while seen[0][0] < time - reach_s:
            seen.popleft()
        if face is None:
            return time, []
        near = takewhile(lambda entry: entry[0] <= time + reach_s, seen)
        return time, [
            (moment, other) for moment, other, number in near if other is not None and number == own
        ]

    before: Face | None = None
    for time, face in faces:
        if face is None or before is None or jumps(before, face):
            track += 1
        before = face
        seen.append((time, face, track))
        waiting += 1
        while seen[-waiting][0] + reach_s < time:
            yield oldest()
            waiting -= 1
    while waiting:
        yield oldest()
        waiting -= 1


def jumps(before: Face, after: Face) -> bool:
    """Whether these cannot be one face in neighbouring frames."""
    width = float(np.ptp(before.mesh[:, 0]))
    moved = np.linalg.norm(after.mesh - before.mesh, axis=1).mean()
    return bool(moved > JUMP * width)


def seconds_from(time: Fraction, times: list[Fraction]) -> Float64[np.ndarray, " n"]:
    """How far ``times`` lie from ``time``."""
    return np.array([float(moment - time) for moment in times])


def fit_weights(
    distance: Float64[np.ndarray, " n"], trust: Float64[np.ndarray, " n"], degree: int
) -> Float64[np.ndarray, " n"]:
    """Weights with which samples make up the value, at distance 0, of a polynomial fitted to them.

    Args:
        distance: of each sample, seconds.
        trust: how much each counts in the sum of squares.
        degree: of the polynomial; lowered where there are too few samples.
    """
    scale = max(np.abs(distance).max(), 1e-9)
    powers = (distance / scale)[:, None] ** np.arange(min(degree, len(distance) - 1) + 1)
    root = np.sqrt(trust)
    # The fit's constant term as a function of the samples: the first row of the pseudo-inverse.
    return np.asarray(np.linalg.pinv(powers * root[:, None])[0] * root)

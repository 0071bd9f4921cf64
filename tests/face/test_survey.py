from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import keysync
from keysync.clip import Face, Frame
from keysync.face.crop import Framing, align_faces
from keysync.face.detect import FaceDetector
from keysync.face.mesh import FaceMesh, to_68
from keysync.face.pose import face_width
from keysync.face.survey import Survey, survey
from keysync.face.track import CHECK_EVERY, FaceTracker, smooth
from keysync.media.read import read_frames

MESH = np.random.default_rng(1).uniform(0, 40, (468, 2))


def face(x: float, y: float = 40, scale: float = 1.0) -> Face:
    mesh = (MESH * scale + (x, y)).astype(np.float32)
    return Face(mesh, to_68(mesh), 1.0)


class Scripted(FaceTracker):
    """Sees the faces it is told to, and keeps the order of those that it saw before."""

    def __init__(self, script: Sequence[list[Face]]) -> None:
        self.script = list(script)
        self.calls: list[tuple[int, bool]] = []

    def faces(
        self,
        rgb: np.ndarray,  # noqa: ARG002
        last: Sequence[Face],
        *,
        search: bool = False,
        most: int = 6,  # noqa: ARG002
    ) -> list[Face | None]:
        left = list(self.script[len(self.calls)])
        self.calls.append((len(last), search))
        answer: list[Face | None] = []
        for before in last:
            near = [one for one in left if np.abs(one.mesh.mean(0) - before.mesh.mean(0)).max() < 15]
            answer += near[:1] or [None]
            left = [one for one in left if not near or one is not near[0]]
        return [*answer, *left]


def picture(seed: int) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 255, (10, 16, 3)).astype(np.uint8)
    return cv2.resize(small, (320, 200), interpolation=cv2.INTER_CUBIC)


def frames(shots: Sequence[int], fps: int = 25) -> Iterator[Frame]:
    """One picture a frame, by its seed."""
    for number, seed in enumerate(shots):
        yield Frame(av.VideoFrame.from_ndarray(picture(seed), format="rgb24"), Fraction(number, fps))


def see(script: Sequence[list[Face]], shots: Sequence[int] | None = None) -> Survey:
    return survey(frames(shots or [0] * len(script)), Scripted(script), Framing(), 64)


def spans(seen: Survey) -> list[tuple[int, int, int]]:
    return [(one.person, one.first, one.first + len(one)) for one in seen.appearances]


def test_a_whole_clip_of_one_face_is_what_smoothing_and_aligning_give() -> None:
    rng = np.random.default_rng(0)
    script = [[face(100 + 0.3 * k + rng.normal(0, 0.2), 40 + 10 * np.sin(k / 5))] for k in range(400)]
    seen = see(script)
    (one,) = seen.appearances
    timed = [(time, faces[0]) for time, faces in zip(seen.times, script, strict=True)]
    aligned = [a for a in align_faces(smooth(timed), Framing(), 64) if a is not None]
    np.testing.assert_allclose(one.landmarks, [a.face.landmarks for a in aligned], atol=1e-3)
    np.testing.assert_allclose(one.to_crop, [a.to_crop for a in aligned], atol=1e-6)
    np.testing.assert_allclose(one.width, face_width(face(0).mesh), rtol=1e-3)
    assert (seen.shots, seen.people()) == ([0], [1])
    assert seen.portraits[1].shape == (96, 96, 3)


def test_a_gap_of_two_frames_is_bridged_and_one_of_three_ends_the_run() -> None:
    script = [[] if k in (20, 21, 40, 41, 42) else [face(100 + 2 * k)] for k in range(60)]
    seen = see(script)
    assert spans(seen) == [(1, 0, 40), (1, 43, 60)]
    middle = seen.appearances[0].landmarks[:, :, 0].mean(axis=1)
    np.testing.assert_allclose(np.diff(middle), 2, atol=0.1)


def test_a_cut_ends_the_runs_and_nothing_is_smoothed_across_it() -> None:
    shots = [1] * 20 + [2] * 20
    script = [[face(100 if k < 20 else 104)] for k in range(40)]
    seen = see(script, shots)
    assert seen.shots == [0, 20]
    assert [span[1:] for span in spans(seen)] == [(0, 20), (20, 40)]
    for one, x in zip(seen.appearances, (100, 104), strict=True):
        exact = face(x).landmarks
        np.testing.assert_allclose(one.landmarks, np.broadcast_to(exact, one.landmarks.shape), atol=0.01)


def test_no_gap_is_bridged_across_a_cut() -> None:
    shots = [1] * 20 + [2] * 20
    script = [[] if k in (19, 20) else [face(100)] for k in range(40)]
    assert [span[1:] for span in spans(see(script, shots))] == [(0, 19), (21, 40)]


def test_a_jump_ends_the_run() -> None:
    script = [[face(60 if k < 20 else 200)] for k in range(40)]
    assert [span[1:] for span in spans(see(script))] == [(0, 20), (20, 40)]


def test_people_are_numbered_by_the_picture_they_cover() -> None:
    script = [[face(20, scale=0.7), face(200, scale=1.5)] for _ in range(30)]
    seen = see(script)
    assert spans(seen) == [(1, 0, 30), (2, 0, 30)]
    assert seen.appearances[0].width.mean() > seen.appearances[1].width.mean()


def test_a_short_false_face_beside_a_larger_one_is_dropped_and_alone_it_counts() -> None:
    beside = [[face(200)] + ([face(20, scale=0.5)] if 10 <= k < 13 else []) for k in range(30)]
    assert spans(see(beside)) == [(1, 0, 30)]
    alone = [[face(20)] if 10 <= k < 13 else [] for k in range(30)]
    assert spans(see(alone)) == [(1, 10, 13)]


def test_the_detector_is_asked_at_times_and_at_every_suspicion() -> None:
    tracker = Scripted([[face(100)]] * 40)
    survey(frames([1] * 15 + [2] * 25), tracker, Framing(), 64)
    asked = [number for number, (_, search) in enumerate(tracker.calls) if search]
    assert asked == sorted({*range(0, 40, CHECK_EVERY), 15})
    assert tracker.calls[15] == (0, True)


@pytest.mark.parametrize("length", [0, 1, 2])
def test_clips_of_next_to_nothing_are_no_trouble(length: int) -> None:
    seen = see([[face(100)]] * length, [0] * length)
    assert len(seen.times) == length
    assert spans(seen) == ([(1, 0, length)] if length else [])
    assert see([[]] * 3).people() == []


def test_progress_counts_the_frames() -> None:
    told: list[int] = []
    survey(frames([0] * 5), Scripted([[]] * 5), Framing(), 64, on_progress=told.append)
    assert told == [1, 2, 3, 4, 5]


def test_the_sample_shows_one_person_in_one_shot_all_the_time(detector: FaceDetector, mesh: FaceMesh) -> None:
    clip = Path(keysync.__file__).parent / "sample" / "head.mp4"
    seen = survey(read_frames(clip), FaceTracker(detector, mesh), Framing(), 256)
    assert seen.shots == [0]
    assert spans(seen) == [(1, 0, 100)]
    assert 180 < seen.appearances[0].width.mean() < 240
    assert np.abs(seen.appearances[0].yaw_deg).max() < 25

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from keysync.clip import Face, Frame
from keysync.face.detect import FaceDetector
from keysync.face.mesh import FaceMesh, to_68
from keysync.face.track import FaceTracker, Timed, fit_weights, smooth, windows

LIPS = slice(48, 68)


def face(mesh: np.ndarray) -> Face:
    mesh = mesh.astype(np.float32)
    return Face(mesh, to_68(mesh), 1.0)


@pytest.fixture
def still() -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 200, (468, 2)) + 100


def frames(pictures: list[np.ndarray]) -> list[Frame]:
    return [
        Frame(av.VideoFrame.from_ndarray(picture, format="rgb24"), Fraction(number, 25))
        for number, picture in enumerate(pictures)
    ]


def test_a_moving_face_is_followed_in_every_frame(detector: FaceDetector, mesh: FaceMesh, draw) -> None:
    places = [(300 + 6 * i, 240 - 3 * i) for i in range(12)]
    seen = list(FaceTracker(detector, mesh).follow(frames([draw(x, y, 80) for x, y in places])))
    assert [time for time, _ in seen] == [Fraction(i, 25) for i in range(12)]
    for (_, found), (x, y) in zip(seen, places, strict=True):
        assert found is not None
        np.testing.assert_allclose(found.landmarks[36:48].mean(axis=0), (x, y - 0.2 * 80), atol=6)


def test_frames_without_a_face_have_none_and_the_face_is_found_again(
    detector: FaceDetector, mesh: FaceMesh, draw
) -> None:
    empty = np.full((480, 640, 3), 110, np.uint8)
    pictures = [draw(), draw(), empty, empty, draw(x=150), draw(x=150)]
    seen = [found is not None for _, found in FaceTracker(detector, mesh).follow(frames(pictures))]
    assert seen == [True, True, False, False, True, True]


def test_the_largest_face_is_taken_and_kept(detector: FaceDetector, mesh: FaceMesh, draw) -> None:
    two = draw(x=150, size=80)
    two[:, 320:] = draw(x=480, size=50)[:, 320:]
    for _, found in FaceTracker(detector, mesh, check_every=2).follow(frames([two] * 4)):
        assert found is not None
        assert abs(found.landmarks[:, 0].mean() - 150) < 15


def test_a_cut_to_another_place_is_noticed_at_the_check(detector: FaceDetector, mesh: FaceMesh, draw) -> None:
    before, after = draw(x=150, size=70), draw(x=480, size=70)
    *_, (_, found) = FaceTracker(detector, mesh, check_every=1).follow(frames([before, after]))
    assert found is not None
    assert abs(found.landmarks[:, 0].mean() - 480) < 15


def test_smoothing_halves_the_noise_of_the_lips(still: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    raw: list[Timed] = [(Fraction(i, 25), face(still + rng.normal(0, 1, still.shape))) for i in range(40)]
    done = [f.landmarks[LIPS] for _, f in smooth(raw) if f]
    rough = [f.landmarks[LIPS] for _, f in raw if f]
    assert np.diff(done, 2, axis=0).std() < 0.5 * np.diff(rough, 2, axis=0).std()


@pytest.mark.parametrize("step", [Fraction(1, 25), Fraction(1, 60), Fraction(1001, 30000)])
def test_lips_that_open_four_times_a_second_keep_their_size_and_time(
    still: np.ndarray, step: Fraction
) -> None:
    lips = np.zeros((468, 1))
    lips[[13, 14, 17, 0], 0] = 1

    def opened(time: float) -> np.ndarray:
        return still + lips * (0, 10 * np.sin(2 * np.pi * 4 * time))

    raw: list[Timed] = [(i * step, face(opened(float(i * step)))) for i in range(60)]
    done = np.array([f.mesh[14, 1] - still[14, 1] for _, f in smooth(raw) if f])
    truth = np.array([f.mesh[14, 1] - still[14, 1] for _, f in raw if f])
    inner = slice(8, -8)
    gain = (done[inner] @ truth[inner]) / (truth[inner] @ truth[inner])
    assert 0.93 < gain < 1.02
    lag = [done[inner] @ np.roll(truth, shift)[inner] for shift in (-1, 0, 1)]
    assert np.argmax(lag) == 1


def test_a_shaken_head_stays_where_it_is(still: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    raw: list[Timed] = [
        (Fraction(i, 25), face(still + np.array([15 * (-1) ** i, 0]) + rng.normal(0, 0.3, still.shape)))
        for i in range(20)
    ]
    for (_, before), (_, after) in zip(raw, smooth(raw), strict=True):
        assert before is not None
        assert after is not None
        assert np.abs(before.mesh.mean(axis=0) - after.mesh.mean(axis=0)).max() < 0.3


def test_nothing_is_mixed_across_a_gap_or_a_jump(still: np.ndarray) -> None:
    far = still + 500
    shapes = [still, still, None, still * 1.01, still * 1.01, far, far]
    raw = [(Fraction(i, 25), None if s is None else face(s)) for i, s in enumerate(shapes)]
    for (_, before), (_, after) in zip(raw, smooth(raw), strict=True):
        assert (before is None) == (after is None)
        if before is not None and after is not None:
            np.testing.assert_allclose(after.mesh, before.mesh, atol=1e-2)


def test_smoothing_looks_only_three_frames_ahead(still: np.ndarray) -> None:
    asked = 0

    def endless() -> Iterator[Timed]:
        nonlocal asked
        while True:
            asked += 1
            yield Fraction(asked, 25), face(still)

    steady = smooth(endless())
    for given in range(1, 30):
        next(steady)
        assert asked <= given + 4


def test_windows_hold_the_neighbours_in_time_not_in_number(still: np.ndarray) -> None:
    times = [Fraction(0), Fraction(1, 100), Fraction(1, 10), Fraction(1, 2)]
    near = [
        [moment for moment, _ in window]
        for _, window in windows(((time, face(still)) for time in times), Fraction(1, 10))
    ]
    assert near == [times[:3], times[:3], times[:3], times[3:]]


def test_fit_weights_reproduce_what_the_polynomial_can_express() -> None:
    distance = np.array([-0.1, -0.03, 0.0, 0.05])
    weights = fit_weights(distance, np.exp(-(distance**2)), degree=2)
    for power, wanted in ((0, 1), (1, 0), (2, 0)):
        assert weights @ distance**power == pytest.approx(wanted, abs=1e-9)


def crowd(draw, places: list[tuple[float, float]]) -> np.ndarray:
    """Drawn faces side by side: x and size of each."""
    picture = draw(x=places[0][0], size=places[0][1])
    for (before, _), (x, size) in pairwise(places):
        edge = round((before + x) / 2)
        picture[:, edge:] = draw(x=x, size=size)[:, edge:]
    return picture


def middles(found: list[Face | None]) -> list[float | None]:
    return [None if one is None else float(one.landmarks[:, 0].mean()) for one in found]


def test_all_faces_are_found_the_largest_first_and_followed_in_order(
    detector: FaceDetector, mesh: FaceMesh, draw
) -> None:
    tracker = FaceTracker(detector, mesh)
    first = tracker.faces(crowd(draw, [(150, 55), (450, 75)]), [])
    assert middles(first) == [pytest.approx(450, abs=15), pytest.approx(150, abs=15)]
    known = [one for one in first if one]
    after = tracker.faces(crowd(draw, [(156, 55), (444, 75)]), known, search=True)
    assert middles(after) == [pytest.approx(444, abs=15), pytest.approx(156, abs=15)]


def test_a_lost_face_keeps_its_place_as_none_and_a_new_one_comes_after(
    detector: FaceDetector, mesh: FaceMesh, draw
) -> None:
    tracker = FaceTracker(detector, mesh)
    known = [one for one in tracker.faces(crowd(draw, [(120, 55), (330, 60)]), []) if one]
    after = tracker.faces(crowd(draw, [(330, 60), (540, 55)]), known, search=True)
    assert middles(after) == [pytest.approx(330, abs=15), None, pytest.approx(540, abs=15)]


def test_only_the_largest_faces_are_kept(detector: FaceDetector, mesh: FaceMesh, draw) -> None:
    tracker = FaceTracker(detector, mesh)
    picture = crowd(draw, [(120, 45), (330, 75), (540, 55)])
    assert middles(tracker.faces(picture, [], most=2)) == [
        pytest.approx(330, abs=15),
        pytest.approx(540, abs=15),
    ]

import numpy as np
import pytest

from keysync.evaluate.lipsync import best_lag, correlation, eye_distance, leakage, opening, width


def _curve(seed: int, count: int = 400) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=count + 8)
    return np.convolve(noise, np.ones(9) / 9, mode="valid")


def _face(gap: float) -> np.ndarray:
    points = np.zeros((1, 68, 2))
    points[:, 36:42] = (-50, 0)
    points[:, 42:48] = (50, 0)
    points[:, [48, 54]] = [(-40, 100), (40, 100)]
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        points[:, upper], points[:, lower] = (0, 100), (0, 100 + gap)
    return points


def test_opening_and_width_are_in_eye_distances() -> None:
    assert eye_distance(_face(0))[0] == 100
    assert opening(_face(20))[0] == pytest.approx(0.2)
    assert width(_face(20))[0] == pytest.approx(0.8)


def test_identical_curves_correlate_fully_and_a_frozen_mouth_not_at_all() -> None:
    curve = _curve(0)
    assert correlation(curve, 3 * curve + 1) == pytest.approx(1)
    assert correlation(np.full(400, 0.1), curve) == 0


@pytest.mark.parametrize("lag", [-4, -1, 0, 2, 5])
def test_a_shift_is_found(lag: int) -> None:
    long = _curve(1, 500)
    assert best_lag(long[50 - lag : 450 - lag], long[50:450], reach=6) == lag


def test_an_unchanged_video_leaks_fully_and_a_right_one_does_not() -> None:
    old, new = _curve(2), _curve(3)
    assert leakage(old, old, new) == pytest.approx(1)
    assert abs(leakage(new + 0.01 * _curve(4), old, new)) < 0.3


def test_more_of_the_old_mouth_is_more_leakage() -> None:
    old, new, noise = _curve(2), _curve(3), 0.3 * _curve(4)
    found = [leakage((1 - share) * new + share * old + noise, old, new) for share in (0, 0.25, 0.5, 0.75)]
    assert found == sorted(found)

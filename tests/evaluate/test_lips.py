from collections.abc import Callable

import numpy as np
import pytest

from keysync.errors import InputError
from keysync.evaluate.lips import (
    articulation,
    best_lag,
    closed_below,
    closure_rate,
    correlation,
    leakage,
    lip_distance,
    lipleak,
    normalised_lipleak,
    opening,
    shifted_opening_r,
    sync_offset_ms,
    width,
)
from keysync.face.crop import RIGID
from keysync.face.mouth import eye_distance


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


@pytest.mark.parametrize("late_ms", [40, 80, 120])
def test_a_late_mouth_is_late_by_as_much_in_milliseconds(late_ms: int) -> None:
    long, frames = _curve(1, 500), late_ms // 40
    assert sync_offset_ms(long[50 - frames : 450 - frames], long[50:450], 25.0) == late_ms


def test_a_late_mouth_agrees_once_it_is_shifted_and_a_wrong_one_does_not() -> None:
    long = _curve(1, 500)
    assert shifted_opening_r(long[45:445], long[50:450], 25.0) == pytest.approx(1)
    assert correlation(long[45:445], long[50:450]) < 0.9
    assert shifted_opening_r(_curve(2, 400), long[50:450], 25.0) < 0.5


def test_the_offset_is_in_time_not_in_frames() -> None:
    long = _curve(1, 500)
    assert sync_offset_ms(long[45:445], long[50:450], 50.0) == 100


def test_a_mouth_that_follows_nothing_has_no_offset() -> None:
    assert sync_offset_ms(np.full(100, 0.1), _curve(0, 100), 25.0) is None


def test_more_delay_is_less_correlation() -> None:
    long = _curve(1, 500)
    found = [correlation(long[50 - lag : 450 - lag], long[50:450]) for lag in range(4)]
    assert found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(1)


def test_articulation_is_0_frozen_1_alike_2_doubled() -> None:
    curve = _curve(0)
    assert articulation(np.full(400, 0.2), curve) == pytest.approx(0, abs=1e-9)
    assert articulation(curve, curve) == pytest.approx(1)
    assert articulation(2 * curve + 5, curve) == pytest.approx(2)
    assert articulation(curve, np.zeros(400)) is None


def test_lips_that_are_where_they_belong_are_at_distance_0_however_the_head_lies() -> None:
    wanted = np.random.default_rng(0).normal(size=(3, 68, 2)) * 30 + 100
    turned = (wanted @ np.array([[0.8, 0.6], [-0.6, 0.8]])) * 2 + 7
    assert lip_distance(turned, wanted) == pytest.approx(0, abs=1e-6)


def test_lip_distance_is_in_eye_distances() -> None:
    wanted = np.concatenate([_face(20)] * 2)
    wanted[:, RIGID] += np.random.default_rng(0).normal(size=(2, 11, 2))  # a fit needs a shape
    moved = wanted.copy()
    moved[:, 48:68, 1] += 10
    assert lip_distance(moved, wanted) == pytest.approx(10 / eye_distance(wanted).mean(), rel=0.02)


def test_closures_are_counted_against_this_heads_own_closed_mouth() -> None:
    wanted = np.tile([0.04, 0.04, 0.2, 0.2, 0.2], 20)  # closed, it still looks 0.04 open
    phones = [("M", 0.2 * k, 0.2 * k + 0.04) for k in range(20)] + [("AA", 0.1, 0.15)]
    limit = closed_below(wanted)
    assert closure_rate(wanted, phones, 25.0, limit) == 1
    half = wanted.copy()
    half[:50] = 0.2
    assert closure_rate(half, phones, 25.0, limit) == pytest.approx(0.5)
    assert closure_rate(np.full(100, 0.2), phones, 25.0, limit) == 0
    assert closure_rate(wanted, [("AA", 0.0, 1.0)], 25.0, limit) is None


def _talking(share: float, count: int = 20) -> np.ndarray:
    """A share of frames with MAR 0.5, the others closed."""
    faces = np.concatenate([_face(0)] * count)
    faces[:, [60, 64]] = [(-40, 100), (40, 100)]
    for _, lower in ((61, 67), (62, 66), (63, 65)):
        faces[: round(share * count), lower, 1] += 40
    return faces


def test_lipleak_is_the_share_of_open_frames_and_normalised_by_the_sources() -> None:
    assert lipleak(_talking(0.25)) == 0.25
    assert lipleak(_talking(0)) == 0
    assert normalised_lipleak(_talking(0.25), _talking(0.5)) == 0.5
    assert normalised_lipleak(_talking(0.5), _talking(0.5)) == 1
    assert normalised_lipleak(_talking(0.25), _talking(0)) is None


@pytest.mark.parametrize("measure", [correlation, articulation])
def test_a_value_that_is_no_number_is_named_by_its_frame(measure: Callable[..., float]) -> None:
    curve = _curve(0)
    curve[7] = np.nan
    with pytest.raises(InputError, match="frame 7"):
        measure(curve, _curve(1))

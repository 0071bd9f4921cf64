import numpy as np
import pytest

from keysync.evaluate.learned.distance import Moments, frechet_distance, maximum_mean_discrepancy

RNG = np.random.default_rng(0)


def test_two_gaussians_have_the_textbook_distance() -> None:
    # 3^2 + 4^2 for the means; (2 - 1)^2 + (5 - 3)^2 for the standard deviations.
    a, b = np.diag([4.0, 25.0]), np.diag([1.0, 9.0])
    assert frechet_distance(np.array([3.0, 4.0]), a, np.zeros(2), b) == pytest.approx(25 + 1 + 4)


def test_the_distance_does_not_care_for_the_axes() -> None:
    turn, _ = np.linalg.qr(RNG.normal(size=(2, 2)))
    a, b = turn @ np.diag([4.0, 25.0]) @ turn.T, turn @ np.diag([1.0, 9.0]) @ turn.T
    assert frechet_distance(turn @ [3.0, 4.0], a, np.zeros(2), b) == pytest.approx(30)


def test_covariances_that_do_not_commute() -> None:
    a, b = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[3.0, 0.0], [0.0, 1.0]])
    # For 2x2 matrices tr (AB)^(1/2) = sqrt(tr AB + 2 sqrt(det AB)).
    root = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    assert frechet_distance(np.zeros(2), a, np.zeros(2), b) == pytest.approx(4 + 4 - 2 * root)


def test_a_set_has_no_distance_from_itself_even_with_few_vectors() -> None:
    moments = Moments(20)
    moments.add(RNG.normal(size=(5, 20)))  # the covariance is singular
    same = moments.mean, moments.covariance
    assert frechet_distance(*same, *same) == pytest.approx(0, abs=1e-6)


def test_moments_in_pieces_are_those_of_the_whole() -> None:
    whole = RNG.normal(1e4, 1, (50, 3))
    moments = Moments(3)
    for part in np.split(whole, [1, 7, 30]):
        moments.add(part)
    assert moments.count == 50
    np.testing.assert_allclose(moments.mean, whole.mean(axis=0))
    np.testing.assert_allclose(moments.covariance, np.cov(whole.T), rtol=1e-9)


def test_discrepancy_of_two_points_follows_the_kernel() -> None:
    a, b = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    # 1000 (1 + 1 - 2 exp(-2 / 200))
    assert maximum_mean_discrepancy(a, b) == pytest.approx(2000 * (1 - np.exp(-0.01)))


def test_discrepancy_is_zero_for_equal_sets_and_grows_with_the_shift() -> None:
    a = RNG.normal(size=(1500, 4))  # more than one block of the kernel matrix
    assert maximum_mean_discrepancy(a, a[::-1]) == pytest.approx(0, abs=1e-9)
    values = [maximum_mean_discrepancy(a, a + shift) for shift in (0.5, 1.0, 2.0)]
    assert 0 < values[0] < values[1] < values[2]

import numpy as np
import pytest

from keysync.face.warp import apply, fit_similarity, invert, warp

TURNED = np.array([[0.8, -0.6, 5.0], [0.6, 0.8, -3.0]]) * 1.5


def test_a_similarity_is_recovered_from_points() -> None:
    points = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_allclose(fit_similarity(points, apply(TURNED, points)), TURNED, atol=1e-12)


def test_there_and_back_is_where_one_was() -> None:
    points = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_allclose(apply(invert(TURNED), apply(TURNED, points)), points, atol=1e-12)


@pytest.mark.parametrize("scale", [0.25, 0.5, 0.8, 1, 2, 4])
def test_scaling_keeps_a_picture_in_place(scale: float) -> None:
    """A ramp stays the same function of continuous coordinates: no half-pixel shift at any scale."""
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32) + 0.5, (64, 64))
    matrix = np.eye(2, 3) * scale
    size = int(64 * scale)
    got = warp(np.ascontiguousarray(ramp), matrix, size, size)
    wanted = (np.arange(size) + 0.5) / scale
    inner = slice(size // 8, -size // 8)
    np.testing.assert_allclose(got[size // 2, inner], wanted[inner], atol=0.06)


def test_the_identity_changes_nothing() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    np.testing.assert_array_equal(warp(picture, np.eye(2, 3), 30, 20), picture)


def test_shrinking_averages_instead_of_picking() -> None:
    stripes = np.zeros((64, 64), np.float32)
    stripes[:, ::2] = 1
    got = warp(stripes, np.eye(2, 3) * 0.25, 16, 16)
    np.testing.assert_allclose(got, 0.5, atol=0.01)


def test_beyond_the_border_the_border_is_repeated() -> None:
    picture = np.full((10, 10, 3), 77, np.uint8)
    assert (warp(picture, np.array([[1.0, 0, 5], [0, 1, 5]]), 30, 30) == 77).all()

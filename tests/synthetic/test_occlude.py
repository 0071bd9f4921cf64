"""Occluders over any footage: exact, repeatable, of every kind."""

from __future__ import annotations

import numpy as np
import pytest

from keysync.errors import ConfigError
from keysync.synthetic.occlude import KINDS, draw_occluder, mouth_and_size, occlude, overlay

FRAMES = np.full((10, 128, 128, 3), 140, np.uint8)
MOUTHS = np.full((10, 2), 74.0, np.float32)
SIZES = np.full(10, 84.0, np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_covers_a_mouth_and_leaves_the_rest(kind: str) -> None:
    covered = 0
    for seed in range(6):
        frames, alpha = occlude(FRAMES, MOUTHS, SIZES, np.random.default_rng(seed), fps=5, kinds=(kind,))
        difference = np.abs(frames.astype(int) - FRAMES).max(-1)
        brighter = (frames.astype(int) - FRAMES).max(-1)
        assert (brighter[alpha == 0] <= 0).all()  # beside it there is nothing but shadow
        assert difference[alpha == 0].max(initial=0) <= 0.5 * 140 + 1
        covered += int((alpha[:, 44:104, 44:104] > 128).sum())
    assert covered > 100


def test_same_generator_same_bytes_and_the_frames_given_are_left_alone() -> None:
    before = FRAMES.tobytes()
    first = occlude(FRAMES, MOUTHS, SIZES, np.random.default_rng([0, 5, 1]))
    again = occlude(FRAMES, MOUTHS, SIZES, np.random.default_rng([0, 5, 1]))
    other = occlude(FRAMES, MOUTHS, SIZES, np.random.default_rng([1, 5, 1]))
    assert [part.tobytes() for part in first] == [part.tobytes() for part in again]
    assert first[0].tobytes() != other[0].tobytes()
    assert FRAMES.tobytes() == before


def test_alpha_is_exactly_what_the_picture_was_laid_under() -> None:
    rng = np.random.default_rng(4)
    occluder = draw_occluder(rng, 2.0, 6.0, kinds=("hand",))
    black, white = np.zeros((128, 128, 3), np.float32), np.ones((128, 128, 3), np.float32)
    seen = 0
    for time_s in np.linspace(0, 2, 6):
        laid = overlay(occluder, float(time_s), MOUTHS[0], MOUTHS[0], 84.0, (128, 128), rng)
        through = (laid.over(white) - laid.over(black)) / laid.shadow[..., None]
        assert np.abs(1 - through - laid.alpha[..., None] / 255).max() < 1e-5
        assert (laid.colour <= laid.alpha[..., None] / np.float32(255) + 1e-6).all()
        seen += int((laid.alpha == 255).sum())
    assert seen > 200


def test_a_drawing_moves_with_the_face_it_follows() -> None:
    rng = np.random.default_rng(4)
    occluder = draw_occluder(rng, 2.0, 6.0, kinds=("thing",))
    here = np.full(2, 256, np.float32)  # far from the edges, which would cut it off
    there = here + np.float32(12)

    def middle(mouth: np.ndarray, origin: np.ndarray) -> np.ndarray:
        alpha = overlay(occluder, 1.0, mouth, origin, 84.0, (512, 512), rng).alpha
        assert not alpha[[0, -1]].any()
        assert not alpha[:, [0, -1]].any()
        return np.array(np.nonzero(alpha > 128)).mean(axis=1)

    np.testing.assert_allclose(middle(there, there) - middle(here, here), 12, atol=0.2)
    np.testing.assert_allclose(middle(there, here) - middle(here, here), 12 * occluder.follows, atol=0.3)


def test_mouth_and_size_come_from_landmarks() -> None:
    points = np.zeros((2, 68, 2), np.float32)
    points[:, 48:68] = (3, 5)
    points[1, 8] = (0, 40)
    mouths, sizes = mouth_and_size(points)
    np.testing.assert_array_equal(mouths, [[3, 5], [3, 5]])
    np.testing.assert_array_equal(sizes, [5, 40])


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"called dragon; take some of hand, "):
        occlude(FRAMES, MOUTHS, SIZES, np.random.default_rng(0), kinds=("dragon",))

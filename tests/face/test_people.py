from fractions import Fraction

import cv2
import numpy as np
import pytest

from keysync.clip import Face
from keysync.face.people import PORTRAIT, People, Run, Sample, describe, look


def head(seed: int, light: float = 1.0, yaw: float = 0.0, width: float = 50.0) -> Sample:
    """A look at a made-up head; the seed is its skin, hair and face."""
    rng = np.random.default_rng(seed)
    picture = cv2.resize(rng.integers(40, 200, (6, 6, 3)).astype(np.uint8), (PORTRAIT, PORTRAIT))
    return Sample(0, np.clip(picture * light, 0, 255).astype(np.uint8), yaw, width)


def run(first: int, length: int = 10, x: float = 100.0, shot: int = 0, width: float = 50.0) -> Run:
    points = np.tile(np.linspace(0, 40, 68)[:, None], (length, 1, 2)) + np.array([x, 50])
    return Run(
        first,
        shot,
        Fraction(first, 25),
        Fraction(first + length - 1, 25),
        points.astype(np.float32),
        np.zeros((length, 2, 3)),
        np.zeros(length, np.float32),
        np.full(length, width, np.float32),
        np.zeros(length, np.float32),
    )


def who(people: People) -> list[list[int]]:
    return [[seen.first for seen in known.runs] for known in people.known]


def test_a_face_back_in_its_place_is_the_same_and_elsewhere_or_later_is_not() -> None:
    people = People()
    people.add(run(0), [])
    people.add(run(15), [])
    people.add(run(40, x=300), [])
    people.add(run(80), [])
    people.add(run(92, shot=92), [])
    assert who(people) == [[0, 15], [40], [80], [92]]


def test_shots_cut_back_and_forth_keep_their_people() -> None:
    people = People()
    for shot in range(6):
        people.add(run(20 * shot, shot=20 * shot), [head(shot % 2, light=1 + 0.02 * shot)])
    assert who(people) == [[0, 40, 80], [20, 60, 100]]


def test_two_faces_of_one_frame_are_two_people_even_if_alike() -> None:
    people = People()
    people.add(run(0), [head(1)])
    people.add(run(5, x=300), [head(1)])
    assert who(people) == [[0], [5]]


def test_whoever_looks_like_two_or_like_nobody_is_new() -> None:
    one, other = head(1), head(1)
    other.picture[:] = cv2.addWeighted(one.picture, 0.75, head(2).picture, 0.25, 0)
    between = head(1)
    between.picture[:] = cv2.addWeighted(one.picture, 0.5, other.picture, 0.5, 0)
    people = People()
    people.add(run(0), [one])
    people.add(run(0, x=300), [other])
    people.add(run(50, shot=50), [between])
    people.add(run(100, shot=100), [head(3)])
    assert who(people) == [[0], [0], [50], [100]]


def test_the_portrait_is_the_largest_frontal_look() -> None:
    people = People()
    small, turned, best = head(1, width=20.0), head(1, 0.9, yaw=60.0, width=55.0), head(1, 1.1, width=50.0)
    people.add(run(0), [small, turned, best])
    np.testing.assert_array_equal(people.known[0].portrait, best.picture)


def test_a_turned_head_is_left_out_of_the_description() -> None:
    np.testing.assert_array_equal(describe([head(1), head(2, yaw=50.0)]), describe([head(1)]))
    assert np.isfinite(describe([head(2, yaw=50.0)])).all()


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_a_look_shows_the_head_the_same_at_any_size(scale: float) -> None:
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.integers(0, 255, (120, 120, 3)).astype(np.uint8), (0, 0), 5)
    mesh = rng.uniform(40, 80, (468, 2))
    points = rng.uniform(40, 80, (68, 2))
    plain = look(0, picture, Face(mesh.astype(np.float32), points.astype(np.float32), 1.0))
    large = cv2.resize(picture, None, fx=scale, fy=scale)
    other = look(0, large, Face((mesh * scale).astype(np.float32), (points * scale).astype(np.float32), 1.0))
    assert np.abs(plain.picture.astype(int) - other.picture).mean() < 3
    assert other.width == pytest.approx(scale * plain.width, rel=1e-3)

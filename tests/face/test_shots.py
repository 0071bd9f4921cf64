import cv2
import numpy as np
import pytest

from keysync.face.shots import AHEAD, ShotDetector

SIDE = 200


def room(seed: int) -> np.ndarray:
    """A picture with shade and colour everywhere, larger than what is shown of it."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (24, 24, 3)).astype(np.uint8)
    return cv2.resize(small, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_CUBIC)


def view(picture: np.ndarray, x: float = 0, y: float = 0, zoom: float = 1.0) -> np.ndarray:
    matrix = np.array([[zoom, 0, -60 - x], [0, zoom, -60 - y]])
    return cv2.warpAffine(picture, matrix, (SIDE, SIDE))


def cuts(pictures: list[np.ndarray]) -> list[int]:
    detector = ShotDetector()
    found: list[int] = []
    for picture in pictures:
        detector.look(picture)
        found += detector.cuts()
    return found + detector.finish()


@pytest.mark.parametrize("cut", [1, 2, 9, 28, 29])
def test_a_cut_to_another_picture_is_found_wherever_it_is(cut: int) -> None:
    assert cuts([view(room(1), x=k % 3) for k in range(cut)] + [view(room(2))] * (30 - cut)) == [cut]


def test_the_same_picture_reframed_is_a_cut() -> None:
    assert cuts([view(room(3))] * 12 + [view(room(3), 50, 40, 1.3)] * 12) == [12]


def test_shots_in_a_row_are_all_found() -> None:
    assert cuts([view(room(seed)) for seed in range(4) for _ in range(12)]) == [12, 24, 36]


def test_fast_movement_is_no_cut() -> None:
    moved = [view(room(4), 30 * np.sin(0.6 * k), 20 * np.cos(0.5 * k)) for k in range(60)]
    assert cuts(moved) == []


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("colour", [255, 0])
def test_a_flash_is_no_cut(length: int, colour: int) -> None:
    pictures = [view(room(5), k % 2) for k in range(40)]
    for k in range(20, 20 + length):
        pictures[k] = cv2.addWeighted(pictures[k], 0.25, np.full_like(pictures[k], colour), 0.75, 0)
    assert cuts(pictures) == []


def test_a_hand_that_sweeps_through_is_no_cut() -> None:
    pictures = [view(room(6)) for _ in range(40)]
    for k in range(15, 25):
        cv2.circle(pictures[k], (20 * (k - 15), 110), 60, (200, 150, 130), -1)
    assert cuts(pictures) == []


def test_a_cut_is_suspected_at_once_and_sure_a_few_frames_later() -> None:
    detector = ShotDetector()
    for _ in range(10):
        assert not detector.look(view(room(7)))
    assert detector.look(view(room(8)))
    for _ in range(AHEAD):
        assert detector.cuts() == []
        detector.look(view(room(8)))
    assert detector.cuts() == [10]
    assert detector.finish() == []


def test_pictures_of_any_size_are_taken_even_if_it_changes() -> None:
    pictures = [np.full((1, 1, 3), 9, np.uint8), np.full((3, 900, 3), 9, np.uint8), view(room(1))]
    assert set(cuts([picture for picture in pictures for _ in range(5)])) <= {5, 10}

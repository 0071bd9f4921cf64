from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keysync.errors import InputError, NoFaceFound
from keysync.evaluate.lips import opening
from keysync.evaluate.measure import crops, load_track, picture_scores, track

Make = Callable[..., Any]
FRAMES = 50


def test_a_track_reads_what_the_mouth_does(film: Make, wander: Make) -> None:
    curve = wander(0)
    found = track(film(curve))
    assert len(found) == FRAMES
    assert found.fps == pytest.approx(25)
    assert np.abs(opening(found.landmarks) - curve).max() < 0.02


def test_frames_without_a_face_are_filled_in_between_their_neighbours(film: Make) -> None:
    found = track(film(np.linspace(0, 0.3, FRAMES), dark=range(10, 20)))
    assert not found.seen[10:20].any()
    assert found.seen.sum() == FRAMES - 10
    assert np.abs(opening(found.landmarks) - np.linspace(0, 0.3, FRAMES)).max() < 0.02


def test_a_film_without_a_face_is_refused_with_the_count(film: Make, wander: Make) -> None:
    with pytest.raises(NoFaceFound, match=r"in only 10 of 50 frames"):
        track(film(wander(0), dark=range(10, FRAMES)))


def test_a_saved_track_comes_back_and_another_version_does_not(
    film: Make, wander: Make, tmp_path: Path
) -> None:
    found, path = track(film(wander(0))), tmp_path / "track.npz"
    found.save(path)
    again = load_track(path)
    assert again is not None
    np.testing.assert_array_equal(again.landmarks, found.landmarks)
    np.testing.assert_array_equal(again.to_crop, found.to_crop)
    np.savez(path, version="other")
    assert load_track(path) is None
    assert load_track(tmp_path / "none.npz") is None


def test_a_film_of_another_length_is_refused(film: Make, wander: Make) -> None:
    where = track(film(wander(0)))
    with pytest.raises(InputError, match=r"40 frames, 50 are needed"):
        list(crops(film(wander(0, 40), "short.mp4"), where, 32))
    with pytest.raises(InputError, match=r"51 frames, 50 are needed"):
        list(crops(film(wander(0, 51), "long.mp4"), where, 32))


def test_a_film_against_itself_is_perfect(film: Make, wander: Make) -> None:
    path = film(wander(0))
    found = picture_scores(path, path, track(path))
    assert found["mask_psnr_db"] == 100
    assert found["mask_ssim"] == pytest.approx(1, abs=1e-4)
    assert found["flicker"] == pytest.approx(1)

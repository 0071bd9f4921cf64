import itertools

import cv2
import numpy as np
import pytest

from keysync.errors import InputError
from keysync.evaluate.picture import (
    BEST_DB,
    PictureScores,
    added_edges,
    areas,
    psnr_db,
    second_difference,
    sharpness,
    ssim,
)

ALL = np.ones((64, 64), bool)


def _picture(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(128, 60, (64, 64, 3)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 1.2).clip(0, 255).astype(np.uint8)


def _blurred(sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(_picture(), (0, 0), sigma) if sigma else _picture()


def _points() -> np.ndarray:
    turn = np.linspace(np.pi, 0, 17)
    points = np.full((68, 2), 32.0)
    points[:17] = np.stack([32 + 20 * np.cos(turn), 28 + 22 * np.sin(turn)], axis=1)
    return points


def test_a_picture_is_identical_to_itself() -> None:
    assert psnr_db(_picture(), _picture(), ALL) == BEST_DB
    assert ssim(_picture(), _picture(), ALL) == pytest.approx(1)


def test_psnr_of_one_level_everywhere_is_48_db() -> None:
    grey = np.full((64, 64, 3), 100, np.uint8)
    assert psnr_db(grey + 1, grey, ALL) == pytest.approx(48.13, abs=0.01)


def test_only_the_area_counts() -> None:
    spoilt = _picture()
    spoilt[:32] = 0
    lower = np.zeros((64, 64), bool)
    lower[32:] = True
    assert psnr_db(spoilt, _picture(), lower) == BEST_DB
    assert psnr_db(spoilt, _picture(), ~lower) < 15


def test_each_step_of_blur_is_worse_by_every_measure() -> None:
    steps = [_blurred(sigma) for sigma in (0, 0.7, 1.5, 3, 6)]
    for found in (
        [psnr_db(step, _picture(), ALL) for step in steps],
        [ssim(step, _picture(), ALL) for step in steps],
        [sharpness(step, ALL) for step in steps],
    ):
        assert all(a > b for a, b in itertools.pairwise(found))


def test_a_flat_picture_has_no_sharpness_and_a_standing_one_no_second_difference() -> None:
    flat = np.full((64, 64, 3), 90, np.uint8)
    assert sharpness(flat, ALL) == 0
    assert second_difference(_picture(), _picture(), _picture(), ALL) == 0
    assert second_difference(flat, flat + 10, flat, ALL) == pytest.approx(20)


def test_the_areas_part_the_picture() -> None:
    where = areas(_points(), 64)
    total = where.inside.astype(int) + where.border + where.outside
    assert (total == 1).all()
    assert where.inside[40, 32]
    assert where.outside[2, 2]


def test_a_face_outside_the_picture_is_refused() -> None:
    with pytest.raises(InputError, match="outside"):
        areas(_points() + 500, 64)


def _scored(change: object, frames: int = 6) -> dict[str, float | None]:
    scores, where = PictureScores(), areas(_points(), 64)
    for index in range(frames):
        ref = _picture(index)
        scores.add(change(index, ref), ref, None, lambda: where)  # type: ignore[operator]
    return scores.values()


def test_the_true_film_scores_perfectly() -> None:
    found = _scored(lambda _, ref: ref)
    assert found["mask_psnr_db"] == found["border_psnr_db"] == found["outside_psnr_db"] == BEST_DB
    assert found["mask_ssim"] == pytest.approx(1)
    assert found["flicker"] == pytest.approx(1)
    assert found["seam"] == pytest.approx(0, abs=1e-6)


def test_a_mouth_held_still_flickers_less_and_a_flashing_one_more() -> None:
    still = _scored(lambda *_: _picture(0))["flicker"]
    flashing = _scored(lambda k, ref: ref // 2 if k % 2 else ref)["flicker"]
    assert still == 0
    assert flashing is not None
    assert flashing > 1.2


def test_edges_that_are_lost_do_not_make_up_for_new_ones() -> None:
    shifted = np.roll(_picture(), 5, axis=1)
    assert added_edges(_picture(), [_picture()], ALL)[0] == pytest.approx(0, abs=1e-6)
    assert added_edges(_blurred(6), [_picture()], ALL)[0] < added_edges(shifted, [_picture()], ALL)[0]


def test_a_brighter_patch_shows_its_seam_the_more_the_brighter_it_is() -> None:
    where = areas(_points(), 64)
    mask = ~where.outside & (np.indices((64, 64))[0] < 200)
    core = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)

    def seam(step: int) -> float:
        base = _picture() // 8 + np.uint8(90)
        patched = base.copy()
        patched[core] += np.uint8(step)
        scores = PictureScores()
        scores.add(patched, base, None, lambda: where)
        found = scores.values()["seam"]
        assert found is not None
        return found

    found = [seam(step) for step in (0, 10, 30, 60)]
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert all(a < b for a, b in itertools.pairwise(found))

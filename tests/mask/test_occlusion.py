import cv2
import numpy as np
import pytest
import torch

from keysync.clip import Cover
from keysync.mask.occlusion import (
    NOTHING_KNOWN,
    ByFace,
    Clean,
    FaceOrNot,
    Finder,
    Together,
    clean_picture,
    cover,
    masks,
    on_top,
    uncovered,
)
from keysync.mask.segmenter import SIDE, Segmenter, SegmenterConfig

FACE, THING = 150, 30
POINTS = np.full((68, 2), 64, np.float32)  # landmarks: a round face, and lips
POINTS[:27] = [[64 + 40 * np.cos(t), 64 + 50 * np.sin(t)] for t in np.linspace(0, 6.2, 27)]
POINTS[48:60] = [[64 + 14 * np.cos(t), 84 + 6 * np.sin(t)] for t in np.linspace(0, 6, 12)]

PLAIN = np.full((12, SIDE, SIDE, 3), FACE, np.uint8)


def by_brightness(crops: np.ndarray, clean: Clean) -> np.ndarray:
    """A judge that calls everything dark an occluder, and what is dark in the clean picture the person's."""
    dark = crops.mean(axis=3) < 90
    own = clean.known & (clean.picture.mean(axis=2) < 90)
    return (dark & ~own).astype(np.float32)


def passing(frames: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """A bar that crosses a plain face from left to right, and where it is."""
    crops = np.full((frames, SIDE, SIDE, 3), FACE, np.uint8)
    truth = np.zeros((frames, SIDE, SIDE), bool)
    for number in range(frames):
        left = -30 + 6 * number
        truth[number, :, max(left, 0) : max(left + 30, 0)] = True
    crops[truth] = THING
    return crops, truth


def test_what_passes_is_found_and_the_clean_picture_is_without_it() -> None:
    crops, truth = passing()
    found, clean = ByFace(by_brightness).find(crops, NOTHING_KNOWN)
    assert ((found > 0.5) == truth).mean() > 0.999
    assert clean.known.all()
    assert (clean.picture == FACE).all()


def test_what_is_never_uncovered_stays_unknown_until_it_is() -> None:
    crops = np.full((12, SIDE, SIDE, 3), FACE, np.uint8)
    crops[:, 60:90, 40:80] = THING
    clean = clean_picture(crops, by_brightness)
    assert not clean.known[60:90, 40:80].any()
    assert clean.known[:40].all()
    later = clean_picture(np.full_like(crops, FACE), by_brightness, clean)
    assert later.known.all()
    # And what is known from before is kept where the occluder comes back.
    again = clean_picture(crops, by_brightness, later)
    assert again.known.all()
    assert (again.picture[60:90, 40:80] == FACE).all()


def test_specks_and_fleeting_spots_are_no_occluders() -> None:
    shares = np.zeros((5, SIDE, SIDE), np.float32)
    shares[:, 10:13, 10:13] = 1  # too small
    shares[2, 80:90, 40:50] = 1  # in one frame only
    shares[0, 70:80, 100:110], shares[1, 70:80, 100:110] = 1, 0.8  # in another one too, but not surely
    shares[1:4, 70:80, 70:80] = 1  # stays
    shares[4, 90:120, 90:120] = 1  # in one frame, but large
    kept = masks(shares, np.stack([POINTS] * 5), PLAIN[:5], NOTHING_KNOWN) > 0.5
    assert not kept[:, 10:13, 10:13].any()
    assert not kept[2, 80:90, 40:50].any()
    assert not kept[:2, 70:80, 100:110].any()
    assert kept[1:4, 70:80, 70:80].all()
    assert kept[4, 90:120, 90:120].all()


def test_a_small_spot_above_all_that_is_painted_is_an_eyelid() -> None:
    shares = np.zeros((2, SIDE, SIDE), np.float32)
    shares[:, 40:50, 40:50] = 1
    points = np.stack([POINTS] * 2)
    assert not masks(shares, points, PLAIN[:2], NOTHING_KNOWN).any()
    shares[:, 50:66, 40:50] = 1  # now it reaches below the bridge of the nose
    assert (masks(shares, points, PLAIN[:2], NOTHING_KNOWN)[:, 40:66, 40:50] > 0.5).all()


@pytest.mark.parametrize(("frames", "level", "hides"), [(3, 80, False), (3, THING, True), (9, 80, True)])
def test_a_head_flung_round_is_no_occluder(frames: int, level: int, hides: bool) -> None:
    shares, crops = np.zeros((12, SIDE, SIDE), np.float32), PLAIN.copy()
    crops[1 : 1 + frames] = 90  # the whole picture differs from the clean one for a moment
    crops[1 : 1 + frames, 60:100, 50:90] = level
    shares[1 : 1 + frames, 60:100, 50:90] = 1
    clean = Clean(PLAIN[0], np.ones((SIDE, SIDE), bool))
    kept = masks(shares, np.stack([POINTS] * 12), crops, clean) > 0.5
    np.testing.assert_array_equal(kept, (shares > 0.5) & hides)


def test_a_cover_keeps_its_mask_and_knows_how_much_of_the_mouth_it_hides() -> None:
    mask = np.zeros((SIDE, SIDE), np.float32)
    assert cover(mask, POINTS) is None
    mask[:, 64:] = 1
    kept = cover(mask, POINTS)
    assert kept is not None
    np.testing.assert_array_equal(kept.alpha(), mask)
    assert kept.mouth == pytest.approx(0.5, abs=0.05)
    assert kept.face == pytest.approx(0.5, abs=0.02)
    assert len(kept.packed) < 500


def test_small_answers_and_those_beside_the_face_must_be_sure_and_others_are_kept_whole() -> None:
    shares = np.zeros((2, SIDE, SIDE), np.float32)
    shares[:, 100:, :12] = 0.8  # beside it
    shares[:, :30, 110:] = 0.99  # beside it, too
    shares[:, 90:128, 56:72] = 0.8  # from below over the chin
    shares[:, 40:50, 60:70] = 0.8  # a spot on the face
    kept = masks(shares, np.stack([POINTS] * 2), PLAIN[:2], NOTHING_KNOWN) > 0.5
    assert not kept[:, :, :12].any()
    assert not kept[:, 40:50].any()
    shares[:, 40:50] = 0
    np.testing.assert_array_equal(kept[:, :, 20:], shares[:, :, 20:] > 0.5)


def test_cells_at_the_edge_are_repainted_and_hidden_ones_are_not() -> None:
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[:, : SIDE // 2 + 3] = 1  # ends inside a cell
    cells = np.ones((16, 16), np.uint8)
    cells[:4] = 0
    left = uncovered(cells, Cover.pack(mask, 0.0, 0.0))
    assert not left[:4].any()
    assert not left[4:, :8].any()
    assert left[4:, 8:].all()
    np.testing.assert_array_equal(uncovered(cells, None), cells)


def test_the_occluder_stays_on_top_whole_and_with_its_own_edge() -> None:
    # A dark disk of which the small mask is a pixel (4 of the crop) too small all round.
    y, x = np.mgrid[0:512, 0:512] + 0.5
    inside = np.hypot(x - 256, y - 300) < 100
    crop = np.full((512, 512, 3), FACE, np.uint8)
    crop[inside] = THING
    crop = cv2.GaussianBlur(crop, (0, 0), 1.0)
    small = cv2.resize(inside.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    kept = on_top(Cover.pack(cv2.erode(small, np.ones((3, 3), np.uint8)), 0.0, 0.0), crop)
    assert kept is not None
    assert (kept[np.hypot(x - 256, y - 300) < 96] == 1).mean() > 0.99
    assert (kept[np.hypot(x - 256, y - 300) > 120] == 0).all()
    edge = kept[300, 340:380]
    assert (np.diff(edge) <= 1e-6).all()
    assert ((edge > 0) & (edge < 1)).sum() >= 2  # alpha, not a stair
    assert on_top(None, crop) is None


def test_the_segmenter_judges_any_number_of_crops() -> None:
    torch.manual_seed(0)
    judge = FaceOrNot(Segmenter(SegmenterConfig(widths=(4, 4))).eval(), torch.device("cpu"), rows=4)
    crops = np.random.default_rng(0).integers(0, 255, (9, SIDE, SIDE, 3), dtype=np.uint8)
    shares = judge(crops, NOTHING_KNOWN)
    assert shares.shape == (9, SIDE, SIDE)
    assert ((shares >= 0) & (shares <= 1)).all()
    np.testing.assert_allclose(judge(crops[5:6], NOTHING_KNOWN)[0], shares[5], atol=1e-5)
    # What is not known plays no part, whatever it shows.
    other = Clean(np.full((SIDE, SIDE, 3), 255, np.uint8), NOTHING_KNOWN.known)
    np.testing.assert_array_equal(judge(crops, other), shares)


class Left(Finder):
    """Finds the left half hidden, in crops three times as wide."""

    reach = 3

    def find(self, crops: np.ndarray, before: Clean) -> tuple[np.ndarray, Clean]:
        assert crops.shape[1:3] == (3 * SIDE, 3 * SIDE)
        shares = np.zeros((len(crops), SIDE, SIDE), np.float32)
        shares[:, :, : SIDE // 2] = 1
        return shares, before


def test_together_they_find_what_either_finds_and_each_sees_as_much_as_it_wants() -> None:
    crops, truth = passing()
    wide = np.zeros((len(crops), 3 * SIDE, 3 * SIDE, 3), np.uint8)
    wide[:, SIDE : 2 * SIDE, SIDE : 2 * SIDE] = crops
    both = Together(ByFace(by_brightness), Left())
    assert both.reach == 3
    found, clean = both.find(wide, NOTHING_KNOWN)
    assert (found[:, :, : SIDE // 2] == 1).all()
    right = np.s_[:, :, SIDE // 2 + 3 :]
    assert ((found > 0.5)[right] == truth[right]).mean() > 0.999
    assert clean.known.all()

import cv2
import numpy as np
import pytest

from keysync.composite.blend import (
    MouthColour,
    bounds,
    keep_texture,
    match_colour,
    match_mouth,
    mouth_colour,
    paste_mask,
    split_texture,
)


def _face(side: int = 256) -> np.ndarray:
    """A plain oval jaw with a nose and a mouth: enough for the mask's geometry."""
    points = np.zeros((68, 2), np.float32)
    angle = np.linspace(np.pi, 0, 17)
    points[:17] = np.stack([128 + 80 * np.cos(angle), 120 + 110 * np.sin(angle)], axis=1)
    points[17:48] = (128, 90)
    points[27:31] = np.stack([np.full(4, 128), np.linspace(80, 120, 4)], axis=1)
    points[48:68] = (128, 170)
    points[48], points[54] = (100, 170), (156, 170)
    return points * side / 256


def test_mask_is_exactly_zero_outside_the_repainted_box() -> None:
    box = np.zeros((256, 256), np.uint8)
    box[100:, 60:200] = 1
    alpha = paste_mask(_face(), box)
    assert alpha[box == 0].max() == 0
    assert alpha[[0, -1]].max() == 0
    assert alpha[170, 128] == 1


def test_the_nose_stays_and_the_lips_are_new() -> None:
    face = _face()
    face[31:36] = np.stack([np.linspace(112, 144, 5), np.full(5, 132)], axis=1)
    alpha = paste_mask(face, np.ones((256, 256), np.uint8))
    assert alpha[122:133, 112:145].max() < 0.02  # wing to wing, tip to base
    assert alpha[155:, 128].max() == 1
    assert alpha[155, 100:156].min() == 1  # where the upper lip may go


def test_mask_edge_has_no_step() -> None:
    alpha = paste_mask(_face(), np.ones((256, 256), np.uint8))
    assert np.abs(np.diff(alpha, axis=0)).max() < 0.2


def test_a_colour_cast_is_taken_out() -> None:
    rng = np.random.default_rng(1)
    original = rng.integers(90, 130, (256, 256, 3)).astype(np.uint8)
    alpha = paste_mask(_face(), np.ones((256, 256), np.uint8))
    cast = original.astype(np.float32) + np.array([12, -9, 5], np.float32)
    matched = match_colour(cast, original, alpha, _face())
    error = np.abs((matched - original)[alpha > 0])
    assert error.max() < 1


def test_matching_colours_are_left_alone() -> None:
    original = np.full((256, 256, 3), 100, np.uint8)
    alpha = paste_mask(_face(), np.ones((256, 256), np.uint8))
    painted = original.astype(np.float32)
    painted[150:190, 100:156] += 60  # new lips, away from the border
    assert np.allclose(match_colour(painted, original, alpha, _face()), painted, atol=1e-3)


def test_a_stain_on_the_chin_is_taken_out_and_old_lips_do_not_come_back() -> None:
    original = np.full((256, 256, 3), 120, np.uint8)
    original[160:180, 100:156] = (180, 60, 60)  # the old lips
    alpha = paste_mask(_face(), np.ones((256, 256), np.uint8))
    painted = np.full((256, 256, 3), 120, np.float32)
    painted[165:175, 100:156] = (170, 70, 70)  # new lips, half as open
    stained = painted.copy()
    stained[195:225, 100:156, 2] += 25
    matched = match_colour(stained, original, alpha, _face())
    before, after = (np.abs(picture - painted)[195:225, 100:156].mean() for picture in (stained, matched))
    assert after < 0.5 * before
    lips = np.s_[160:180, 110:146]
    assert np.abs(match_colour(painted, original, alpha, _face())[lips] - painted[lips]).max() < 2


def _textured(painted: np.ndarray, picture: np.ndarray, softness: float = 0.0) -> np.ndarray:
    """``painted``, a crop of 256 pixels, with the texture of a picture as large or larger."""
    size = picture.shape[:2]
    original = cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA)
    alpha = paste_mask(_face(), np.ones((256, 256), np.uint8))
    layers = [cv2.resize(layer, size) for layer in split_texture(painted, original, alpha, _face(), softness)]
    shown = bounds(cv2.resize(alpha, size) > 0)
    textured = layers[0].copy()
    textured[shown] = keep_texture(*(layer[shown] for layer in (layers[0], picture, *layers[1:])))
    return textured


@pytest.mark.parametrize("scale", [1, 2])
def test_fine_texture_comes_back_on_the_chin_and_nothing_of_the_old_lips(scale: int) -> None:
    rng = np.random.default_rng(2)
    picture = rng.integers(117, 124, (256 * scale, 256 * scale, 3)).astype(np.uint8)  # pores of one pixel
    picture[164 * scale : 176 * scale, 100 * scale : 156 * scale] = (180, 60, 60)  # the old lips
    textured = _textured(np.full((256, 256, 3), 120, np.float32), picture)
    chin = np.s_[200 * scale : 225 * scale, 110 * scale : 146 * scale]
    assert np.corrcoef(textured[chin].ravel(), picture[chin].astype(float).ravel())[0, 1] > 0.9
    assert np.all(textured[164 * scale : 176 * scale, 104 * scale : 152 * scale] == 120)


def test_lips_have_grain_where_the_picture_has() -> None:
    rng = np.random.default_rng(3)
    picture = (120 + rng.normal(0, 8, (512, 512, 3))).astype(np.uint8)
    picture[320:360, 200:312] = (180, 60, 60)  # the old lips
    picture[420:440, 230:280] = 60  # a thing on the chin
    painted = np.full((256, 256, 3), 120, np.float32)
    lips = np.s_[330:350, 210:302]
    grain = _textured(painted, picture)[lips] - 120
    skin = picture[120:300, 210:302].astype(np.float32)
    assert 0.8 * skin.std() < grain.std() < 1.1 * skin.std()
    assert abs(grain.mean()) < 1
    assert np.abs(grain).max() < 45  # no edge of lips or thing
    faint = (120 + rng.normal(0, 2, (512, 512, 3))).astype(np.uint8)
    assert np.all(_textured(painted, faint)[lips] == 120)


def test_soft_lips_are_sharpened_and_skin_is_not() -> None:
    painted = np.full((256, 256, 3), 120, np.float32)
    painted[166:175, 110:146] = (160, 60, 60)
    painted[210:220, 120:136] = 130  # a highlight on the chin
    painted = cv2.GaussianBlur(painted, (0, 0), 1)
    flat = np.full((256, 256, 3), 120, np.uint8)
    soft, sharp = _textured(painted, flat), _textured(painted, flat, 1.0)
    lips, chin = np.s_[150:190, 100:156], np.s_[205:225, 110:146]
    steepest = [np.abs(np.diff(picture[lips], axis=0)).max() for picture in (soft, sharp)]
    assert steepest[1] > 1.1 * steepest[0]
    assert np.array_equal(sharp[chin], soft[chin])


def test_a_new_lip_over_old_skin_keeps_its_edge() -> None:
    painted = np.full((256, 256, 3), 120, np.float32)
    painted[200:215, 100:156] = (200, 60, 60)
    textured = _textured(painted, np.full((256, 256, 3), 120, np.uint8))
    middle = np.s_[205:210, 110:146]
    assert np.abs(textured[middle] - painted[middle]).max() < 1


SKIN, LIPS, TEETH = (200, 140, 120), (180, 85, 95), (215, 215, 205)


def _mouth() -> np.ndarray:
    """Landmarks of an open mouth."""
    points = _face()
    for first, count, wide, high in ((48, 12, 40, 26), (60, 8, 28, 12)):
        angle = np.linspace(np.pi, -np.pi, count, endpoint=False)
        points[first : first + count, 0] = 128 + wide * np.cos(angle)
        points[first : first + count, 1] = 170 - high * np.sin(angle)
    return points


def _drawn(points: np.ndarray, lips: tuple[int, int, int]) -> np.ndarray:
    picture = np.full((256, 256, 3), SKIN, np.uint8)
    cv2.fillPoly(picture, [np.round(points[48:60]).astype(np.int32)], lips)
    cv2.fillPoly(picture, [np.round(points[60:68]).astype(np.int32)], TEETH)
    return picture


def _luma(picture: np.ndarray) -> np.ndarray:
    return picture @ np.array([0.299, 0.587, 0.114])


def test_the_colour_of_lips_is_measured_from_skin_and_without_teeth() -> None:
    found = mouth_colour(_drawn(_mouth(), LIPS), _mouth()).lips
    apart = [np.subtract(rgb, _luma(np.array(rgb, float)))[[0, 2]] for rgb in (LIPS, SKIN)]  # R - Y and B - Y
    assert np.allclose(found, apart[0] - apart[1], atol=0.5)


@pytest.mark.parametrize("top", [160, 170, 190])
def test_a_beard_is_no_skin_however_much_of_it_shows(top: int) -> None:
    points, picture = _mouth(), _drawn(_mouth(), SKIN)  # lips of the colour of skin
    lips = np.zeros((256, 256), np.uint8)
    cv2.fillConvexPoly(lips, np.round(points[48:60]).astype(np.int32), 1)
    beard = (lips == 0) & (np.arange(256)[:, None] >= top)
    picture[beard] = (35, 30, 28)
    found = mouth_colour(picture, points).lips
    assert np.abs(found).max() < 1


def test_painted_lips_get_the_persons_colour_and_keep_their_light() -> None:
    points = _mouth()
    painted = _drawn(points, (200, 100, 60)).astype(np.float32)  # orange
    matched = match_mouth(painted, mouth_colour(_drawn(points, LIPS), points), points)
    lip, tooth = (191, 128), (170, 128)
    apart = np.subtract(LIPS, _luma(np.array(LIPS, float)))
    assert np.allclose(matched[lip] - _luma(matched[lip]), apart, atol=2)
    assert np.allclose(_luma(matched), _luma(painted), atol=0.01)
    assert np.array_equal(matched[tooth], painted[tooth])
    assert np.array_equal(matched[:130], painted[:130])
    assert np.array_equal(matched[220:], painted[220:])


def test_lips_like_skin_are_not_painted_redder_or_yellower() -> None:
    points, pale = _mouth(), (190, 132, 126)
    painted = _drawn(points, (200, 100, 60)).astype(np.float32)  # orange
    matched = match_mouth(painted, mouth_colour(_drawn(points, pale), points), points)
    lip, tooth = (191, 128), (170, 128)
    own = np.array([np.subtract(rgb, _luma(np.array(rgb, float))) for rgb in (pale, SKIN, TEETH)])
    red, _, blue = matched[lip] - _luma(matched[lip])
    assert red == pytest.approx(own[:, 0].max(), abs=1)
    assert blue == pytest.approx(own[:, 2].min(), abs=1)
    assert np.allclose(_luma(matched), _luma(painted), atol=0.01)
    assert np.allclose(matched[tooth], painted[tooth], atol=1)


def test_without_painted_lips_nothing_changes() -> None:
    points = _mouth()
    painted = np.full((256, 256, 3), SKIN, np.float32)
    colour = MouthColour(*np.array([[30, -10], [0, -20], [40, 5]], np.float32))
    assert np.array_equal(match_mouth(painted, colour, points), painted)


def _blue(picture: np.ndarray, place: tuple[int, int]) -> float:
    return float(picture[place][2] - _luma(picture[place]))


def test_nothing_in_a_mouth_is_bluer_than_this_persons_teeth() -> None:
    points = _mouth()
    colour = mouth_colour(_drawn(points, LIPS), points)
    painted = _drawn(points, LIPS).astype(np.float32)
    cv2.fillPoly(painted, [np.round(points[60:68]).astype(np.int32)], (110, 90, 130))  # violet
    painted[215:] = (120, 120, 160)  # a scarf
    matched = match_mouth(painted, colour, points)
    haze, lip = (170, 128), (191, 128)
    assert _blue(painted, haze) > 25
    assert _blue(matched, haze) == pytest.approx(_blue(np.array(TEETH, float)[None, None], (0, 0)), abs=1)
    assert np.allclose(_luma(matched), _luma(painted), atol=0.01)
    assert np.allclose(matched[lip], painted[lip], atol=1)
    assert np.array_equal(matched[215:], painted[215:])


def test_a_closed_portrait_says_nothing_about_teeth() -> None:
    points = _mouth()
    points[60:68, 1] = 170
    colour = mouth_colour(_drawn(points, LIPS), points)
    assert np.isinf([colour.least, colour.most]).all()

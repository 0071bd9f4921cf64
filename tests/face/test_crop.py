from fractions import Fraction

import numpy as np
import pytest

from keysync.clip import AlignedFace, Face
from keysync.errors import ConfigError
from keysync.face.crop import RIGID, Framing, align, align_faces, crop, to_crop_points, uncrop
from keysync.face.track import Timed
from keysync.face.warp import apply, invert

FRAMING = Framing()


def placed(to_frame: np.ndarray, noise: np.ndarray | float = 0) -> Face:
    """A face whose rigid landmarks lie on the template, carried into the frame."""
    landmarks = np.random.default_rng(0).uniform(100, 400, (68, 2))
    landmarks[RIGID] = FRAMING.template(512)
    landmarks = apply(to_frame, landmarks + noise).astype(np.float32)
    mesh = np.tile(landmarks, (7, 1))[:468]
    return Face(mesh, landmarks, 1.0)


def moved(x: float, y: float, scale: float = 0.5, angle: float = 0.2) -> np.ndarray:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]])


def test_eyes_sit_where_the_framing_says() -> None:
    points = Framing(eye_distance=0.3, eye_y=0.25).template(200)
    corners = points[-4:]
    assert corners[:, 0].mean() == pytest.approx(100)
    assert corners[:, 1].mean() == pytest.approx(50 + 0.3 * 200 * 0.015, abs=0.1)
    centres = (corners[2:].mean(axis=0) - corners[:2].mean(axis=0))[0]
    assert centres == pytest.approx(0.3 * 200, rel=0.04)


def test_a_framing_outside_the_crop_is_refused() -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Framing(eye_y=1.2)


def test_alignment_undoes_place_size_and_tilt() -> None:
    to_frame = moved(40, -30, 0.7, 0.5)
    np.testing.assert_allclose(align(placed(to_frame), FRAMING), invert(to_frame), atol=1e-4)


def test_a_resting_head_gives_crops_that_do_not_tremble() -> None:
    rng = np.random.default_rng(0)
    raw: list[Timed] = [
        (Fraction(i, 25), placed(moved(60, 40), rng.normal(0, 2, (68, 2)))) for i in range(60)
    ]
    steady = [a.to_crop[:, 2] for a in align_faces(raw, FRAMING) if a]
    single = [align(f, FRAMING)[:, 2] for _, f in raw if f]
    assert np.diff(steady, 2, axis=0).std() < 0.12 * np.diff(single, 2, axis=0).std()


def test_a_shaken_head_is_followed() -> None:
    raw: list[Timed] = [(Fraction(i, 25), placed(moved(60 + 40 * np.sin(i), 40))) for i in range(40)]
    for (_, face), aligned in zip(raw, align_faces(raw, FRAMING), strict=True):
        assert face is not None
        assert aligned is not None
        place = apply(aligned.to_crop, face.landmarks[RIGID]).mean(axis=0)
        assert np.abs(place - FRAMING.template(512).mean(axis=0)).max() < 4


def test_frames_without_a_face_stay_without_one_and_in_order() -> None:
    face = placed(moved(10, 10))
    raw: list[Timed] = [(Fraction(i, 25), face if i in {1, 2, 4} else None) for i in range(6)]
    assert [a is not None for a in align_faces(raw, FRAMING)] == [False, True, True, False, True, False]


def test_landmarks_come_along_into_the_crop() -> None:
    to_frame = moved(40, -30)
    points = to_crop_points(AlignedFace(placed(to_frame), invert(to_frame)))
    np.testing.assert_allclose(points[RIGID], FRAMING.template(512), atol=1e-3)


def soft_noise(height: int, width: int) -> np.ndarray:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    waves = [128 + 60 * np.sin(x / 9 + k) + 60 * np.cos(y / 7 - k) for k in range(3)]
    return np.stack(waves, axis=-1).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("scale", [0.4, 1.0, 1.6])
def test_a_crop_goes_back_to_the_pixels_it_came_from(scale: float) -> None:
    frame = soft_noise(300, 400)
    to_crop = invert(moved(90, 40, scale, 0.15))
    size = int(160 / scale)
    picture = crop(frame, to_crop, size)
    patch, (x0, y0, x1, y1) = uncrop(picture, to_crop, (300, 400))
    assert patch.shape == (y1 - y0, x1 - x0, 3)
    inside = uncrop(np.ones((size, size), np.float32), to_crop, (300, 400))[0]
    assert inside.shape == patch.shape[:2]
    xs, ys = np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5)
    place = apply(to_crop, np.stack([xs.ravel(), ys.ravel()], axis=1))
    covered = ((place > 3) & (place < size - 3)).all(axis=1).reshape(xs.shape)
    difference = np.abs(patch.astype(int) - frame[y0:y1, x0:x1])[covered]
    assert covered.sum() > 10_000
    assert difference.mean() < 1.5  # two interpolations of a soft picture; half a pixel of shift gives 4


def test_only_the_part_inside_the_frame_comes_back() -> None:
    to_crop = invert(moved(-50, 250, 1, 0))
    patch, box = uncrop(np.zeros((100, 100, 4), np.float32), to_crop, (300, 400))
    assert box == (0, 250, 50, 300)
    assert patch.shape == (50, 50, 4)


def test_a_crop_outside_the_frame_comes_back_empty() -> None:
    patch, box = uncrop(np.zeros((10, 10, 3), np.uint8), invert(moved(900, 0, 1, 0)), (300, 400))
    assert patch.size == 0
    assert box[0] == box[2]

"""How much of an open mouth is dark."""

import cv2
import numpy as np
import pytest

from keysync.face.mouth import dark_share


def face(skin: int, inside: int, teeth: float = 0.0, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A flat face of 100 pixels with lips in its lower half; ``teeth`` fill that share of the opening."""
    round_ = lambda count, x, y, rx, ry: np.stack(  # noqa: E731
        [x + rx * np.cos(np.linspace(0, 6, count)), y + ry * np.sin(np.linspace(0, 6, count))], axis=1
    )
    points = np.concatenate(
        [round_(48, 60, 60, 50, 50), round_(12, 60, 85, 18, 12), round_(8, 60, 85, 14, 8)]
    )
    points = (points * scale).astype(np.float32)
    picture = np.full((round(120 * scale), round(120 * scale), 3), skin, np.uint8)
    cv2.fillPoly(picture, [points[48:60].astype(np.int32)], (skin * 3 // 4,) * 3)
    cv2.fillPoly(picture, [points[60:68].astype(np.int32)], (inside,) * 3)
    if teeth:
        top, height = points[60:68, 1].min(), np.ptp(points[60:68, 1])
        picture[round(top) : round(top + teeth * height), round(44 * scale) : round(76 * scale)] = skin
    return picture, points


@pytest.mark.parametrize("skin", [40, 120, 220])
@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
def test_a_hanging_jaw_is_dark_and_a_grin_is_not(skin: int, scale: float) -> None:
    hanging = dark_share(*face(skin, skin // 8, scale=scale))
    half = dark_share(*face(skin, skin // 8, teeth=0.5, scale=scale))
    grin = dark_share(*face(skin, skin // 8, teeth=1.0, scale=scale))
    assert hanging > 0.8
    assert grin < 0.2
    assert 0.3 < half < 0.7


def test_a_face_outside_the_picture_tells_nothing() -> None:
    picture, points = face(120, 10)
    assert dark_share(picture, points + 500) == 0.0
    assert dark_share(picture, points - 70) == 0.0  # only its edge is left
    assert dark_share(picture[:4, :4], points / 40) == 0.0  # too small to tell

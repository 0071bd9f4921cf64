import cv2
import numpy as np
import pytest

from keysync.checkpoints import model_file
from keysync.errors import CheckpointError
from keysync.mask.hands import ByHands, hand_mask
from keysync.mask.occlusion import NOTHING_KNOWN
from keysync.mask.segmenter import SIDE
from keysync.synthetic.hand import draw_gesture, draw_hand, hand_layer
from keysync.synthetic.occlude import draw_lamp
from keysync.synthetic.props import any_skin
from keysync.synthetic.surface import flatten


@pytest.fixture(scope="module")
def hands() -> ByHands:
    return ByHands(model_file("palm_detection_full.tflite"), model_file("hand_landmark_full.tflite"))


def _scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A drawn hand in the middle of a plain picture, and its coverage of the aligned crop."""
    rng = np.random.default_rng(seed)
    lamp = draw_lamp(rng)
    layer = hand_layer(draw_hand(rng, any_skin(rng)), draw_gesture(rng, "open"), lamp, 9.0, "palm")
    sprite = flatten([layer])
    place = np.array([[0.83, 0, 0], [0, 0.83, 0]])
    place[:, 2] = np.full(2, SIDE) - place[:, :2] @ np.array(sprite.anchor)
    rgba = cv2.warpAffine(sprite.rgba, place, (2 * SIDE, 2 * SIDE)).astype(np.float32) / 255
    picture = np.float32([0.35, 0.4, 0.5]) * (1 - rgba[..., 3:]) + rgba[..., :3]
    middle = slice(SIDE // 2, SIDE // 2 + SIDE)
    return (np.clip(picture, 0, 1) * 255).astype(np.uint8), rgba[middle, middle, 3] > 0.5


def test_a_drawn_hand_is_found_where_it_is(hands: ByHands) -> None:
    overlaps = []
    for seed in range(4):
        picture, truth = _scene(seed)
        found = hands.find(picture[None], NOTHING_KNOWN)[0][0] > 0.5
        overlaps.append((found & truth).sum() / (found | truth).sum())
    assert np.median(overlaps) > 0.6


def test_between_two_looks_a_hand_is_where_either_saw_it(hands: ByHands) -> None:
    picture, truth = _scene(0)
    empty = np.full_like(picture, 100)
    crops = np.stack([picture] * 9 + [empty] * 11)
    found = hands.find(crops, NOTHING_KNOWN)[0] > 0.5
    seen = [bool((mask & truth).sum() > 0.5 * truth.sum()) for mask in found]
    assert seen[:9] == [True] * 9
    assert not any(seen[10:])


def test_where_there_is_no_hand_there_is_no_mask(hands: ByHands) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (2, 2 * SIDE, 2 * SIDE, 3), dtype=np.uint8)
    found, clean = hands.find(noise, NOTHING_KNOWN)
    assert found.shape == (2, SIDE, SIDE)
    assert not found.any()
    assert clean is NOTHING_KNOWN


def test_a_hand_is_as_wide_as_its_palm_is_long() -> None:
    points = np.zeros((21, 2), np.float32)
    points[:, 0], points[:, 1] = 64, 100
    for finger, x in enumerate((40, 52, 62, 72, 82)):
        points[1 + 4 * finger : 5 + 4 * finger] = np.stack([np.full(4, x), np.linspace(70, 30, 4)], axis=1)
    mask = hand_mask(points, SIDE) > 0.5
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert 25 <= rows[0] <= 30
    assert 100 <= rows[-1] <= 106
    assert 34 <= columns[0] <= 38
    assert mask[85, 64]


def test_another_network_is_refused() -> None:
    with pytest.raises(CheckpointError, match="not the palm detector"):
        ByHands(model_file("face_landmark.tflite"), model_file("hand_landmark_full.tflite"))

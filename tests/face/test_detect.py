from pathlib import Path

import numpy as np
import pytest

from keysync.errors import CheckpointError
from keysync.face.detect import FaceDetector, decode, grid_centres, letterbox, merge


def test_anchors_match_what_the_networks_answer_for() -> None:
    short = grid_centres(((16, 2), (8, 6)))
    assert len(short) == 896
    assert len(grid_centres(((48, 1),))) == 2304
    np.testing.assert_allclose(short[[0, 1, 2]], [[1 / 32, 1 / 32], [1 / 32, 1 / 32], [3 / 32, 1 / 32]])
    np.testing.assert_allclose(short[-1], [15 / 16, 15 / 16])


@pytest.mark.parametrize("shape", [(480, 640), (1920, 1080), (50, 50)])
def test_letterbox_tells_the_way_back(shape: tuple[int, int]) -> None:
    height, width = shape
    picture = np.zeros((height, width, 3), np.uint8)
    picture[height // 2 :, width // 2 :] = 255
    square, scale, shift = letterbox(picture, 192)
    white_x, white_y = (square[..., 0] > 0.9).any(axis=0), (square[..., 0] > 0.9).any(axis=1)
    found = (np.array([white_x.argmax(), white_y.argmax()]) - shift) / scale
    assert np.abs(found - (width / 2, height / 2)).max() <= max(shape) / 192 + 0.5
    assert square.min() == -1


def test_decode_adds_the_anchor_to_centre_and_points_but_not_to_the_size() -> None:
    raw = np.array([[10, 20, 40, 60, *range(12)]], np.float32)
    values = decode(raw, np.array([[0.5, 0.25]], np.float32), 100)
    np.testing.assert_allclose(values[0, :2], [[40, 15], [80, 75]])
    np.testing.assert_allclose(values[0, 2], [50, 26])


def test_overlapping_answers_become_one_face_weighted_by_score() -> None:
    box = np.zeros((8, 2), np.float32)
    box[1] = 10
    values = np.stack([box, box + np.float32(1), box + np.float32(100)])
    faces = merge(values, np.array([0.9, 0.6, 0.7], np.float32), 0.3)
    assert [face.score for face in faces] == pytest.approx([0.9, 0.7])
    np.testing.assert_allclose(faces[0].box, [0.4, 0.4, 10.4, 10.4], rtol=1e-5)
    assert faces[1].area == pytest.approx(100)


@pytest.mark.parametrize(("x", "y", "size"), [(320, 240, 90), (150, 140, 50), (520, 330, 70)])
def test_a_drawn_face_is_found_where_it_is(any_detector: FaceDetector, draw, x, y, size) -> None:
    (face,) = any_detector.detect(draw(x, y, size))
    left, right, nose, mouth = face.keypoints[:4]
    assert np.abs(left - (x - 0.36 * size, y - 0.2 * size)).max() < 0.15 * size
    assert np.abs(right - (x + 0.36 * size, y - 0.2 * size)).max() < 0.15 * size
    assert np.abs(mouth - (x, y + 0.55 * size)).max() < 0.2 * size
    assert left[1] < nose[1] < mouth[1]
    assert face.score > 0.5


def test_an_empty_picture_holds_no_face(any_detector: FaceDetector) -> None:
    assert any_detector.detect(np.full((300, 200, 3), 128, np.uint8)) == []


def test_a_file_that_is_no_network_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"nothing of the kind" * 10)
    with pytest.raises(CheckpointError, match=r"broken\.tflite: not a usable network file") as caught:
        FaceDetector(path)
    assert "\n" not in str(caught.value)

import numpy as np
import pytest

from keysync.face.detect import FaceDetector
from keysync.face.mesh import (
    IBUG_68,
    MIRRORED_68,
    STABLE,
    FaceMesh,
    Roi,
    roi_of_detection,
    roi_of_mesh,
    to_68,
)
from keysync.face.warp import apply


def test_the_mapping_names_68_different_points_of_the_mesh() -> None:
    assert len(set(IBUG_68.tolist())) == 68
    assert len(set(STABLE.tolist())) == len(STABLE)
    assert max(IBUG_68.max(), STABLE.max()) < 468


def test_a_roi_turns_its_eye_line_level() -> None:
    roi = Roi(50.0, 60.0, 20.0, np.pi / 2)  # the image-right eye below the other one
    points = apply(roi.to_square(192), np.array([[50.0, 60], [50, 70], [40, 60]]))
    np.testing.assert_allclose(points, [[96, 96], [192, 96], [96, 192]], atol=1e-9)


def test_the_roi_of_a_tilted_mesh_is_as_large_as_that_of_a_level_one() -> None:
    level = np.random.default_rng(0).uniform(0, 100, (468, 2)).astype(np.float32)
    level[33], level[263] = (20, 40), (80, 40)
    turn = np.array([[np.cos(0.5), np.sin(0.5)], [-np.sin(0.5), np.cos(0.5)]])
    one, other = roi_of_mesh(level), roi_of_mesh((level @ turn).astype(np.float32))
    assert other.side == pytest.approx(one.side, rel=1e-4)
    assert other.angle - one.angle == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("angle", [0, 0.4, -0.3])
def test_points_of_a_drawn_face_lie_on_its_features(
    detector: FaceDetector, mesh: FaceMesh, draw, angle: float
) -> None:
    picture = draw(angle=angle, gap=0.2)
    rough, _ = mesh.landmarks(picture, roi_of_detection(detector.detect(picture)[0]))
    points, score = mesh.landmarks(picture, roi_of_mesh(rough))
    assert score > 0.9
    turn = 90 * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    places = (to_68(points) - (320.0, 240.0)) @ np.linalg.inv(turn)  # in half face widths
    np.testing.assert_allclose(places[36:42].mean(axis=0), [-0.36, -0.2], atol=0.06)
    np.testing.assert_allclose(places[42:48].mean(axis=0), [0.36, -0.2], atol=0.06)
    np.testing.assert_allclose(places[48:].mean(axis=0), [0, 0.55], atol=0.08)


def test_opening_the_mouth_parts_the_inner_lips(detector: FaceDetector, mesh: FaceMesh, draw) -> None:
    gaps = []
    for gap in (0.02, 0.15, 0.3):
        picture = draw(gap=gap)
        rough, _ = mesh.landmarks(picture, roi_of_detection(detector.detect(picture)[0]))
        points = to_68(mesh.landmarks(picture, roi_of_mesh(rough))[0])
        gaps.append(float(np.linalg.norm(points[62] - points[66])))
    assert gaps == sorted(gaps)
    assert gaps[2] > gaps[0] + 0.1 * 90


def test_without_a_face_the_score_is_low(mesh: FaceMesh) -> None:
    _, score = mesh.landmarks(np.full((200, 200, 3), 128, np.uint8), Roi(100.0, 100.0, 150.0, 0.0))
    assert score < 0.5


def test_a_steady_look_into_a_mirror_sees_the_mirrored_face(
    detector: FaceDetector, mesh: FaceMesh, draw
) -> None:
    picture = draw(x=300, angle=0.2, gap=0.2)
    rough, _ = mesh.landmarks(picture, roi_of_detection(detector.detect(picture)[0]))
    roi = roi_of_mesh(rough)
    found = mesh.steady_68(picture, roi)
    mirrored = mesh.steady_68(picture[:, ::-1], Roi(640 - roi.x, roi.y, roi.side, -roi.angle))
    mirrored[:, 0] = 640 - mirrored[:, 0]
    np.testing.assert_allclose(mirrored[MIRRORED_68], found, atol=0.1)
    one, _ = mesh.landmarks(picture, roi)
    assert np.abs(to_68(one) - found).mean() < 2  # pixels of a face 150 wide

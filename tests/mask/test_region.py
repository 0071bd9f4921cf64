import numpy as np
import pytest

from keysync.mask.region import heart, jaw, lower_face_box, lower_rows, mouth_box, region, to_latent


@pytest.fixture
def landmarks() -> np.ndarray:
    """A plain face: jaw from x 20 to 80 round the chin at y 85, nose bridge at y 40."""
    points = np.full((68, 2), 50.0)
    bend = np.linspace(np.pi, 0, 17)
    points[:17] = np.stack([50 + 30 * np.cos(bend), 45 + 40 * np.sin(bend)], axis=1)
    points[28:34, 1] = (40, 45, 50, 55, 55, 55)
    points[31, 0], points[35] = 45, (55, 55)
    return points


def test_the_box_reaches_from_the_bridge_to_the_bottom_and_from_jaw_to_jaw(landmarks: np.ndarray) -> None:
    rows, columns = np.nonzero(lower_face_box(landmarks, 100))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (40, 99, 20, 80)


def test_expand_raises_the_top_alone(landmarks: np.ndarray) -> None:
    rows, columns = np.nonzero(lower_face_box(landmarks, 100, expand=0.1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (30, 99, 20, 80)


def test_a_face_that_leaves_the_crop_is_cut_at_its_edge(landmarks: np.ndarray) -> None:
    assert lower_face_box(landmarks - 60, 100).sum() == 100 * 21
    assert lower_face_box(landmarks + 200, 100).sum() == 0
    assert jaw(landmarks - 60, 100).sum() > 0
    assert jaw(landmarks - 300, 100).sum() == 0


def test_full_takes_whole_rows(landmarks: np.ndarray) -> None:
    mask = lower_rows(landmarks, 100)
    assert mask[40:].all()
    assert not mask[:40].any()


def test_mouth_ends_below_the_chin(landmarks: np.ndarray) -> None:
    rows = np.nonzero(mouth_box(landmarks, 100))[0]
    assert (rows.min(), rows.max()) == (39, 86)


def test_heart_spares_the_nose(landmarks: np.ndarray) -> None:
    mask = heart(landmarks, 100)
    assert mask[50, 50] == 0
    assert mask[60, 50] == 1
    assert mask[50, 30] == 1
    assert mask[44].sum() == 0


def test_the_jaw_shape_is_wider_than_the_jaw_line_and_filled(landmarks: np.ndarray) -> None:
    mask = jaw(landmarks, 100)
    assert mask[70, 50] == 1
    assert mask[88, 50] == 1
    assert mask[60:86, 50].all()
    assert mask[30].sum() == 0


def test_each_name_gives_its_shape(landmarks: np.ndarray) -> None:
    np.testing.assert_array_equal(region("box", landmarks, 100), lower_face_box(landmarks, 100))
    sizes = {region(name, landmarks, 100).sum() for name in ("box", "full", "mouth", "heart", "face")}
    assert len(sizes) == 5


def test_latent_cells_take_every_nth_pixel() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[4, 0] = 1
    np.testing.assert_array_equal(to_latent(mask, 4), [[0, 0], [1, 0]])
    mask[5:] = 1
    np.testing.assert_array_equal(to_latent(mask, 4), [[0, 0], [1, 0]])

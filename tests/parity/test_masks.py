"""Our masks against those of the published research code, pixel for pixel."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from keysync.mask.region import Region, lower_face_box, region, to_latent

FOLDER = Path(os.environ.get("KEYSYNC_PARITY", Path(__file__).parents[2] / ".." / "shared" / "parity"))


@pytest.fixture(scope="module")
def stored() -> Mapping[str, np.ndarray]:
    path = FOLDER / "masks.npz"
    if not path.exists():
        pytest.skip(f"no parity fixtures in {FOLDER}; set KEYSYNC_PARITY")
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("shape", ["box", "full", "mouth", "heart", "face"])
def test_every_shape_matches_at_both_sizes(stored: Mapping[str, np.ndarray], shape: Region) -> None:
    for i, landmarks in enumerate(stored["landmarks_512"]):
        mask = region(shape, landmarks, 512)
        np.testing.assert_array_equal(mask, stored[f"mask512_{shape}"][i])
        np.testing.assert_array_equal(to_latent(mask, 8), stored[f"mask64_{shape}"][i])


@pytest.mark.parametrize("nose_index", [27, 29, 30, 33])
def test_other_tops_match(stored: Mapping[str, np.ndarray], nose_index: int) -> None:
    for i, landmarks in enumerate(stored["landmarks_512"]):
        mask = to_latent(lower_face_box(landmarks, 512, nose_index=nose_index), 8)
        np.testing.assert_array_equal(mask, stored[f"mask64_box_nose{nose_index}"][i])


def test_unrounded_landmarks_match_the_training_path(stored: Mapping[str, np.ndarray]) -> None:
    for i, landmarks in enumerate(stored["landmarks_float"]):
        np.testing.assert_array_equal(lower_face_box(landmarks, 512), stored["mask_box_from_float_512"][i])


def test_expansion_matches(stored: Mapping[str, np.ndarray]) -> None:
    for i, landmarks in enumerate(stored["landmarks_512"]):
        mask = lower_face_box(landmarks, 512, expand=0.05)
        np.testing.assert_array_equal(mask, stored["mask_box_expand0.05_512"][i])


def test_an_occluder_is_taken_out_of_the_box(stored: Mapping[str, np.ndarray]) -> None:
    for i, landmarks in enumerate(stored["landmarks_512"]):
        box, occluder = lower_face_box(landmarks, 512), stored["occluder_512"][i]
        np.testing.assert_array_equal(to_latent(occluder, 8), stored["occluder_64"][i])
        visible = to_latent(box, 8) & (1 - to_latent(occluder, 8))
        np.testing.assert_array_equal(visible, stored["mask64_box_minus_occluder"][i])

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from keysync.audio.compact import CompactAudioConfig, CompactAudioEncoder
from keysync.synthetic.articulate import CURVE_SCALES, CURVES
from keysync.train.dataset import Disguised, reframe, true_curves


def test_a_disguise_changes_the_tokens_but_not_their_number_or_scale() -> None:
    torch.manual_seed(0)
    encoder = CompactAudioEncoder(CompactAudioConfig(width=16, blocks=2)).requires_grad_(False)
    samples = torch.randn(16000 + 100) * 0.1
    plain, first, second = encoder(samples), Disguised(encoder)(samples), Disguised(encoder)(samples)
    assert plain.shape == first.shape
    assert not torch.allclose(first, second)
    assert 0.5 < float(first.std() / plain.std()) < 2


@pytest.mark.parametrize("seed", range(8))
def test_a_crop_that_is_framed_off_keeps_its_cells_over_what_they_marked(seed: int) -> None:
    pictures = np.zeros((2, 256, 256, 3), np.uint8)
    pictures[:, 128:192, 80:160] = 255
    fields = np.zeros((1, 2, 16, 16), np.float32)
    fields[:, :, 8:12, 5:10] = 1
    moved, cells, grown = reframe(pictures, fields, np.random.default_rng(seed))
    white = moved[0, ..., 0] > 127
    marked = cells[0, 0].repeat(16, axis=0).repeat(16, axis=1) > 0
    assert not np.array_equal(moved[0], pictures[0])
    assert np.array_equal(moved[0], moved[1])
    assert (white & ~marked).sum() < 0.01 * white.sum()  # a sliver of a cell does not count
    assert marked.sum() < 2.3 * white.sum()
    tall, wide = white.any(axis=1).sum(), white.any(axis=0).sum()
    assert np.sqrt(white.sum() / (64 * 80)) == pytest.approx(np.sqrt(grown.prod()), rel=0.02)
    assert 64 * grown[0] - 2 < tall < 64 * grown[0] + 8
    assert 80 * grown[1] - 2 < wide < 80 * grown[1] + 8


def test_true_curves_are_the_labels_at_their_frames_and_between(tmp_path: Path) -> None:
    names = ["jawOpen", "mouthFunnel", "mouthPucker", "mouthStretch_L", "mouthUpperUp_L", "mouthLowerDown_L"]
    labels = {"weights": np.zeros((3, 6), np.float16), "mouth": np.zeros((3, 2), np.float32)}
    labels["weights"][:, 0] = (0.0, 0.5, 0.25)
    labels["weights"][:, 1:3] = (0.125, 0.25)
    labels["mouth"][:, 0] = (1, 0, 0)
    np.savez(tmp_path / "labels.npz", **labels)
    about = {"weight_names": names, "mouth_columns": ["closure", "tuck"], "fps": "25"}
    (tmp_path / "meta.json").write_text(json.dumps(about))
    moments = np.array([[-1.0, 0.0], [0.02, 0.04], [0.06, 9.0]])
    read = true_curves(tmp_path, moments) * CURVE_SCALES
    of = dict(zip(CURVES, np.moveaxis(read, -1, 0), strict=True))
    assert of["jaw"] == pytest.approx(np.array([[0, 0], [0.25, 0.5], [0.375, 0.25]]), abs=1e-6)
    assert of["closure"] == pytest.approx(np.array([[1, 1], [0.5, 0], [0, 0]]), abs=1e-6)
    assert of["rounding"] == pytest.approx(np.full((3, 2), 0.375), abs=1e-6)

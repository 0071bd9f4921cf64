from pathlib import Path

import numpy as np
import pytest
import torch

from keysync.errors import CheckpointError, InputError
from keysync.evaluate.learned import lipscore
from keysync.evaluate.learned.avsr import AvsrConfig, AvsrEncoder
from keysync.evaluate.learned.lipscore import LipScore, fill_gaps, mouth_crops

from .conftest import Clip, lively

SMALL = AvsrConfig(front=4, width=24, heads=2, hidden=32, blocks=2, kernel=5)
SIZE = 128


def face(size: int) -> np.ndarray:
    """68 points in general position: eyes, nose, mouth where a face has them."""
    points = np.random.default_rng(0).uniform(0.2, 0.8, (68, 2))
    points[[36, 39, 42, 45], 0] = (0.28, 0.42, 0.58, 0.72)
    points[[36, 39, 42, 45], 1] = 0.35
    points[28], points[33] = (0.5, 0.4), (0.5, 0.58)
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    points[48:68] = np.stack([0.5 + 0.12 * np.cos(turn), 0.72 + 0.05 * np.sin(turn)], axis=1)
    points[48], points[54] = (0.38, 0.72), (0.62, 0.72)
    return points * size


def landmarks(frames: int) -> np.ndarray:
    return np.repeat(face(SIZE)[None], frames, axis=0).astype(np.float32)


def metric() -> LipScore:
    return LipScore(lively(AvsrEncoder(SMALL)), face(256))


def test_identical_videos_score_one_and_others_less(clip: Clip) -> None:
    score, video = metric(), clip()
    assert score.add(video, video, None, landmarks(6)) == pytest.approx(1, abs=1e-5)
    other = score.add(clip(seed=1), video, None, landmarks(6))
    assert other < 0.99
    assert score.total() == pytest.approx((1 + other) / 2, abs=1e-5)


def test_nothing_added_has_no_total() -> None:
    assert metric().total() is None
    assert LipScore.higher_is_better


def test_only_the_mouth_counts(clip: Clip) -> None:
    video = clip()
    changed = video.copy()
    changed[:, :30] = 255 - changed[:, :30]  # the forehead
    assert metric().add(changed, video, None, landmarks(6)) == pytest.approx(1, abs=1e-5)


def test_different_lengths_and_missing_landmarks_are_refused(clip: Clip) -> None:
    score = metric()
    with pytest.raises(InputError, match="6 frames against 5"):
        score.add(clip(6), clip(5), None, landmarks(6))
    with pytest.raises(InputError, match="landmarks of 0 frames"):
        score.add(clip(6), clip(6), None, None)
    with pytest.raises(InputError, match="no frame has landmarks"):
        score.add(clip(6), clip(6), None, np.full((6, 68, 2), np.nan, np.float32))
    assert score.total() is None


def test_gaps_are_filled_between_and_held_at_the_ends() -> None:
    points = np.arange(7, dtype=np.float32)[:, None, None] * np.ones((7, 68, 2), np.float32)
    points[[0, 3, 4, 6]] = np.nan
    np.testing.assert_allclose(fill_gaps(points)[:, 5, 0], [1, 1, 2, 3, 4, 5, 5])


def test_the_mouth_lies_in_the_middle_of_its_crop() -> None:
    points = landmarks(1).astype(np.float64)
    frame = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    x, y = points[0, 48:68].mean(axis=0).astype(int)
    frame[0, y - 1 : y + 2, x - 1 : x + 2] = 255
    crop = mouth_crops(frame, points, face(256))[0, :, :, 0].astype(float)
    middle = [(crop * grid).sum() / crop.sum() for grid in np.mgrid[:96, :96]]
    np.testing.assert_allclose(middle, 47.5, atol=2)


def test_attention_does_not_depend_on_where_in_time_it_stands() -> None:
    """Relative places: the same frames later in a clip attend to each other the same way."""
    torch.manual_seed(0)
    network = lively(AvsrEncoder(SMALL))
    attention = network.encoder.encoders[0].self_attn
    x, places = torch.randn(5, 24), torch.randn(9, 24)
    q = attention.linear_q(x) + attention.pos_bias_v.flatten()
    p, k = attention.linear_pos(places), attention.linear_k(x)
    content = attention.linear_q(x) + attention.pos_bias_u.flatten()
    out = torch.zeros(5, 24)
    for head in (slice(0, 12), slice(12, 24)):
        for i in range(5):
            scores = torch.stack(
                [content[i, head] @ k[j, head] + q[i, head] @ p[4 - (i - j), head] for j in range(5)]
            )
            out[i, head] = (scores / 12**0.5).softmax(0) @ attention.linear_v(x)[:, head]
    torch.testing.assert_close(attention(x, places), attention.linear_out(out))


@pytest.mark.usefixtures("unpinned")
@pytest.mark.parametrize("old_names", [False, True])
def test_both_spellings_of_the_published_file_load(
    models: Path, monkeypatch: pytest.MonkeyPatch, old_names: bool, clip: Clip
) -> None:
    theirs = lively(AvsrEncoder(SMALL))
    state = {**theirs.state_dict(), "decoder.x": torch.zeros(1), "ctc.ctc_lo.weight": torch.zeros(1)}
    if old_names:
        state = {
            name.replace("proj_encoder.", "encoder.embed.0.")
            if name.startswith("proj_encoder")
            else f"encoder.{name}"
            if name.startswith("frontend")
            else name: value
            for name, value in state.items()
        }
    torch.save(state, models / lipscore.ENCODER.name)
    monkeypatch.setattr(LipScore, "build", staticmethod(lambda: AvsrEncoder(SMALL)))
    assert "20words_mean_face.npy" in str(LipScore.absent())
    np.save(models / lipscore.MEAN_FACE.name, face(256))
    assert LipScore.absent() is None
    loaded = LipScore.load("cpu").add(clip(seed=1), clip(), None, landmarks(6))
    assert loaded == metric().add(clip(seed=1), clip(), None, landmarks(6))


def test_a_mean_face_that_is_no_face_is_refused(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(AvsrEncoder(SMALL).state_dict(), models / lipscore.ENCODER.name)
    monkeypatch.setattr(LipScore, "build", staticmethod(lambda: AvsrEncoder(SMALL)))
    np.save(models / lipscore.MEAN_FACE.name, np.zeros((5, 2)))
    with pytest.raises(CheckpointError, match="not 68 points"):
        LipScore.load("cpu")
    np.save(models / lipscore.MEAN_FACE.name, np.array([{}], object), allow_pickle=True)
    with pytest.raises(CheckpointError, match="not a plain array"):
        LipScore.load("cpu")


def test_official_names_of_the_encoder() -> None:
    names = set(AvsrEncoder(SMALL).state_dict())
    for name in (
        "frontend.frontend3D.0.weight",
        "frontend.trunk.layer2.0.downsample.1.running_mean",
        "proj_encoder.bias",
        "encoder.encoders.1.self_attn.pos_bias_u",
        "encoder.encoders.0.feed_forward_macaron.w_1.weight",
        "encoder.encoders.0.conv_module.pointwise_cov2.bias",
        "encoder.encoders.0.norm_final.weight",
        "encoder.after_norm.bias",
    ):
        assert name in names

"""The head model: the shapes that speech uses do to the mouth what speech needs."""

from __future__ import annotations

import numpy as np
import pytest

from keysync.synthetic.articulate import articulate
from keysync.synthetic.head import (
    draw_shape,
    express,
    head_model,
    lip_gap,
    mouth_width,
    rotation,
    seal_lips,
    weight_vector,
)
from keysync.synthetic.utterance import Phone, Utterance

HEADS = 6

BOTH = {
    "AA": {"jawOpen": 0.42, "mouthUpperUp": 0.08, "mouthLowerDown": 0.18},
    "IH": {"jawOpen": 0.18, "mouthStretch": 0.15, "mouthUpperUp": 0.08, "mouthLowerDown": 0.20},
    "S": {"jawOpen": 0.04, "mouthStretch": 0.18, "mouthUpperUp": 0.12, "mouthLowerDown": 0.28},
    "IY": {"jawOpen": 0.12, "mouthStretch": 0.25, "mouthSmile": 0.20, "mouthLowerDown": 0.25},
    "UW": {"jawOpen": 0.10, "mouthFunnel": 0.30, "mouthPucker": 0.60, "mouthLowerDown": 0.05},
}


def mouth(phone: str) -> np.ndarray:
    """Weights of a sound, spread over the shapes that come in a left and a right."""
    names = head_model().names
    weights = {}
    for name, weight in BOTH[phone].items():
        weights |= {n: weight for n in (name, f"{name}_L", f"{name}_R") if n in names}
    return weight_vector(weights)


@pytest.fixture(scope="module")
def heads() -> list[np.ndarray]:
    return [draw_shape(np.random.default_rng(seed)) for seed in range(HEADS)]


def test_uw_is_narrower_than_iy_on_every_head(heads: list[np.ndarray]) -> None:
    for head in heads:
        assert mouth_width(express(head, mouth("UW"))) < mouth_width(express(head, mouth("IY"))) - 0.5


def test_aa_opens_more_than_ih_and_ih_more_than_s(heads: list[np.ndarray]) -> None:
    for head in heads:
        gaps = [lip_gap(express(head, mouth(phone))) for phone in ("AA", "IH", "S")]
        assert gaps[0] > gaps[1] + 0.2 > gaps[2] + 0.2


def test_sealed_lips_meet_on_every_head_even_in_a_smile(heads: list[np.ndarray]) -> None:
    closed = {"jawOpen": 0.06, "mouthClose": 0.06, "mouthPress_L": 0.22, "mouthPress_R": 0.22}
    smile = closed | {"mouthSmile_L": 0.3, "mouthSmile_R": 0.25}
    weights = np.stack([weight_vector(closed), weight_vector(smile)])
    for head in heads:
        for sealed in seal_lips(head, weights, np.ones(2, np.float32)):
            assert abs(lip_gap(express(head, sealed))) < 0.06


@pytest.mark.parametrize("name", ["F", "V"])
def test_in_f_and_v_the_lower_lip_meets_the_upper_incisors(heads: list[np.ndarray], name: str) -> None:
    model = head_model()
    phones = (Phone("AA", 0.0, 0.2), Phone(name, 0.2, 0.3), Phone("AA", 0.3, 0.5))
    sound = (0.1 * np.random.default_rng(0).normal(size=8000)).astype(np.float32)
    said = articulate(
        Utterance(sound, 16000, phones), 0.5, np.random.default_rng(0), jaw_gain=1.0, lip_gain=1.0
    )
    falls = np.zeros(len(model.neutral), bool)
    falls[model.expressions["jawOpen"][0]] = True
    incisors = (model.vertex_part == "teeth") & ~falls & (np.abs(model.neutral[:, 0]) < 0.9)
    lip = model.neutral[model.landmarks[66]]
    near = np.linalg.norm(model.neutral - lip, axis=1) < 0.8
    lower = (model.vertex_part == "face") & near & (model.neutral[:, 1] <= lip[1] + 0.05)

    def distance_cm(head: np.ndarray, moment_s: float) -> float:
        place = int(np.abs(said.times_s - moment_s).argmin())
        weights = weight_vector({shape: float(curve[place]) for shape, curve in said.weights.items()})
        moved = express(head, weights)
        return float(np.linalg.norm(moved[lower][:, None] - moved[incisors], axis=2).min())

    for head in heads:
        assert distance_cm(head, 0.25) < 0.2
        assert distance_cm(head, 0.12) > distance_cm(head, 0.25)


def test_an_open_mouth_is_left_as_it_is(heads: list[np.ndarray]) -> None:
    weights = mouth("AA")[None]
    np.testing.assert_array_equal(seal_lips(heads[0], weights, np.zeros(1, np.float32)), weights)


def test_tongue_shapes_move_the_tongue_and_nothing_else() -> None:
    model = head_model()
    for name in ("tongueUp", "tongueOut"):
        rows, offsets = model.expressions[name]
        assert set(model.vertex_part[rows]) == {"gums_tongue"}
        assert 0.5 < np.abs(offsets).max() < 1.2


def test_rotation_turns_down_and_to_image_right() -> None:
    forward = np.array([0, 0, 1], np.float32)
    assert (rotation(np.array([10.0, 0, 0])) @ forward)[1] < -0.1
    assert (rotation(np.array([0, 10.0, 0])) @ forward)[0] > 0.1
    turned = rotation(np.array([5.0, -20, 8]))
    np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-6)


def test_an_unknown_expression_is_an_error() -> None:
    with pytest.raises(KeyError, match="tongueLeft"):
        weight_vector({"tongueLeft": 1.0})

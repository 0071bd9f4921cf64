"""Everything on the face that the words do not decide: blinks, gaze, brows, a mood, the head's motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from scipy.ndimage import gaussian_filter1d

from keysync.synthetic.articulate import Mouth

_BLINK_CLOSE_S, _BLINK_HOLD_S, _BLINK_OPEN_S = 0.07, 0.04, 0.16
_MOODS = ("none", "smile", "frown", "raised brows")
_MOOD_CHANCES = (0.6, 0.4 / 3, 0.4 / 3, 0.4 / 3)

Curve = Float64[np.ndarray, " t"]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Curves at the mouth's own rate."""

    weights: dict[str, Float32[np.ndarray, " t"]]  # ARKit names; ``merge`` adds them to the mouth's
    pose: Float32[np.ndarray, "t 3"]  # pitch, yaw, roll in degrees
    shift: Float32[np.ndarray, "t 3"]  # x, y, z in cm


def behave(mouth: Mouth, rng: np.random.Generator) -> Behaviour:
    """Draw how a speaker blinks, looks, frowns and nods while saying what ``mouth`` says."""
    times_s, rate_hz = mouth.times_s, mouth.rate_hz
    loudness = mouth.loudness.astype(np.float64)

    def noise(smooth_s: float, deviation: float) -> Curve:
        return _smooth_noise(rng, len(times_s), smooth_s * rate_hz, deviation)

    mood = str(rng.choice(_MOODS, p=_MOOD_CHANCES))
    mood_weight = rng.uniform(0.1, 0.35)
    smile = rng.uniform(0.0, 0.12) + (mood_weight if mood == "smile" else 0.0)
    frown = mood_weight if mood == "frown" else 0.0
    raised = mood_weight if mood == "raised brows" else 0.0
    weaker, weaker_side = rng.uniform(0.7, 1.0), int(rng.integers(2))

    sideways, upward = _gaze(times_s, rate_hz, rng) * np.array([[0.12], [0.07]])
    lift = gaussian_filter1d(loudness - 1.0, 0.15 * rate_hz) * 0.5
    brow = np.clip(lift + noise(0.5, 0.12), 0.0, 0.5) + raised
    lips_free = 1.0 - 0.5 * mouth.closure
    weights = {
        "eyeLookOut_L": sideways,
        "eyeLookIn_R": sideways,
        "eyeLookIn_L": -sideways,
        "eyeLookOut_R": -sideways,
        "browInnerUp_L": brow,
        "browInnerUp_R": brow,
        "browOuterUp_L": 0.6 * brow,
        "browOuterUp_R": 0.6 * brow,
    }
    both_sides = {
        "eyeBlink": _blinks(times_s, rng),
        "eyeLookUp": upward,
        "eyeLookDown": -upward,
        "browDown": np.clip(noise(0.8, 0.1), 0.0, 0.3) + frown,
        "cheekSquint": np.full(len(times_s), smile),
        "mouthFrown": frown * lips_free,
    }
    for name, curve in both_sides.items():
        weights[f"{name}_L"] = weights[f"{name}_R"] = curve
    for side, suffix in enumerate(("L", "R")):
        weights[f"mouthSmile_{suffix}"] = smile * lips_free * (weaker if side == weaker_side else 1.0)

    nod = np.clip(gaussian_filter1d(loudness - 0.9, 0.12 * rate_hz) * 9.0, -4.0, 4.0)
    pose = np.stack([noise(0.35, 2.0) + nod, noise(0.6, 4.0), noise(0.6, 2.0)], axis=1)
    shift = np.stack([noise(0.7, 0.5), noise(0.7, 0.3), noise(0.7, 0.5)], axis=1)
    return Behaviour(
        weights={name: np.clip(curve, 0.0, 1.0).astype(np.float32) for name, curve in weights.items()},
        pose=pose.astype(np.float32),
        shift=shift.astype(np.float32),
    )


def merge(mouth: Mouth, behaviour: Behaviour) -> dict[str, Float32[np.ndarray, " t"]]:
    """All weights of one clip; where both move the same shape, the two add up, to 1 at most."""
    weights = dict(mouth.weights)
    for name, curve in behaviour.weights.items():
        weights[name] = np.minimum(weights[name] + curve, np.float32(1.0)) if name in weights else curve
    return weights


def _smooth_noise(rng: np.random.Generator, count: int, sigma: float, deviation: float) -> Curve:
    """Gaussian noise without jumps: ``sigma`` samples wide, of the given standard deviation."""
    margin = int(4 * sigma)
    smooth = gaussian_filter1d(rng.normal(size=count + 2 * margin), sigma)[margin : margin + count]
    # Smoothing white noise shrinks its variance by 2 sqrt(pi) sigma; dividing by the clip's own
    # deviation instead would blow a short clip's drift up.
    return np.asarray(smooth * deviation * np.sqrt(2 * np.sqrt(np.pi) * sigma))


def _blinks(times_s: Curve, rng: np.random.Generator) -> Curve:
    lids = np.zeros(len(times_s))
    start_s = rng.uniform(0.3, 2.5)
    while start_s < times_s[-1]:
        since_s = times_s - start_s
        closing = since_s / _BLINK_CLOSE_S
        opening = 1.0 - (since_s - _BLINK_CLOSE_S - _BLINK_HOLD_S) / _BLINK_OPEN_S
        lid = np.clip(np.minimum(closing, opening), 0.0, 1.0)
        lids = np.maximum(lids, lid * lid * (3 - 2 * lid))
        start_s += 0.3 + rng.gamma(2.0, 1.7)
    return lids


def _gaze(times_s: Curve, rate_hz: int, rng: np.random.Generator) -> Float64[np.ndarray, "2 t"]:
    """Eyes jump, then rest for 0.4 to 2 s; in standard deviations, sideways and up."""
    gaze = np.zeros((2, len(times_s)))
    start_s = 0.0
    while start_s <= times_s[-1]:
        end_s = start_s + rng.uniform(0.4, 2.0)
        gaze[:, (times_s >= start_s) & (times_s < end_s)] = rng.normal(size=(2, 1))
        start_s = end_s
    return np.asarray(gaussian_filter1d(gaze, 0.012 * rate_hz, axis=1))

"""Phones and loudness -> how the mouth moves, by rule, at 200 Hz.

Every phone pulls the jaw, the lips and the tongue towards its own shape, and the pulls blend. Then two
constraints are laid over the blend, because viewers notice them most: lips meet for p, b, m and in
pauses (``closure``), and the lower lip goes under the teeth for f and v (``tuck``).

Source: dominance functions, Cohen and Massaro 1993; jaw and lips apart, Edwards et al. 2016 (JALI).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float32, Float64
from scipy.ndimage import gaussian_filter1d

from keysync.synthetic.utterance import PAUSE, Phone, Utterance

CURVE_RATE_HZ = 200
LONG_PAUSE_S = 0.18  # the lips close in a pause longer than this
# What the audio encoder learns to tell of a mouth, and what it is divided by: rough deviations, so that each
# counts alike.
CURVES = ("jaw", "closure", "tuck", "rounding", "stretch", "upper", "lower")
CURVE_SCALES = (0.12, 0.40, 0.30, 0.40, 0.144, 0.06, 0.08)

_SHAPES = ("jaw", "funnel", "pucker", "stretch", "smile", "upper", "lower", "tongue_up", "tongue_out")
# Rounding and spread go as far as the face mesh sees them go on footage: docs/synthetic.md.
_TARGETS: dict[str, dict[str, float]] = {
    "AA": {"jaw": 0.42, "upper": 0.08, "lower": 0.18},
    "AE": {"jaw": 0.38, "stretch": 0.36, "smile": 0.18, "upper": 0.15, "lower": 0.25},
    "AH": {"jaw": 0.28, "upper": 0.06, "lower": 0.15},
    "AX": {"jaw": 0.18, "upper": 0.04, "lower": 0.12},
    "AO": {"jaw": 0.34, "funnel": 0.40, "pucker": 0.40, "upper": 0.05, "lower": 0.15},
    "EH": {"jaw": 0.28, "stretch": 0.36, "smile": 0.09, "upper": 0.10, "lower": 0.20, "tongue_up": 0.1},
    "ER": {"jaw": 0.18, "funnel": 0.36, "pucker": 0.36, "upper": 0.05, "lower": 0.15, "tongue_up": 0.3},
    "IH": {"jaw": 0.18, "stretch": 0.36, "smile": 0.09, "upper": 0.08, "lower": 0.20, "tongue_up": 0.2},
    "IY": {"jaw": 0.12, "stretch": 0.60, "smile": 0.36, "upper": 0.10, "lower": 0.25, "tongue_up": 0.3},
    "UH": {"jaw": 0.16, "funnel": 0.40, "pucker": 0.56, "upper": 0.03, "lower": 0.10},
    "UW": {"jaw": 0.10, "funnel": 0.36, "pucker": 1.08, "lower": 0.05},
    "OW": {"jaw": 0.26, "funnel": 0.46, "pucker": 0.66, "upper": 0.03, "lower": 0.10},
    "P": {"jaw": 0.05},
    "F": {"jaw": 0.07, "stretch": 0.12, "upper": 0.22},
    "TH": {"jaw": 0.12, "stretch": 0.12, "upper": 0.08, "lower": 0.20, "tongue_up": 0.4, "tongue_out": 0.8},
    "DH": {"jaw": 0.12, "stretch": 0.12, "upper": 0.08, "lower": 0.20, "tongue_up": 0.4, "tongue_out": 0.6},
    "T": {"jaw": 0.08, "stretch": 0.19, "upper": 0.08, "lower": 0.20, "tongue_up": 1.0},
    "L": {"jaw": 0.16, "stretch": 0.12, "upper": 0.06, "lower": 0.16, "tongue_up": 1.0},
    "S": {"jaw": 0.04, "stretch": 0.43, "smile": 0.09, "upper": 0.12, "lower": 0.28, "tongue_up": 0.4},
    "SH": {"jaw": 0.06, "funnel": 0.56, "pucker": 0.40, "upper": 0.15, "lower": 0.20, "tongue_up": 0.5},
    "K": {"jaw": 0.14, "upper": 0.04, "lower": 0.10},
    "HH": {"jaw": 0.15, "upper": 0.04, "lower": 0.10},
    "R": {"jaw": 0.11, "funnel": 0.40, "pucker": 0.48, "upper": 0.03, "lower": 0.12, "tongue_up": 0.3},
    "W": {"jaw": 0.06, "funnel": 0.32, "pucker": 1.20, "lower": 0.02},
    "Y": {"jaw": 0.09, "stretch": 0.48, "smile": 0.18, "upper": 0.06, "lower": 0.18, "tongue_up": 0.5},
    PAUSE: {},
}
# Sounds that the lips cannot tell apart.
_SAME_SHAPE = {"B": "P", "M": "P", "V": "F", "D": "T", "N": "T", "Z": "S", "ZH": "SH", "CH": "SH", "JH": "SH"}
_TARGETS |= {name: _TARGETS[like] for name, like in {**_SAME_SHAPE, "G": "K", "NG": "K"}.items()}
# A diphthong glides from one vowel to another; the number is the share of its time given to the first.
_DIPHTHONGS = {
    "AY": ("AA", "IY", 0.55),
    "AW": ("AA", "UW", 0.55),
    "EY": ("EH", "IY", 0.50),
    "OY": ("AO", "IY", 0.50),
    "OW": ("OW", "UW", 0.60),
}
_CLOSED = ("P", "B", "M")
_TUCKED = ("F", "V")
_ROUNDED = ("UW", "OW", "AO", "UH", "W", "R", "ER", "SH", "CH", "ZH", "JH")

# How strongly a phone insists on its own jaw, lips and tongue. K, G and HH borrow the vowel's mouth.
_STRENGTHS: dict[str, tuple[float, float, float]] = {
    **dict.fromkeys(("AA", "AE", "AH", "EH", "IH"), (1.0, 0.5, 0.5)),
    **dict.fromkeys(("AO", "ER", "UH", "UW", "OW", "IY"), (1.0, 1.0, 0.5)),
    "AX": (0.6, 0.5, 0.5),
    **dict.fromkeys(("S", "Z", "SH", "ZH", "CH", "JH"), (1.0, 0.9, 0.8)),
    **dict.fromkeys(_CLOSED, (0.7, 0.15, 0.05)),
    **dict.fromkeys(_TUCKED, (0.9, 0.4, 0.1)),
    **dict.fromkeys(("T", "D", "N", "L", "TH", "DH"), (0.45, 0.25, 1.2)),
    **dict.fromkeys(("K", "G", "NG"), (0.25, 0.12, 0.5)),
    "W": (0.6, 1.2, 0.2),
    "R": (0.4, 0.7, 0.6),
    "Y": (0.4, 0.5, 0.6),
    "HH": (0.05, 0.05, 0.05),
    PAUSE: (0.8, 0.5, 0.5),
}
_REACH_S = ((0.055, 0.055), (0.075, 0.070), (0.050, 0.050))  # jaw, lips, tongue: before and after the phone
_ROUNDED_REACH_S = (0.130, 0.090)  # rounding starts 100 to 200 ms ahead in real speech
_PAUSE_REACH_S = (0.07, 0.07)
_GROUPS = ((0,), (1, 2, 3, 4, 5, 6), (7, 8))  # columns of _SHAPES: jaw, lips, tongue

Curve = Float64[np.ndarray, " t"]


@dataclass(frozen=True, slots=True)
class Mouth:
    """Movements of the mouth; sample k is the mouth at ``k / rate_hz`` seconds."""

    rate_hz: int
    weights: dict[str, Float32[np.ndarray, " t"]]  # ARKit names, and tongueUp, tongueOut; 0 to 1
    closure: Float32[np.ndarray, " t"]  # 1 where the lips meet
    tuck: Float32[np.ndarray, " t"]  # 1 where the lower lip is under the upper teeth
    loudness: Float32[np.ndarray, " t"]  # 0.55 to 1.25, 1 at the loud parts of the clip

    @property
    def times_s(self) -> Float64[np.ndarray, " t"]:
        """Seconds."""
        return np.arange(len(self.closure)) / self.rate_hz

    def curves_at(self, times_s: Float64[np.ndarray, " n"]) -> Float32[np.ndarray, "n 7"]:
        """``CURVES`` at any times, in units of ``CURVE_SCALES``."""
        curves = mouth_curves(self.weights, self.closure, self.tuck)
        found = np.stack([np.interp(times_s, self.times_s, curve) for curve in curves.T], axis=1)
        return found.astype(np.float32)


def mouth_curves(
    weights: Mapping[str, Float32[np.ndarray, " t"]],
    closure: Float32[np.ndarray, " t"],
    tuck: Float32[np.ndarray, " t"],
) -> Float32[np.ndarray, "t 7"]:
    """``CURVES`` of a mouth, in units of ``CURVE_SCALES``; ``weights`` by the head model's names."""
    rounding = weights["mouthPucker"] + weights["mouthFunnel"]
    lips = (weights["mouthStretch_L"], weights["mouthUpperUp_L"], weights["mouthLowerDown_L"])
    curves = np.stack([weights["jawOpen"], closure, tuck, rounding, *lips], axis=1)
    return (curves / CURVE_SCALES).astype(np.float32)


def articulate(
    utterance: Utterance,
    duration_s: float,
    rng: np.random.Generator | None,
    *,
    fps: Fraction = Fraction(25),
    jaw_gain: float,
    lip_gain: float,
    seal: float = 0.0,
) -> Mouth:
    """Move the mouth through an utterance; after its end the mouth rests closed.

    Args:
        utterance: sound and phones, from time 0.
        duration_s: length of the curves, seconds.
        rng: draws the small irregularities: targets by 10 %, times by 8 ms; never those of closures.
            None: none.
        fps: frame k of the video shows time ``k / fps``; every closure and tuck is seen by a frame.
        jaw_gain, lip_gain: 0.7 (a mumbler) to 1.25 (over-articulates).
        seal: what ``mouthClose`` needs on top, when closed, on a head whose neutral lips do not touch.
    """
    times_s = np.arange(int(np.ceil(duration_s * CURVE_RATE_HZ)) + 1) / CURVE_RATE_HZ
    phones = _rest_until(utterance.phones, duration_s)
    loudness = _loudness(utterance, times_s)
    raw = _blend(phones, times_s, rng)
    raw[:, 0] *= jaw_gain * loudness
    raw[:, 1:7] *= lip_gain
    raw[:, 5:7] *= np.sqrt(loudness)[:, None]
    shapes = gaussian_filter1d(raw, 0.014 * CURVE_RATE_HZ, axis=0, mode="nearest")

    closure = _closure(phones, times_s, fps)
    tuck = _tuck(phones, times_s, fps) * (1.0 - closure)
    weights = _constrain(dict(zip(_SHAPES, shapes.T, strict=True)), closure, tuck, seal)
    return Mouth(
        rate_hz=CURVE_RATE_HZ,
        weights={name: curve.astype(np.float32) for name, curve in weights.items()},
        closure=closure.astype(np.float32),
        tuck=tuck.astype(np.float32),
        loudness=loudness.astype(np.float32),
    )


def _rest_until(phones: tuple[Phone, ...], duration_s: float) -> tuple[Phone, ...]:
    last = phones[-1] if phones else Phone(PAUSE, 0.0, 0.0)
    if last.end_s >= duration_s:
        return phones
    if last.name == PAUSE:
        return (*phones[:-1], Phone(PAUSE, last.start_s, duration_s))
    return (*phones, Phone(PAUSE, last.end_s, duration_s))


def _loudness(utterance: Utterance, times_s: Curve) -> Curve:
    """Smoothed level against the clip's own 90th percentile, as a factor of 0.55 to 1.25."""
    # Mean power of the 5 ms around each time, as the difference of two sums.
    energy = np.concatenate([[0.0], np.cumsum(utterance.samples.astype(np.float64) ** 2)])
    edges_s = np.append(times_s, times_s[-1] + 1 / CURVE_RATE_HZ) - 0.5 / CURVE_RATE_HZ
    until = np.interp(edges_s * utterance.rate_hz, np.arange(len(energy)), energy)
    power = np.diff(until) * CURVE_RATE_HZ / utterance.rate_hz
    level_db = 20 * np.log10(np.sqrt(gaussian_filter1d(power, 0.04 * CURVE_RATE_HZ)) + 1e-4)
    return np.asarray(np.clip(1 + (level_db - np.percentile(level_db, 90)) / 40, 0.55, 1.25))


def _blend(
    phones: tuple[Phone, ...], times_s: Curve, rng: np.random.Generator | None
) -> Float64[np.ndarray, "t 9"]:
    """The average of all phones' targets at every time, each weighted by its dominance there."""
    parts = _split_diphthongs(phones)
    targets = np.array([[_TARGETS[part.name].get(shape, 0.0) for shape in _SHAPES] for part in parts])
    late_s = np.zeros(len(parts))
    if rng is not None:
        targets = targets * rng.uniform(0.9, 1.1, targets.shape)
        late_s = np.where(
            [part.name in _CLOSED for part in parts], 0.0, rng.uniform(-0.008, 0.008, len(parts))
        )
    middle_s = np.array([(part.start_s + part.end_s) / 2 for part in parts]) + late_s
    core_s = np.maximum(np.array([part.length_s for part in parts]) / 4, 0.005)  # half of the middle half
    offset_s = times_s[:, None] - middle_s
    distance_s = np.maximum(np.abs(offset_s) - core_s, 0.0)

    blended = np.empty((len(times_s), len(_SHAPES)))
    for group, columns in enumerate(_GROUPS):
        reach_s = np.array([_reach_s(part.name, group) for part in parts])
        strength = np.array([_strength(part, group) for part in parts])
        scaled = distance_s / np.where(offset_s < 0, reach_s[:, 0], reach_s[:, 1])
        dominance = strength * np.exp(-(scaled**1.2))
        blended[:, columns] = dominance @ targets[:, columns] / (dominance.sum(1, keepdims=True) + 1e-6)
    return blended


def _split_diphthongs(phones: tuple[Phone, ...]) -> list[Phone]:
    parts = []
    for phone in phones:
        if phone.name not in _DIPHTHONGS:
            parts.append(phone)
            continue
        first, second, share = _DIPHTHONGS[phone.name]
        turn_s = phone.start_s + share * phone.length_s
        parts += [Phone(first, phone.start_s, turn_s), Phone(second, turn_s, phone.end_s)]
    return parts


def _reach_s(name: str, group: int) -> tuple[float, float]:
    if name == PAUSE:
        return _PAUSE_REACH_S
    return _ROUNDED_REACH_S if group == 1 and name in _ROUNDED else _REACH_S[group]


def _strength(part: Phone, group: int) -> float:
    short_pause = part.name == PAUSE and part.length_s < 0.12
    return _STRENGTHS[part.name][group] * (0.4 if short_pause else 1.0)


def _closure(phones: tuple[Phone, ...], times_s: Curve, fps: Fraction) -> Curve:
    closure = np.zeros(len(times_s))
    for index, phone in enumerate(phones):
        if phone.name in _CLOSED:
            # Past the burst of p and b the lips are already opening.
            end_s = phone.end_s - (0.012 if phone.name == "M" else 0.030)
            plateau = _seen_by_a_frame(phone.start_s + 0.004, end_s, times_s, fps)
            before = phones[index - 1].length_s if index else 1.0
            after = phones[index + 1].length_s if index + 1 < len(phones) else 1.0
            # A short vowel between two closures must not vanish under their ramps.
            rise_s, fall_s = min(0.075, 0.45 * before), min(0.055, 0.45 * after)
            if index + 1 < len(phones) and phones[index + 1].name in _CLOSED:
                plateau = (plateau[0], max(plateau[1], phone.end_s + 0.004))  # no gap inside "mp"
            closure = np.maximum(closure, _hold(times_s, *plateau, rise_s, fall_s))
        elif phone.name == PAUSE and phone.length_s > LONG_PAUSE_S:
            # At either end of the clip the lips are closed from, or to, beyond it.
            start_s = phone.start_s + 0.10 + 0.14 if index else -1.0
            end_s = phone.end_s - 0.09 if index + 1 < len(phones) else times_s[-1] + 1.0
            rising = _hold(times_s, start_s, np.inf, 0.14, 0.09)
            closure = np.maximum(closure, rising * _hold(times_s, -np.inf, end_s, 0.14, 0.09))
    return closure


def _tuck(phones: tuple[Phone, ...], times_s: Curve, fps: Fraction) -> Curve:
    tuck = np.zeros(len(times_s))
    for phone in phones:
        if phone.name in _TUCKED:
            plateau = _seen_by_a_frame(phone.start_s + 0.005, phone.end_s - 0.015, times_s, fps)
            tuck = np.maximum(tuck, _hold(times_s, *plateau, 0.070, 0.050))
    return tuck


def _seen_by_a_frame(start_s: float, end_s: float, times_s: Curve, fps: Fraction) -> tuple[float, float]:
    """Widen a plateau to 20 ms and to its nearest frame: at 25 fps a 40 ms /p/ may fall between two."""
    end_s = max(end_s, start_s + 0.02)
    last = int(times_s[-1] * fps)
    nearest_s = float(min(max(round((start_s + end_s) / 2 * fps), 0), last) / fps)
    step_s = 1 / CURVE_RATE_HZ  # one sample on each side, so that reading between samples finds 1 as well
    return min(start_s, nearest_s - step_s), max(end_s, nearest_s + step_s)


def _hold(times_s: Curve, start_s: float, end_s: float, rise_s: float, fall_s: float) -> Curve:
    """1 from ``start_s`` to ``end_s``, with half a cosine up before it and down after it."""
    outside = np.maximum(
        np.maximum(start_s - times_s, 0.0) / max(rise_s, 1e-3),
        np.maximum(times_s - end_s, 0.0) / max(fall_s, 1e-3),
    )
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * np.minimum(outside, 1.0)))


def _constrain(shape: dict[str, Curve], closure: Curve, tuck: Curve, seal: float) -> dict[str, Curve]:
    """Lay closure and tuck over the blended shapes, and name them as the head model does."""
    is_open = 1.0 - closure
    jaw = shape["jaw"] * (1 - 0.75 * tuck) * (1 - 0.45 * closure)
    jaw -= closure * np.maximum(
        jaw - 0.11, 0.0
    )  # wider than 0.12, mouthClose no longer brings the lips together
    weights = {
        "jawOpen": jaw,
        "mouthClose": (jaw + seal) * closure,
        "mouthFunnel": shape["funnel"] * (1 - 0.8 * closure) * (1 - 0.6 * tuck),
        "mouthPucker": shape["pucker"] * (1 - 0.3 * closure) * (1 - 0.6 * tuck),
        "mouthRollUpper": 0.08 * closure,
        "mouthRollLower": 0.62 * tuck + 0.08 * closure,
        "mouthShrugLower": 0.25 * tuck,
        "tongueUp": shape["tongue_up"] * is_open,
        "tongueOut": shape["tongue_out"] * is_open,
    }
    both_sides = {
        "mouthStretch": shape["stretch"] * (1 - 0.3 * closure),
        "mouthSmile": shape["smile"] * (1 - 0.3 * closure),
        "mouthUpperUp": np.maximum(shape["upper"] * (1 - tuck), 0.22 * tuck) * is_open,
        "mouthLowerDown": shape["lower"] * (1 - tuck) * is_open,
        "mouthPress": 0.22 * closure,
    }
    for name, curve in both_sides.items():
        weights[f"{name}_L"] = weights[f"{name}_R"] = curve
    return {name: np.clip(curve, 0.0, 1.0) for name, curve in weights.items()}

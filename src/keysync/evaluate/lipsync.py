"""Do the lips match the sound? Arrays in, numbers out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_INNER_PAIRS = ((61, 67), (62, 66), (63, 65))
_RIGHT_EYE, _LEFT_EYE = slice(36, 42), slice(42, 48)

Curve = Float[np.ndarray, " t"]


def eye_distance(landmarks: Float[np.ndarray, "t 68 2"]) -> Curve:
    """Between the centres of both eyes, pixels: the yardstick for everything else."""
    return np.asarray(
        np.linalg.norm(landmarks[:, _RIGHT_EYE].mean(axis=1) - landmarks[:, _LEFT_EYE].mean(axis=1), axis=1)
    )


def opening(landmarks: Float[np.ndarray, "t 68 2"]) -> Curve:
    """Mean distance of three inner-lip pairs over the eye distance; 0 is closed, 0.3 a shout."""
    gaps = [np.linalg.norm(landmarks[:, a] - landmarks[:, b], axis=1) for a, b in _INNER_PAIRS]
    return np.asarray(np.mean(gaps, axis=0) / eye_distance(landmarks))


def width(landmarks: Float[np.ndarray, "t 68 2"]) -> Curve:
    """Distance of the mouth corners over the eye distance; about 0.8 at rest."""
    return np.asarray(np.linalg.norm(landmarks[:, 48] - landmarks[:, 54], axis=1) / eye_distance(landmarks))


def correlation(a: Curve, b: Curve) -> float:
    """Pearson's r, -1 to 1, higher is better; 0 if either curve does not move at all."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / scale) if scale > 1e-12 else 0.0


def best_lag(seen: Curve, wanted: Curve, reach: int) -> int:
    """By how many frames ``seen`` runs behind ``wanted``, -reach to reach; 0 is in sync."""

    def shifted(lag: int) -> float:
        low, high = max(lag, 0), len(seen) + min(lag, 0)
        return correlation(seen[low:high], wanted[low - lag : high - lag])

    return max(range(-reach, reach + 1), key=lambda lag: (shifted(lag), -abs(lag)))


def leakage(seen: Curve, old: Curve, new: Curve) -> float:
    """Partial correlation of what is seen with the old words' curve, given the new words' one.

    0 is ideal, 1 a video that was not changed at all; negative values are noise around 0.
    """

    def without(curve: Curve) -> Curve:
        design = np.stack([new, np.ones_like(new)], axis=1)
        fit, *_ = np.linalg.lstsq(design, curve, rcond=None)
        return np.asarray(curve - design @ fit)

    return correlation(without(seen), without(old))

"""Do the lips do the right thing? Landmarks and curves in, one number out.

A curve is one value per frame. All lengths are in eye distances, so that heads of any size compare.
Every function refuses values that are no finite number with an ``InputError``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from keysync.errors import InputError
from keysync.face.crop import RIGID
from keysync.face.mouth import eye_distance, inner_gap
from keysync.face.warp import apply, fit_similarity

_LIPS = slice(48, 68)

OPEN_MAR = 0.25  # a mouth aspect ratio above it counts as speaking: Bigata et al. 2025
REACH_S = 0.32  # how far ``best_lag`` looks for a better match
FOLLOWS_R = 0.3  # below it a curve follows nothing, and its best lag is chance
CLOSED_SHARE = 0.25  # of the way from a head's closed to its open mouth
SPEAKS = 0.05  # share of open frames below which a source hardly speaks, so no share of it means anything
_PHONE_MARGIN_S = 0.02  # lips may meet a little before or after the sound is cut
BILABIALS = ("P", "B", "M")

Curve = Float[np.ndarray, " t"]
Landmarks = Float[np.ndarray, "t 68 2"]
PhoneSpan = tuple[str, float, float]  # name, start and end in seconds


def opening(landmarks: Landmarks) -> Curve:
    """Mean distance of three inner-lip pairs over the eye distance; 0 is closed, 0.3 a shout."""
    return np.asarray(inner_gap(landmarks) / eye_distance(landmarks))


def width(landmarks: Landmarks) -> Curve:
    """Distance of the mouth corners over the eye distance; about 0.8 at rest."""
    return np.asarray(np.linalg.norm(landmarks[:, 48] - landmarks[:, 54], axis=1) / eye_distance(landmarks))


def mouth_aspect_ratio(landmarks: Landmarks) -> Curve:
    """MAR: mean distance of three inner-lip pairs over the distance of the inner corners; 0 is closed.

    Needs no eyes, but a rounded mouth (oo) reads as more open than a spread one (ee) of the same gap.
    Source: Bigata et al. 2025, arXiv:2505.00497, name the ratio; which points, is our choice.
    """
    corners = np.linalg.norm(landmarks[:, 60] - landmarks[:, 64], axis=1)
    return np.asarray(inner_gap(landmarks) / np.maximum(corners, 1e-6))


def correlation(a: Curve, b: Curve) -> float:
    """Pearson's r, -1 to 1, higher is better; 0 if either curve does not move at all.

    Misleads: it knows no size. A mouth that moves right but by half scores 1; see ``articulation``.
    """
    _finite(a, b)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / scale) if scale > 1e-12 else 0.0


def best_lag(seen: Curve, wanted: Curve, reach: int) -> int:
    """By how many frames ``seen`` runs behind ``wanted``, -reach to reach; 0 is in sync."""
    return max(range(-reach, reach + 1), key=lambda lag: (_shifted(seen, wanted, lag), -abs(lag)))


def _shifted(seen: Curve, wanted: Curve, lag: int) -> float:
    low, high = max(lag, 0), len(seen) + min(lag, 0)
    return correlation(seen[low:high], wanted[low - lag : high - lag])


def _reach(frames: int, fps: float) -> int:
    return min(max(round(REACH_S * fps), 1), (frames - 1) // 3)


def shifted_opening_r(seen: Curve, wanted: Curve, fps: float) -> float:
    """Pearson's r of the openings at the shift that suits them best, up to 0.32 s.

    For real footage whose own sound runs early or late. Misleads: of pure chance it makes some 0.2 to 0.3.
    """
    return _shifted(seen, wanted, best_lag(seen, wanted, _reach(len(seen), fps)))


def sync_offset_ms(seen: Curve, wanted: Curve, fps: float) -> float | None:
    """How late the lips are: the shift, in whole frames up to 0.32 s, at which the openings agree best.

    Milliseconds, 0 is in sync, positive is late. None where no shift brings r to 0.3: a mouth that
    follows nothing is neither early nor late. Misleads: a film of few frames, and one steady rhythm.
    """
    lag = best_lag(seen, wanted, _reach(len(seen), fps))
    if _shifted(seen, wanted, lag) < FOLLOWS_R:
        return None
    return 1000 * lag / fps


def leakage(seen: Curve, old: Curve, new: Curve) -> float:
    """Partial correlation of what is seen with the old words' curve, given the new words' one.

    -1 to 1; 0 is ideal, 1 a video that was not changed at all; values around 0 are noise. Misleads
    where a mouth does not move at all: what is left is the landmarks' tremble. Read it beside
    ``articulation``. Needs the true film of the new words.
    """
    _finite(seen, old, new)

    def without(curve: Curve) -> Curve:
        design = np.stack([new, np.ones_like(new)], axis=1)
        fit, *_ = np.linalg.lstsq(design, curve, rcond=None)
        return np.asarray(curve - design @ fit)

    return correlation(without(seen), without(old))


def articulation(seen: Curve, wanted: Curve) -> float | None:
    """How much the mouth moves: standard deviation of the opening over that of the truth.

    0 up; 1 is ideal, 0 a frozen mouth, above 1 overacted; None where the truth does not move. Misleads:
    movement of any kind counts, right or wrong, tremble included.
    """
    _finite(seen, wanted)
    spread = float(wanted.std())
    return float(seen.std()) / spread if spread > 1e-9 else None


def lip_distance(seen: Landmarks, wanted: Landmarks) -> float:
    """Mean distance of the 20 lip points from the truth's, over the eye distance; 0 is perfect.

    Each frame is first laid onto the truth's by its nose and eye corners, so that only the mouth counts.
    Misleads: a mouth in the right place that moves wrongly still scores well, and two landmark runs of
    one film differ by about 0.01. Source: the landmark distance of Chen et al. 2018 (arXiv:1803.10404).
    """
    _finite(seen, wanted)
    errors = [
        np.linalg.norm(apply(fit_similarity(a[RIGID], b[RIGID]), a[_LIPS]) - b[_LIPS], axis=1).mean()
        for a, b in zip(seen, wanted, strict=True)
    ]
    return float(np.mean(np.array(errors) / eye_distance(wanted)))


def closed_below(wanted: Curve) -> float:
    """The opening under which this head's lips count as closed.

    Heads differ in how open their closed mouth looks to the mesh (0.005 to 0.045), so no fixed number
    works: a quarter of the way from the 10th to the 95th percentile of the true film.
    """
    closed, wide = np.quantile(wanted, [0.10, 0.95])
    return float(closed + CLOSED_SHARE * (wide - closed))


def closure_rate(seen: Curve, phones: Sequence[PhoneSpan], fps: float, threshold: float) -> float | None:
    """Share of all P, B and M at which the lips close, 0 to 1, higher is better; None without such a phone.

    A phone counts if any frame within 20 ms of it is at ``threshold`` (see ``closed_below``) or lower.
    Misleads: a mouth that is always shut scores 1; read it beside ``articulation``.
    """
    _finite(seen)
    hits = []
    for name, start_s, end_s in phones:
        first = max(int(np.ceil((start_s - _PHONE_MARGIN_S) * fps)), 0)
        last = min(int((end_s + _PHONE_MARGIN_S) * fps), len(seen) - 1)
        if name in BILABIALS and first <= last:
            hits.append(bool(seen[first : last + 1].min() <= threshold))
    return float(np.mean(hits)) if hits else None


def lipleak(landmarks: Landmarks) -> float:
    """LipLeak: share of frames with MAR > 0.25, of a film synced to silence; 0 to 1, lower is better.

    Misleads: a frozen closed mouth scores 0, a resting mouth that stands open scores 1, and a source
    that hardly speaks has nothing to leak. See ``normalised_lipleak`` and ``articulation``.
    Source: Bigata et al. 2025 (KeySync), arXiv:2505.00497.
    """
    ratio = mouth_aspect_ratio(landmarks)
    _finite(ratio)
    return float((ratio > OPEN_MAR).mean())


def normalised_lipleak(landmarks: Landmarks, source: Float[np.ndarray, "s 68 2"]) -> float | None:
    """LipLeak over the same share of the untouched source: 0 nothing left, 1 as if nothing were done.

    None where the source's own share is below 0.05: it hardly speaks, so there is nothing to leak.
    """
    own = lipleak(source)
    return lipleak(landmarks) / own if own >= SPEAKS else None


def _finite(*arrays: Float[np.ndarray, " ..."]) -> None:
    for array in arrays:
        bad = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        if bad.any():
            raise InputError(f"frame {int(bad.argmax())} holds no finite number; leave this part out")
        if not len(array):
            raise InputError("no frame to measure; give at least one")

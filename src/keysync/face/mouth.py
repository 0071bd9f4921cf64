"""What an open mouth shows, teeth and tongue or the dark behind them; and what lips are measured by."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8

_DARK = 0.5  # of the skin's luma
_FINE = 128  # pixels of a face's longer side that are looked at
_FEWEST = 6  # pixels between the lips; fewer tell nothing
_INNER_LIPS = ((61, 67), (62, 66), (63, 65))  # upper and lower, iBUG numbers from 0


def dark_share(rgb: UInt8[np.ndarray, "h w 3"], landmarks: Float32[np.ndarray, "68 2"]) -> float:
    """Share of what lies between the lips that is much darker than the face's skin, 0 to 1.

    A mouth that shows its teeth from top to bottom has little of it, one whose jaw hangs has much.

    Args:
        landmarks: iBUG points in pixels of ``rgb``; the face may reach beyond the picture.
    """
    size = np.array([rgb.shape[1], rgb.shape[0]])
    low = np.clip(np.floor(landmarks.min(axis=0)), 0, size).astype(int)
    high = np.clip(np.ceil(landmarks.max(axis=0)) + 1, 0, size).astype(int)
    if (high <= low).any():
        return 0.0
    step = -(-int((high - low).max()) // _FINE)
    luma = cv2.cvtColor(rgb[low[1] : high[1] : step, low[0] : high[0] : step].copy(), cv2.COLOR_RGB2GRAY)
    points = ((landmarks - low) / step).astype(np.float32)

    def inside(outline: Float32[np.ndarray, "p 2"]) -> Bool[np.ndarray, "y x"]:
        area = np.zeros(luma.shape, np.uint8)
        cv2.fillPoly(area, [np.round(outline * 16).astype(np.int32)], 1, shift=4)
        return area > 0

    between = inside(points[60:68])
    skin = inside(cv2.convexHull(points)[:, 0]) & ~inside(cv2.convexHull(points[48:60])[:, 0])
    if between.sum() < _FEWEST or not skin.any():
        return 0.0
    return float((luma[between] < _DARK * np.median(luma[skin])).mean())


def eye_distance(landmarks: Float[np.ndarray, "t 68 2"]) -> Float[np.ndarray, " t"]:
    """Between the centres of both eyes, in the unit of ``landmarks``: the yardstick for everything else."""
    right, left = (landmarks[:, eye].mean(axis=1) for eye in (slice(36, 42), slice(42, 48)))
    return np.asarray(np.linalg.norm(right - left, axis=1))


def inner_gap(landmarks: Float[np.ndarray, "t 68 2"]) -> Float64[np.ndarray, " t"]:
    """Mean distance of three pairs of points on the inner lips, in the unit of ``landmarks``."""
    gaps = [np.linalg.norm(landmarks[:, above] - landmarks[:, below], axis=1) for above, below in _INNER_LIPS]
    return np.asarray(np.mean(gaps, axis=0, dtype=np.float64))

"""Landmarks -> the part of a crop that is painted anew.

The shapes are those that the published model was trained with, to the pixel: a mask of another shape
shows the network borders it has never seen. 1 = paint anew, 0 = keep. Landmarks are iBUG 68, in pixels
of the crop.
"""

from __future__ import annotations

from typing import Literal, SupportsInt

import numpy as np
from jaxtyping import Int64, Real, UInt8

Region = Literal["box", "full", "mouth", "heart", "face"]
NOSE = 28  # second point of the bridge: repainting starts there

_HEART_TOP = 29
_HEART_NOSE = 0.10  # margin beside the nose, of half a face
_MOUTH_MARGIN = 0.01  # of the crop
_FACE_MARGIN = 0.05  # of the crop


def region(
    shape: Region, landmarks: Real[np.ndarray, "68 2"], size: int, *, nose_index: int = NOSE
) -> UInt8[np.ndarray, "{size} {size}"]:
    """The named region; the one that all our models are trained with is ``box``."""
    match shape:
        case "box":
            return lower_face_box(landmarks, size, nose_index=nose_index)
        case "full":
            return lower_rows(landmarks, size, nose_index=nose_index)
        case "mouth":
            return mouth_box(landmarks, size, nose_index=nose_index)
        case "heart":
            return heart(landmarks, size)
        case "face":
            return jaw(landmarks, size)


def lower_face_box(
    landmarks: Real[np.ndarray, "68 2"], size: int, *, nose_index: int = NOSE, expand: float = 0.0
) -> UInt8[np.ndarray, "{size} {size}"]:
    """As wide as the face, from the nose bridge to the bottom of the crop.

    Args:
        expand: how much higher to start, as a fraction of the crop.
    """
    top = landmarks[nose_index, 1] - int(expand * size)
    return _box(landmarks[:, 0].min(), top, landmarks[:, 0].max(), size, size)


def lower_rows(
    landmarks: Real[np.ndarray, "68 2"], size: int, *, nose_index: int = NOSE
) -> UInt8[np.ndarray, "{size} {size}"]:
    """Everything from the nose bridge down, in full width."""
    top = np.clip(landmarks[nose_index, 1], 0, size - 1)
    return _box(0, np.ceil(top), size, size, size)


def mouth_box(
    landmarks: Real[np.ndarray, "68 2"], size: int, *, nose_index: int = NOSE
) -> UInt8[np.ndarray, "{size} {size}"]:
    """The box, but ending just below the chin."""
    margin = int(_MOUTH_MARGIN * size)
    top, bottom = landmarks[nose_index, 1] - margin, min(landmarks[:, 1].max() + margin, size)
    return _box(landmarks[:, 0].min(), top, landmarks[:, 0].max(), bottom, size)


def heart(landmarks: Real[np.ndarray, "68 2"], size: int) -> UInt8[np.ndarray, "{size} {size}"]:
    """The box from the middle of the nose down, without the nose."""
    mask = lower_face_box(landmarks, size, nose_index=_HEART_TOP)
    margin = _HEART_NOSE * abs(landmarks[2, 0] - landmarks[29, 0])
    nose = _box(
        landmarks[31, 0] - margin, landmarks[29, 1], landmarks[35, 0] + margin, landmarks[33, 1], size
    )
    return np.asarray(mask & ~nose & 1)


def jaw(landmarks: Real[np.ndarray, "68 2"], size: int) -> UInt8[np.ndarray, "{size} {size}"]:
    """Inside the jaw line (points 2 to 14), every corner pushed outward a little."""
    line = landmarks[2:15].astype(np.float64)
    outward = line - line.mean(axis=0)
    line += outward / np.linalg.norm(outward, axis=1, keepdims=True) * int(_FACE_MARGIN * size)
    return _polygon(line.astype(np.int64), size)


def to_latent(mask: UInt8[np.ndarray, "h w"], factor: int) -> UInt8[np.ndarray, "h//{factor} w//{factor}"]:
    """The mask on the latent grid: cell i takes pixel ``factor * i``, as in training."""
    return np.ascontiguousarray(mask[::factor, ::factor])


def _box(
    x0: SupportsInt, y0: SupportsInt, x1: SupportsInt, y1: SupportsInt, size: int
) -> UInt8[np.ndarray, "{size} {size}"]:
    """Ones from corner to corner, both included; corners are cut to whole pixels, towards zero."""
    mask = np.zeros((size, size), np.uint8)
    left, top, right, bottom = (int(edge) for edge in (x0, y0, x1, y1))
    mask[max(top, 0) : max(bottom + 1, 0), max(left, 0) : max(right + 1, 0)] = 1
    return mask


def _polygon(corners: Int64[np.ndarray, "n 2"], size: int) -> UInt8[np.ndarray, "{size} {size}"]:
    """A filled polygon, row by row, with the rounding of the Pillow library (OpenCV's is a pixel wider)."""
    mask = np.zeros((size, size), np.uint8)
    start, end = corners, np.roll(corners, -1, axis=0)
    low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    slope = (end[:, 0] - start[:, 0]) / np.where(low == high, 1, end[:, 1] - start[:, 1])
    bottom = int(high.max())
    for y in range(max(int(low.min()), 0), min(bottom + 1, size)):
        # An edge owns its rows without the last, else corners would count twice.
        crossed = (low <= y) & ((y < high) | ((y == bottom) & (y == high))) & (low != high)
        x = np.sort(start[crossed, 0] + (y - start[crossed, 1]) * slope[crossed])
        for left, right in zip(x[::2], x[1::2], strict=False):
            mask[y, max(int(np.floor(left + 0.5)), 0) : max(int(np.ceil(right - 0.5)) + 1, 0)] = 1
    for (x0, y0), (x1, y1) in zip(start, end, strict=True):
        if y0 == y1 and 0 <= y0 < size:
            mask[y0, max(min(x0, x1), 0) : max(max(x0, x1) + 1, 0)] = 1
    return mask

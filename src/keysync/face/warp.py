"""Similarities between pictures, and carrying pixels through them.

Coordinates are continuous: a picture w pixels wide spans 0 to w, the first pixel's centre is at .5.
OpenCV puts that centre at 0 instead; the half pixel is put right here and nowhere else. Left alone, it
would shift a face that is enlarged twice by a quarter of a pixel of the source.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Float64, Shaped

_MAX_SUBSAMPLES = 8  # per axis


def fit_similarity(
    src: Float[np.ndarray, "n 2"], dst: Float[np.ndarray, "n 2"]
) -> Float64[np.ndarray, "2 3"]:
    """Rotation, uniform scale and shift that bring ``src`` nearest to ``dst`` in squared distance."""
    start, end = src.astype(np.float64), dst.astype(np.float64)
    middle, target = start.mean(axis=0), end.mean(axis=0)
    start, end = start - middle, end - target
    size = (start**2).sum()
    along = (start * end).sum() / size
    across = (start[:, 0] * end[:, 1] - start[:, 1] * end[:, 0]).sum() / size
    turn = np.array([[along, -across], [across, along]])
    return np.column_stack([turn, target - turn @ middle])


def invert(matrix: Float64[np.ndarray, "2 3"]) -> Float64[np.ndarray, "2 3"]:
    """The way back."""
    turn = np.linalg.inv(matrix[:, :2])
    return np.column_stack([turn, -turn @ matrix[:, 2]])


def apply(matrix: Float64[np.ndarray, "2 3"], points: Float[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
    """Carry points."""
    return np.asarray(points.astype(np.float64) @ matrix[:, :2].T + matrix[:, 2])


def warp(
    picture: Shaped[np.ndarray, "h w *c"], matrix: Float64[np.ndarray, "2 3"], width: int, height: int
) -> Shaped[np.ndarray, "{height} {width} *c"]:
    """Carry a picture through a similarity; beyond its border the border pixel is repeated.

    Where it shrinks, every target pixel is the mean of several samples, so nothing flickers or aliases.

    Args:
        picture: uint8 or float32, up to 4 channels.
        matrix: picture coordinates -> target coordinates.
        width: of the target, pixels, as ``height``.
    """
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    samples = int(np.clip(round(1 / max(scale, 1e-6)), 1, _MAX_SUBSAMPLES))
    fine = matrix * samples
    # From centres at 0 to centres at .5, through the matrix, and back.
    shifted = fine.copy()
    shifted[:, 2] += fine[:, :2] @ (0.5, 0.5) - 0.5
    warped = cv2.warpAffine(
        picture,
        shifted,
        (width * samples, height * samples),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if samples > 1:
        warped = cv2.resize(warped, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(warped)

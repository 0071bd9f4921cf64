"""A picture -> the faces in it, each with a box and six points.

Runs the BlazeFace networks (Bazarevsky et al. 2019, arXiv:1907.05047) in their published .tflite form:
"full range" finds faces down to a few per cent of the frame, "short range" is quicker and wants selfies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from keysync.checkpoints import TfliteModel
from keysync.errors import CheckpointError

# Anchors per cell of each square grid, by the number of anchors the network answers for. Found by
# overlaying both networks' raw answers on pictures with known faces.
GRIDS = {896: ((16, 2), (8, 6)), 2304: ((48, 1),)}
POINTS = 6  # eyes (image left first), nose tip, mouth, ear fronts


@dataclass(frozen=True, slots=True)
class Detection:
    """One found face, in pixels of the picture, pixel centres at .5."""

    box: Float32[np.ndarray, " 4"]  # x0, y0, x1, y1
    score: float  # 0 to 1
    keypoints: Float32[np.ndarray, "6 2"]  # image-left eye, image-right eye, nose, mouth, two ears

    @property
    def area(self) -> float:
        """Pixels inside the box."""
        x0, y0, x1, y1 = self.box
        return float((x1 - x0) * (y1 - y0))


class FaceDetector:
    """Finds faces; ``model_path`` is the full-range or the short-range file.

    Args:
        min_score: weaker answers are dropped.
        min_overlap: answers that overlap by more (intersection over union) are one face.
    Raises:
        CheckpointError: the file is not one of these two networks.
    """

    def __init__(
        self, model_path: Path, *, min_score: float = 0.5, min_overlap: float = 0.3, threads: int = 1
    ) -> None:
        self._network = TfliteModel(model_path, threads)
        anchors = self._network.output_shapes[0][1] if self._network.output_shapes else 0
        if anchors not in GRIDS:
            raise CheckpointError(f"{model_path}: not a face detector; give face_detection_*.tflite")
        self._anchors = grid_centres(GRIDS[anchors])
        self._size = self._network.input_shape[1]
        self.min_score = min_score
        self.min_overlap = min_overlap

    def detect(self, rgb: UInt8[np.ndarray, "h w 3"]) -> list[Detection]:
        """All faces, the surest first."""
        picture, scale, shift = letterbox(rgb, self._size)
        regressors, logits = self._network(picture[None])
        scores = 1 / (1 + np.exp(-np.clip(logits[0, :, 0], -80, 80)))
        keep = scores >= self.min_score
        values = decode(regressors[0][keep], self._anchors[keep], self._size)
        values = (values - shift) / scale
        return merge(values, scores[keep].astype(np.float32), self.min_overlap)


def grid_centres(grids: tuple[tuple[int, int], ...]) -> Float32[np.ndarray, "anchors 2"]:
    """Centres of all anchors as fractions of the picture, in the order of the network's answers.

    Args:
        grids: cells per side and anchors per cell, one pair a grid.
    """
    centres = []
    for cells, per_cell in grids:
        line = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        x, y = np.meshgrid(line, line)
        centres.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), per_cell, axis=0))
    return np.concatenate(centres).astype(np.float32)


def letterbox(
    rgb: UInt8[np.ndarray, "h w 3"], size: int
) -> tuple[Float32[np.ndarray, "{size} {size} 3"], Float32[np.ndarray, " 2"], Float32[np.ndarray, " 2"]]:
    """Shrink to fit a square, the rest black, values from -1 to 1.

    Returns:
        the square; per axis the scale and shift with ``square = picture * scale + shift``.
    """
    height, width = rgb.shape[:2]
    longest = max(height, width)
    inner_w = max(1, round(width * size / longest))
    inner_h = max(1, round(height * size / longest))
    left, top = (size - inner_w) // 2, (size - inner_h) // 2
    shrink = cv2.INTER_AREA if longest > size else cv2.INTER_LINEAR
    square = np.zeros((size, size, 3), np.uint8)
    square[top : top + inner_h, left : left + inner_w] = cv2.resize(
        rgb, (inner_w, inner_h), interpolation=shrink
    )
    scale = np.array([inner_w / width, inner_h / height], np.float32)
    return square.astype(np.float32) / 127.5 - 1, scale, np.array([left, top], np.float32)


def decode(
    regressors: Float32[np.ndarray, "n 16"], anchors: Float32[np.ndarray, "n 2"], size: int
) -> Float32[np.ndarray, "n 8 2"]:
    """Turn raw answers (offsets from the anchor, in input pixels) into two box corners and six points."""
    pairs = regressors.reshape(-1, 2 + POINTS, 2)
    centre = pairs[:, :1] + anchors[:, None] * size
    half = pairs[:, 1:2] / 2
    points = pairs[:, 2:] + anchors[:, None] * size
    return np.concatenate([centre - half, centre + half, points], axis=1)


def merge(
    values: Float32[np.ndarray, "n 8 2"], scores: Float32[np.ndarray, " n"], min_overlap: float
) -> list[Detection]:
    """Join the answers that mean the same face: their mean, weighted by score (steadier than the best)."""
    left = np.argsort(-scores, kind="stable")
    faces = []
    while left.size:
        same = overlaps(values[left[0]], values[left], min_overlap)
        same[0] = True  # itself, even when its box is degenerate
        group = left[same]
        mean = np.average(values[group], axis=0, weights=scores[group]).astype(np.float32)
        faces.append(Detection(mean[:2].ravel(), float(scores[group[0]]), mean[2:]))
        left = left[~same]
    return faces


def overlaps(
    one: Float32[np.ndarray, "8 2"], many: Float32[np.ndarray, "n 8 2"], min_overlap: float
) -> Bool[np.ndarray, " n"]:
    """Which boxes (first two rows) share more than ``min_overlap`` of their union with ``one``."""
    extent = np.minimum(one[1], many[:, 1]) - np.maximum(one[0], many[:, 0])
    shared = np.prod(np.clip(extent, 0, None), axis=1)
    union = np.prod(one[1] - one[0]) + np.prod(many[:, 1] - many[:, 0], axis=1) - shared
    return np.asarray(shared > min_overlap * union)

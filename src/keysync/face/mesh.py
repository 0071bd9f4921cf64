"""A face's rough place -> 468 points on its surface, and the 68 points that networks are trained on.

Runs the Face Mesh network (Kartynnik et al. 2019, arXiv:1907.06724) in its published .tflite form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from keysync.checkpoints import TfliteModel
from keysync.errors import CheckpointError
from keysync.face.detect import Detection
from keysync.face.warp import apply, fit_similarity, invert, warp

POINTS = 468
MARGIN = 1.5  # side of the square that the network wants to see, over the face's box
EYE_CORNERS = (33, 263)  # outer corners, image left first

# Mesh points nearest to the iBUG 68, the choice most programs share. No mapping is official; others
# differ in jaw and brows, where a surface point cannot be the visible outline anyway.
# fmt: off
IBUG_68 = np.array([
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,  # jaw
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,  # brows
    168, 197, 5, 4, 75, 97, 2, 326, 305,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # outer lips
    78, 82, 13, 312, 308, 317, 14, 87,  # inner lips
])
# The place of each of the 68 in a mirror.
MIRRORED_68 = np.array([
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
])
# Points that follow the skull, not the jaw, lids or brows: midline down to the nose base, eye corners,
# sides of the nose, hairline and temples.
STABLE = np.array([
    10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 2, 98, 327, 33, 133, 362, 263,
    193, 122, 196, 114, 188, 128, 417, 351, 419, 343, 412, 357,
    109, 67, 103, 54, 21, 162, 127, 234, 338, 297, 332, 284, 251, 389, 356, 454,
])
# fmt: on


# Size of the square, turn in radians, mirrored: four looks whose errors have little in common.
_LOOKS = ((1.0, -0.12, False), (1.0, 0.12, True), (0.8, 0.12, False), (0.8, -0.12, True))


@dataclass(frozen=True, slots=True)
class Roi:
    """A square, turned so that the eye line in it is level; pixels of the picture."""

    x: float  # centre
    y: float
    side: float
    angle: float  # radians, of the eye line, clockwise on screen

    def to_square(self, size: int) -> Float64[np.ndarray, "2 3"]:
        """Picture coordinates -> coordinates in the square, scaled to ``size`` pixels."""
        right = np.array([np.cos(self.angle), np.sin(self.angle)]) * self.side / 2
        down = np.array([-right[1], right[0]])
        centre = np.array([self.x, self.y])
        corners = np.stack([centre - right - down, centre + right - down, centre + right + down])
        return fit_similarity(corners, np.array([[0.0, 0], [size, 0], [size, size]]))


class FaceMesh:
    """Puts the mesh on one face; ``model_path`` is face_landmark.tflite.

    Raises:
        CheckpointError: the file is not this network.
    """

    def __init__(self, model_path: Path, threads: int = 1) -> None:
        self._network = TfliteModel(model_path, threads)
        if [int(np.prod(shape)) for shape in self._network.output_shapes] != [POINTS * 3, 1]:
            raise CheckpointError(f"{model_path}: not the face mesh network; give face_landmark.tflite")
        self._size = self._network.input_shape[1]

    def landmarks(
        self, rgb: UInt8[np.ndarray, "h w 3"], roi: Roi
    ) -> tuple[Float32[np.ndarray, "468 2"], float]:
        """The mesh in pixels of the picture (centres at .5), and how surely there is a face, 0 to 1."""
        to_square = roi.to_square(self._size)
        mesh, score = self._look(rgb, to_square)
        return apply(invert(to_square), mesh).astype(np.float32), score

    def steady_68(self, rgb: UInt8[np.ndarray, "h w 3"], roi: Roi) -> Float32[np.ndarray, "68 2"]:
        """The iBUG points as the mean of four looks, for measuring: four times the cost of ``landmarks``.

        On drawn heads the gap of the lips follows what was drawn with r .97, where one look gives .94.
        """
        found = []
        for side, turn, mirrored in _LOOKS:
            to_square = replace(roi, side=roi.side * side, angle=roi.angle + turn).to_square(self._size)
            if mirrored:
                to_square = np.array([[-1.0, 0], [0, 1]]) @ to_square + [[0, 0, self._size], [0, 0, 0]]
            mesh, _ = self._look(rgb, to_square)
            points = apply(invert(to_square), to_68(mesh))
            found.append(points[MIRRORED_68] if mirrored else points)
        return np.asarray(np.mean(found, axis=0), np.float32)

    def _look(
        self, rgb: UInt8[np.ndarray, "h w 3"], to_square: Float64[np.ndarray, "2 3"]
    ) -> tuple[Float32[np.ndarray, "468 2"], float]:
        """The mesh in pixels of the square."""
        square = warp(rgb, to_square, self._size, self._size).astype(np.float32) / 255
        points, logit = self._network(square[None])
        return points.reshape(POINTS, 3)[:, :2], float(1 / (1 + np.exp(-np.clip(logit.item(), -80, 80))))


def to_68(mesh: Float32[np.ndarray, "468 2"]) -> Float32[np.ndarray, "68 2"]:
    """The iBUG points of a mesh."""
    return np.asarray(mesh[IBUG_68])


def roi_of_detection(found: Detection) -> Roi:
    """Where to look for the mesh of a newly found face."""
    (x0, y0, x1, y1), (left, right) = found.box, found.keypoints[:2]
    side = max(x1 - x0, y1 - y0) * MARGIN
    return Roi(float(x0 + x1) / 2, float(y0 + y1) / 2, float(side), _slope(left, right))


def roi_of_mesh(mesh: Float32[np.ndarray, "468 2"]) -> Roi:
    """Where to look in the next frame."""
    angle = _slope(*mesh[list(EYE_CORNERS)])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    level = mesh @ turn.T  # measured along the eye line, so that a tilted head gives no larger box
    low, high = level.min(axis=0), level.max(axis=0)
    x, y = turn.T @ ((low + high) / 2)
    return Roi(float(x), float(y), float((high - low).max()) * MARGIN, angle)


def _slope(left: Float32[np.ndarray, " 2"], right: Float32[np.ndarray, " 2"]) -> float:
    return float(np.arctan2(right[1] - left[1], right[0] - left[0]))

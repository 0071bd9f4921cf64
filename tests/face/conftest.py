"""A face drawn from ellipses, which the detectors take for one, and the networks if they are installed."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from keysync.checkpoints import installed
from keysync.face.detect import FaceDetector
from keysync.face.mesh import FaceMesh

Picture = np.ndarray
Draw = Callable[..., Picture]


@pytest.fixture(scope="session")
def draw() -> Draw:
    """draw(x, y, size, gap, angle): half a face is ``size`` pixels wide, lips open by gap * size."""

    def draw(x: float = 320, y: float = 240, size: float = 90, gap: float = 0.1, angle: float = 0) -> Picture:
        picture = np.full((480, 640, 3), (90, 110, 130), np.uint8)
        along = size * np.array([np.cos(angle), np.sin(angle)])
        down = np.array([-along[1], along[0]])

        def place(u: float, v: float) -> tuple[int, int]:
            at = np.rint(np.array([x, y]) + u * along + v * down)
            return int(at[0]), int(at[1])

        def blob(u: float, v: float, wide: float, high: float, colour: tuple[int, int, int]) -> None:
            axes = (max(1, round(wide * size)), max(1, round(high * size)))
            cv2.ellipse(picture, place(u, v), axes, np.degrees(angle), 0, 360, colour, -1, cv2.LINE_AA)

        blob(0, -0.25, 1.05, 1.3, (50, 35, 25))  # hair
        blob(0, 0.75, 0.45, 0.75, (190, 140, 115))  # neck
        blob(0, 0, 0.85, 1.15, (215, 165, 140))
        for side in (-1, 1):
            blob(side * 0.36, -0.2, 0.17, 0.08, (245, 245, 245))
            blob(side * 0.36, -0.2, 0.075, 0.075, (50, 30, 20))
            ends = place(side * 0.18, -0.42), place(side * 0.55, -0.44)
            cv2.line(picture, *ends, (60, 40, 30), max(1, round(0.07 * size)), cv2.LINE_AA)
            blob(side * 0.09, 0.22, 0.05, 0.03, (120, 70, 60))
        blob(0, 0.1, 0.09, 0.16, (200, 145, 120))
        blob(0, 0.55, 0.3, 0.07 + gap / 2, (180, 80, 80))
        blob(0, 0.55, 0.24, gap / 2, (70, 20, 25))
        return cv2.GaussianBlur(picture, (0, 0), size / 50)

    return draw


def _network(name: str) -> Path:
    path = next(row.path for row in installed() if row.name == name)
    if path is None:
        pytest.skip(f"{name} is not on this machine")
    return path


@pytest.fixture(params=["full_range_sparse", "short_range"])
def any_detector(request: pytest.FixtureRequest) -> FaceDetector:
    return FaceDetector(_network(f"face_detection_{request.param}.tflite"))


@pytest.fixture
def detector() -> FaceDetector:
    return FaceDetector(_network("face_detection_full_range_sparse.tflite"))


@pytest.fixture
def mesh() -> FaceMesh:
    return FaceMesh(_network("face_landmark.tflite"))

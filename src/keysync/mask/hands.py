"""Hands before a face: 21 points of each hand, drawn as a mask. Knows hands and nothing else.

Runs the palm and hand networks (Zhang et al. 2020, arXiv:2006.10214) in their published .tflite form. The
networks give points, no outline: the mask is capsules along the bones, as thick as fingers are.
"""

from __future__ import annotations

from bisect import bisect_left
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from keysync.checkpoints import TfliteModel
from keysync.errors import CheckpointError
from keysync.mask.occlusion import Clean, Finder, Shares, WideCrops, middle_of
from keysync.mask.segmenter import SIDE

# Anchors of the palm network: cells a side and anchors a cell, by its two grids; found by their number.
_GRIDS = ((24, 2), (12, 6))
_SELDOM, _OFTEN = 8, 2  # frames from look to look, without and with a hand
_MIN_PALM, _MIN_HAND, _OVERLAP = 0.5, 0.5, 0.3
_WRIST, _MIDDLE = 0, 2  # of the seven points of a palm
_REACH, _UP = 2.6, 0.5  # side of the hand's square over the palm's box, and its shift towards the fingers
_FINGERS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))
_PALM = (0, 1, 5, 9, 13, 17)
_THICK = 0.24  # of a finger, over the length of the palm (wrist to middle knuckle)


class ByHands(Finder):
    """Finds hands in crops that reach far enough to show whole ones.

    Raises:
        CheckpointError: a file is not its network.
    """

    reach = 2

    def __init__(self, palm_path: Path, hand_path: Path, threads: int = 1) -> None:
        self._palm, self._hand = TfliteModel(palm_path, threads), TfliteModel(hand_path, threads)
        if sorted(shape[-1] for shape in self._palm.output_shapes) != [1, 18]:
            raise CheckpointError(f"{palm_path}: not the palm detector; give palm_detection_full.tflite")
        if sorted(shape[-1] for shape in self._hand.output_shapes) != [1, 1, 63, 63]:
            raise CheckpointError(f"{hand_path}: not the hand network; give hand_landmark_full.tflite")
        self._anchors = _centres()

    def find(self, crops: WideCrops, before: Clean) -> tuple[Shares, Clean]:
        """Looks at every eighth crop, and where a hand was seen, at every second; others are in between."""
        looks = {number: self._hands(crops[number]) for number in range(0, len(crops), _SELDOM)}
        for number in range(0, len(crops), _OFTEN):
            near = (number // _SELDOM * _SELDOM, (number // _SELDOM + 1) * _SELDOM)
            if number not in looks and any(place in looks and looks[place].any() for place in near):
                looks[number] = self._hands(crops[number])
        places = sorted(looks)
        shares = np.empty((len(crops), SIDE, SIDE), np.float32)
        for number in range(len(crops)):
            after = min(bisect_left(places, number), len(places) - 1)
            last, next_ = places[max(after - (places[after] > number), 0)], places[after]
            shares[number] = np.maximum(looks[last], looks[next_])
        return shares, before

    def _hands(self, crop: UInt8[np.ndarray, "s s 3"]) -> Float32[np.ndarray, "128 128"]:
        """The aligned crop's part of the mask of all hands in a wide crop."""
        mask = np.zeros(crop.shape[:2], np.float32)
        for palm in self.palms(crop):
            points = self.points(crop, palm)
            if points is not None:
                mask = np.maximum(mask, hand_mask(points, len(crop)))
        return middle_of(mask)

    def palms(self, picture: UInt8[np.ndarray, "s s 3"]) -> list[Float32[np.ndarray, "9 2"]]:
        """Two box corners and seven points of every palm in a square picture, pixels."""
        size = self._palm.input_shape[1]
        scaled = cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)
        answers = sorted(self._palm(scaled[None].astype(np.float32) / 255), key=lambda a: a.shape[-1])
        scores = 1 / (1 + np.exp(-np.clip(answers[0][0, :, 0], -80, 80)))
        keep = scores > _MIN_PALM
        pairs = answers[1][0][keep].reshape(-1, 9, 2)
        anchors = self._anchors[keep][:, None] * size
        middle, half = pairs[:, :1] + anchors, pairs[:, 1:2] / 2
        found = np.concatenate([middle - half, middle + half, pairs[:, 2:] + anchors], axis=1)
        found *= len(picture) / size
        palms: list[Float32[np.ndarray, "9 2"]] = []
        for index in np.argsort(-scores[keep]):
            if all(_shared(found[index], other) < _OVERLAP for other in palms):
                palms.append(found[index].astype(np.float32))
        return palms

    def points(
        self, picture: UInt8[np.ndarray, "s s 3"], palm: Float32[np.ndarray, "9 2"]
    ) -> Float32[np.ndarray, "21 2"] | None:
        """The hand's points, pixels; None if the closer look shows no hand."""
        size = self._hand.input_shape[1]
        to_square = _upright(palm, size)
        square = cv2.warpAffine(picture, to_square, (size, size), borderMode=cv2.BORDER_CONSTANT)
        landmarks, presence = self._hand(square[None].astype(np.float32) / 255)[:2]
        if float(presence.ravel()[0]) < _MIN_HAND:
            return None
        flat = landmarks.reshape(21, 3)[:, :2].astype(np.float64)
        back = cv2.invertAffineTransform(to_square)
        return np.asarray(flat @ back[:, :2].T + back[:, 2], np.float32)


def hand_mask(points: Float32[np.ndarray, "21 2"], side: int) -> Float32[np.ndarray, "{side} {side}"]:
    """Capsules along the fingers and the filled palm; drawn four times as large, for a smooth edge."""
    fine = 4
    drawn = np.zeros((side * fine, side * fine), np.uint8)
    scaled = np.round(points * fine).astype(np.int32)
    thick = max(round(_THICK * fine * float(np.linalg.norm(points[9] - points[0]))), 1)
    for finger in _FINGERS:
        cv2.polylines(drawn, [scaled[list(finger)]], False, 255, thick, cv2.LINE_AA)
    palm = [scaled[list(_PALM)]]
    cv2.fillPoly(drawn, palm, 255)
    cv2.polylines(drawn, palm, True, 255, thick, cv2.LINE_AA)
    mask = cv2.resize(drawn, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(mask.astype(np.float32) / 255)


def _centres() -> Float32[np.ndarray, "2016 2"]:
    """Centres of the anchors as fractions of the picture, in the order of the network's answers."""
    centres = []
    for cells, per_cell in _GRIDS:
        x, y = np.meshgrid(*[(np.arange(cells, dtype=np.float32) + 0.5) / cells] * 2)
        centres.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), per_cell, axis=0))
    return np.concatenate(centres)


def _upright(palm: Float32[np.ndarray, "9 2"], size: int) -> Float64[np.ndarray, "2 3"]:
    """Picture -> a square of ``size`` about the whole hand, its fingers up."""
    up = (palm[2 + _MIDDLE] - palm[2 + _WRIST]).astype(np.float64)
    up /= max(float(np.linalg.norm(up)), 1e-6)
    long = float((palm[1] - palm[0]).max())
    middle = (palm[0] + palm[1]).astype(np.float64) / 2 + up * _UP * long
    right = np.array([-up[1], up[0]])
    turn = np.stack([right, -up]) * (size / (_REACH * long))
    return np.column_stack([turn, size / 2 - turn @ middle])


def _shared(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes (first two rows)."""
    extent = np.clip(np.minimum(one[1], other[1]) - np.maximum(one[0], other[0]), 0, None)
    both = float(np.prod(extent))
    return both / max(float(np.prod(one[1] - one[0]) + np.prod(other[1] - other[0])) - both, 1e-6)

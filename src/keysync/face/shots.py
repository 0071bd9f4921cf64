"""Where one shot ends and the next begins: hard cuts, found while the clip streams by.

Our own, because the kept library for this (PySceneDetect 0.7) takes flashes for cuts: on the cases of
``benchmarks/people.py`` its adaptive detector found 20 of 20 cuts, but also cut all 5 clips with a flash,
and its content detector found 17. (Ours: 20 of 20, and no false cut.)

Each frame is shrunk to a picture 64 pixels long. How much of it is new is told by blocks: the shade, with
local brightness and contrast taken out, is compared to the best match within a few pixels in the frame
before, so that movement is followed; the colour of the block counts as well. A cut is a frame that is

* new: by ``NEW`` or more. Reframing by 15 % makes a talking head new by 0.31 to 0.77, another picture by
  0.79 or more; from frame to frame our still heads reach 0.1, a violently shaken one 0.48;
* alone in it: at least ``ALONE`` times as new as all but one of its neighbours (``ALONE_OTHER`` times if
  it is hardly the same picture). Fast movement lasts;
* here to stay: neither does a frame after it match the one before, nor it one further back, as they do
  around a flash. (A light that goes off for good may count as a cut.)
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

AHEAD = 3  # frames that must follow before a cut is sure
NEW, ALONE = 0.3, 2.2
OTHER, ALONE_OTHER = 0.7, 1.4
_BEFORE = 8  # neighbours before; those after are the frames ahead
_QUIET = 0.15  # less than this without following the movement needs no closer look
_SIDE, _BLOCK = 64, 8  # pixels of the small picture
_REACH = 3  # pixels that things are followed: 5 % of the picture from frame to frame
_FLAT = 4.0  # spread of L* below which a place has no shade to compare
_SHADE, _COLOUR = 0.6, 24.0  # mean differences at which a block is wholly new; colour in CIE Lab


@dataclass(frozen=True, slots=True)
class _Glance:
    """What is kept of a frame."""

    shade: Float32[np.ndarray, "h w"]  # lightness without its local mean and spread
    colour: Float32[np.ndarray, "rows columns 3"]  # of the blocks, CIE Lab
    texture: Float32[np.ndarray, "rows columns"]  # of the blocks, 0 flat to 1


class ShotDetector:
    """Finds the cuts of one clip, frame by frame."""

    def __init__(self) -> None:
        self._glances: deque[_Glance] = deque(maxlen=2 * AHEAD + 2)
        self._new: deque[float] = deque(maxlen=_BEFORE + 1 + AHEAD)  # of the latest frames
        self._count = 0
        self._confirmed: list[int] = []

    def look(self, rgb: UInt8[np.ndarray, "h w 3"]) -> bool:
        """Take in the next frame; whether it may turn out to start a shot."""
        glance = _glance(rgb)
        self._new.append(_newness(self._glances[-1], glance) if self._glances else 0.0)
        self._glances.append(glance)
        self._count += 1
        if self._count > AHEAD + 1:
            self._judge(AHEAD)
        return self._count > 1 and self._alone(0)

    def cuts(self) -> list[int]:
        """First frames of the shots confirmed since the last call; at most ``AHEAD`` frames late."""
        found, self._confirmed = self._confirmed, []
        return found

    def finish(self) -> list[int]:
        """The clip is over: the cuts in its last frames, judged by what there is."""
        for ahead in range(min(AHEAD, self._count - 1) - 1, -1, -1):
            self._judge(ahead)
        return self.cuts()

    def _alone(self, ahead: int) -> bool:
        """Whether the frame that ``ahead`` frames follow is new, and its neighbours are not."""
        new = list(self._new)
        own = new.pop(-1 - ahead)
        others = sorted(new)
        busy = others[-2] if len(others) > 1 else 0.0
        return own >= NEW and (own >= ALONE * busy or (own >= OTHER and own >= ALONE_OTHER * busy))

    def _judge(self, ahead: int) -> None:
        if not self._alone(ahead):
            return
        glances = list(self._glances)
        at = len(glances) - 1 - ahead
        pairs = [(glances[at - 1], later) for later in glances[at + 1 :]]
        pairs += [(earlier, glances[at]) for earlier in glances[max(at - 1 - AHEAD, 0) : at - 1]]
        if all(_newness(*pair) > self._new[-1 - ahead] / 2 for pair in pairs):
            self._confirmed.append(self._count - 1 - ahead)


def _glance(rgb: UInt8[np.ndarray, "h w 3"]) -> _Glance:
    height, width = rgb.shape[:2]
    longest = max(height, width)
    stride = max(1, longest // (4 * _SIDE))  # a large picture is thinned out first: 8K in a millisecond
    columns, rows = (max(1, round(side * _SIDE / longest / _BLOCK)) for side in (width, height))
    size = (columns * _BLOCK, rows * _BLOCK)
    thin = np.ascontiguousarray(rgb[::stride, ::stride])
    small = cv2.resize(thin, size, interpolation=cv2.INTER_AREA)
    lab = np.asarray(cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))
    light = lab[..., 0]
    apart = light - cv2.GaussianBlur(light, (0, 0), _BLOCK / 2)
    spread = np.sqrt(np.maximum(cv2.GaussianBlur(apart**2, (0, 0), _BLOCK / 2), 0))
    return _Glance(
        np.asarray(apart / (spread + _FLAT), np.float32),
        _blocks(lab),
        _blocks(np.asarray(spread / (spread + _FLAT), np.float32)),
    )


def _blocks(picture: np.ndarray) -> np.ndarray:
    """Means of the blocks."""
    size = (picture.shape[1] // _BLOCK, picture.shape[0] // _BLOCK)
    means = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.asarray(means, np.float32).reshape(size[1], size[0], *picture.shape[2:])


def _newness(before: _Glance, after: _Glance) -> float:
    """Which part of ``after`` does not come from ``before``, 0 to 1; flat parts count little."""
    if before.shade.shape != after.shade.shape:
        return 1.0
    apart = after.colour - before.colour
    apart[..., 0] -= np.median(apart[..., 0])
    colour = np.clip(np.linalg.norm(apart, axis=2) / _COLOUR, 0, 1)
    weight = np.maximum(np.maximum(before.texture, after.texture), colour) + 1e-6

    def share(shade: np.ndarray) -> float:
        return float(np.average(np.maximum(np.clip(shade / _SHADE, 0, 1), colour), weights=weight))

    nearest = _blocks(cv2.absdiff(before.shade, after.shade))
    unmoved = share(nearest)
    if unmoved < _QUIET:
        return unmoved
    height, width = after.shade.shape
    wide = cv2.copyMakeBorder(before.shade, _REACH, _REACH, _REACH, _REACH, cv2.BORDER_REPLICATE)
    for down in range(2 * _REACH + 1):
        for right in range(2 * _REACH + 1):
            moved = wide[down : down + height, right : right + width]
            nearest = np.minimum(nearest, _blocks(cv2.absdiff(moved, after.shade)))
    return share(nearest)

"""Who is who: runs of one face joined to people, within a shot by place, across shots by looks.

A look is an aligned picture of the whole head, 96 pixels wide. A face's description is made of the colours
of its parts and of its coarse light and shade; see ``describe`` for how it was checked. It is no face
recognition: it knows the same person again in the same clothes and light, as when a dialogue is cut back
and forth, and says "somebody new" whenever it is not sure.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from keysync.clip import Face
from keysync.face.crop import Framing, align, crop
from keysync.face.pose import face_width, yaw_deg
from keysync.face.track import JUMP

PORTRAIT = 96  # side of a look, pixels
SAMPLES = 24  # looks at a run, at most
_FRAMING = Framing(eye_distance=0.30, eye_y=0.42)  # the whole head, hair and collar included
# The description covers an ellipse of a look, in cells: face and hair line, little of what is behind.
_CELLS, _MIDDLE, _RADII = 12, (0.5, 0.52), (0.28, 0.38)
_COLOUR, _FLAT = 12.0, 3.0  # CIE Lab: a typical deviation of a*, b*; contrast of L* that is only noise
_FRONTAL_DEG = 30.0  # looks at heads turned further describe them only if there is no other
_NEAR = 0.40
_CLEARLY = 0.7  # of the distance to anybody else
_RETURN_S = Fraction(1)  # within a shot, a face that is back in its place this soon is the same


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a face."""

    number: int  # of the frame
    picture: UInt8[np.ndarray, "96 96 3"]
    yaw_deg: float
    width: float  # of the face, pixels of the frame


@dataclass(frozen=True, slots=True)
class Run:
    """One face in one unbroken run of frames, smoothed and aligned; not yet anybody."""

    first: int
    shot: int  # number of the first frame of its shot
    start: Fraction
    end: Fraction  # times of its first and last frame
    landmarks: Float32[np.ndarray, "n 68 2"]
    to_crop: Float64[np.ndarray, "n 2 3"]
    yaw_deg: Float32[np.ndarray, " n"]
    width: Float32[np.ndarray, " n"]
    hollow: Float32[np.ndarray, " n"]

    @property
    def stop(self) -> int:
        """Number of the frame after its last."""
        return self.first + len(self.width)

    def overlaps(self, other: Run) -> bool:
        """Whether both are seen in one frame, so that they cannot be one person."""
        return self.first < other.stop and other.first < self.stop


@dataclass(slots=True)
class Known:
    """A person, by all that was seen of them."""

    runs: list[Run]
    description: Float32[np.ndarray, " d"] | None
    portrait: UInt8[np.ndarray, "96 96 3"]
    _portrait_worth: float
    _looks: int

    @property
    def covered(self) -> float:
        """Picture covered, pixels squared times frames."""
        return float(sum((run.width.astype(np.float64) ** 2).sum() for run in self.runs))

    def meet(self, run: Run, samples: list[Sample]) -> None:
        """Seen again."""
        self.runs.append(run)
        if not samples:
            return
        description, looks = describe(samples), len(samples)
        if self.description is not None:
            share = np.float32(looks / (self._looks + looks))
            description = self.description + share * (description - self.description)
        self.description, self._looks = description, self._looks + looks
        best = max(samples, key=_worth)
        if _worth(best) > self._portrait_worth:
            self.portrait, self._portrait_worth = best.picture, _worth(best)


class People:
    """Everybody in the clip so far."""

    def __init__(self) -> None:
        self.known: list[Known] = []
        self.recent: deque[Run] = deque(maxlen=64)

    def add(self, run: Run, samples: list[Sample]) -> None:
        """Join a finished run to a known person, or let it be a new one."""
        self.recent.append(run)
        known = self._in_place(run) or self._alike(run, samples)
        if known is None:
            known = Known([], None, np.zeros((PORTRAIT, PORTRAIT, 3), np.uint8), 0.0, 0)
            self.known.append(known)
        known.meet(run, samples)

    def _in_place(self, run: Run) -> Known | None:
        """Who left this very place, in this shot, a moment ago."""
        for known in self.known:
            before = known.runs[-1]
            if before.shot != run.shot or before.overlaps(run) or not 0 < run.start - before.end <= _RETURN_S:
                continue
            moved = np.linalg.norm(run.landmarks[0] - before.landmarks[-1], axis=1).mean()
            if moved < JUMP * before.width[-1]:
                return known
        return None

    def _alike(self, run: Run, samples: list[Sample]) -> Known | None:
        """Who looks like this, if that is clear."""
        described = [known for known in self.known if known.description is not None]
        if not samples or not described:
            return None
        own = describe(samples)
        apart = [float(np.linalg.norm(own - known.description)) for known in described]
        nearest = int(np.argmin(apart))
        others = min((a for place, a in enumerate(apart) if place != nearest), default=np.inf)
        known = described[nearest]
        if apart[nearest] > _NEAR or apart[nearest] > _CLEARLY * others:
            return None
        return None if any(run.overlaps(other) for other in known.runs) else known


def look(number: int, rgb: UInt8[np.ndarray, "h w 3"], face: Face) -> Sample:
    """Cut the head out of frame ``number``."""
    to_crop = align(face, _FRAMING, PORTRAIT)
    return Sample(number, crop(rgb, to_crop, PORTRAIT), yaw_deg(face.mesh), face_width(face.mesh))


def describe(samples: list[Sample]) -> Float32[np.ndarray, " d"]:
    """What a face looks like: lightness, without its mean and contrast, and the colours a*, b*, in 12 cells
    across; the mean of all looks that are fairly frontal.

    Checked on 40 drawn people: halves of one clip lie 0.21 apart (median; 0.44 at most for nine in ten,
    0.50 with the second half lit otherwise), two people never less than 0.51.
    """
    frontal = [sample for sample in samples if abs(sample.yaw_deg) < _FRONTAL_DEG]
    chosen = frontal or [min(samples, key=lambda sample: abs(sample.yaw_deg))]
    y, x = (np.mgrid[:_CELLS, :_CELLS] + 0.5) / _CELLS
    inside = ((x - _MIDDLE[0]) / _RADII[0]) ** 2 + ((y - _MIDDLE[1]) / _RADII[1]) ** 2 < 1
    described = []
    for sample in chosen:
        lab = cv2.cvtColor(sample.picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        cells = cv2.resize(lab, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)[inside]
        light = (cells[:, 0] - cells[:, 0].mean()) / (cells[:, 0].std() + _FLAT)
        described.append(np.concatenate([light, (cells[:, 1:] / _COLOUR).ravel()]))
    return np.asarray(np.mean(described, axis=0) / np.sqrt(inside.sum()), np.float32)


def _worth(sample: Sample) -> float:
    """Of a portrait: large and frontal."""
    return sample.width * max(float(np.cos(np.radians(sample.yaw_deg))), 0.1)

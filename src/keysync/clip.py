"""The values that stages hand on to each other."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from jaxtyping import Float32, Float64, UInt8


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded picture, upright, in the pixel format of its source.

    The native planes are kept, not RGB: what we do not repaint leaves as the very bytes that came in.
    """

    picture: av.VideoFrame
    time: Fraction  # seconds, exact

    def rgb(self) -> UInt8[np.ndarray, "h w 3"]:
        """The picture as 8-bit RGB, by the frame's own colour tags."""
        # One thread: FFmpeg would start several for every frame, which costs more than it saves.
        return self.picture.to_ndarray(format="rgb24", threads=1)


@dataclass(frozen=True, slots=True)
class Face:
    """One face in one frame."""

    mesh: Float32[np.ndarray, "468 2"]  # MediaPipe mesh, pixels of the frame, pixel centres at .5
    landmarks: Float32[np.ndarray, "68 2"]  # iBUG order, same units
    score: float  # presence, 0 to 1


@dataclass(frozen=True, slots=True)
class AlignedFace:
    """A face and the similarity that carries frame pixels to crop pixels."""

    face: Face
    to_crop: Float64[np.ndarray, "2 3"]


@dataclass(frozen=True, slots=True)
class Cover:
    """What is before one face in one frame, as a soft mask of the aligned crop."""

    packed: bytes  # zlib; a mask takes some 0.5 kB
    side: int  # of the mask, pixels
    face: float  # share of the face that it hides, 0 to 1
    mouth: float  # share of the lips

    @classmethod
    def pack(cls, alpha: Float32[np.ndarray, "s s"], face: float, mouth: float) -> Cover:
        """Keep a mask, in 16 steps: 1 where the occluder hides the face wholly."""
        steps = np.round(np.clip(alpha, 0, 1) * 15).astype(np.uint8)
        return cls(zlib.compress(steps.tobytes(), 1), len(alpha), face, mouth)

    def alpha(self) -> Float32[np.ndarray, "s s"]:
        """The mask."""
        steps = np.frombuffer(zlib.decompress(self.packed), np.uint8)
        return steps.reshape(self.side, self.side).astype(np.float32) / 15

"""The values that stages hand on to each other."""

from __future__ import annotations

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
        return self.picture.to_ndarray(format="rgb24")


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

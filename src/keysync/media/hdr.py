"""What an HDR film says of the screen it was made on, carried into the new film."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av

_PAIRS = struct.Struct("@20i2i")  # AVMasteringDisplayMetadata: ten fractions, two flags
_LIGHT = struct.Struct("@2I")  # AVContentLightMetadata
_CHROMA_STEP = 50_000  # x265 counts chromaticity in 0.00002
_LIGHT_STEP = 10_000  # and light in 0.0001 candela per square metre


@dataclass(frozen=True, slots=True)
class HdrLight:
    """SMPTE ST 2086 mastering display and CTA-861.3 content light level."""

    display: tuple[Fraction, ...] = ()  # x and y of red, green, blue, white; least and most cd/m²
    brightest: tuple[int, int] = (0, 0)  # cd/m²: brightest pixel, brightest frame average; 0 not said

    def x265(self) -> dict[str, str]:
        """The same as parameters of x265, which writes them into the film."""
        said: dict[str, str] = {}
        if self.display:
            red, green, blue, white = (
                f"({round(x * _CHROMA_STEP)},{round(y * _CHROMA_STEP)})"
                for x, y in zip(self.display[:8:2], self.display[1:8:2], strict=True)
            )
            least, most = (round(light * _LIGHT_STEP) for light in self.display[8:])
            said["master-display"] = f"G{green}B{blue}R{red}WP{white}L({most},{least})"
        if any(self.brightest):
            said["max-cll"] = f"{self.brightest[0]},{self.brightest[1]}"
        return said


def hdr_light(picture: av.VideoFrame) -> HdrLight | None:
    """What ``picture`` says of its light; ``None`` if nothing, or nothing sensible.

    For one frame of a film only: a frame whose side data was read refers to itself and is freed late.
    """
    # By index: PyAV's mapping of side data cannot be walked by its own keys.
    sides = cast("Any", picture.side_data)
    return parsed((sides[index].type.name, bytes(sides[index])) for index in range(len(sides)))


def parsed(sides: Iterable[tuple[str, bytes]]) -> HdrLight | None:
    """The same from the names and bytes of FFmpeg's side data."""
    display: tuple[Fraction, ...] = ()
    brightest = (0, 0)
    for kind, data in sides:
        if kind == "MASTERING_DISPLAY_METADATA" and len(data) >= _PAIRS.size:
            display = _display(data)
        elif kind == "CONTENT_LIGHT_LEVEL" and len(data) >= _LIGHT.size:
            most, average = _LIGHT.unpack_from(data)
            brightest = (min(most, 65_535), min(average, 65_535))
    return HdrLight(display, brightest) if display or any(brightest) else None


def _display(data: bytes) -> tuple[Fraction, ...]:
    *numbers, has_colours, has_light = _PAIRS.unpack_from(data)
    if not (has_colours and has_light) or 0 in numbers[1::2]:
        return ()  # the format knows no half of it
    values = tuple(Fraction(top, below) for top, below in zip(numbers[::2], numbers[1::2], strict=True))
    sensible = all(0 <= colour <= 1 for colour in values[:8]) and 0 <= values[8] < values[9] <= 100_000
    return values if sensible else ()

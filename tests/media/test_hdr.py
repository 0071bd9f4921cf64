import struct
from fractions import Fraction

import av
import pytest

from keysync.media.hdr import HdrLight, hdr_light, parsed

Side = tuple[str, bytes]


def display(*numbers: int, colours: int = 1, light: int = 1) -> Side:
    return "MASTERING_DISPLAY_METADATA", struct.pack("@20i2i", *numbers, colours, light)


SCREEN = (34000, 50000, 16000, 50000, 13250, 50000, 34500, 50000, 7500, 50000, 3000, 50000)
WHITE = (15635, 50000, 16450, 50000)
LIGHT = (50, 10000, 10_000_000, 10000)


def test_the_numbers_are_those_x265_takes() -> None:
    light = parsed([display(*SCREEN, *WHITE, *LIGHT)])
    assert light is not None
    assert light.display[0] == Fraction(17, 25)
    assert light.x265() == {
        "master-display": "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    }
    assert HdrLight(brightest=(1000, 400)).x265() == {"max-cll": "1000,400"}


@pytest.mark.parametrize(
    "side",
    [
        display(*SCREEN, *WHITE, 50, 0, 10_000_000, 10000),
        display(*SCREEN, *WHITE, *LIGHT, light=0),
        display(*SCREEN, *WHITE, 10_000_000, 10000, 50, 10000),
        display(-1, *SCREEN[1:], *WHITE, *LIGHT),
        ("MASTERING_DISPLAY_METADATA", b"short"),
        ("CONTENT_LIGHT_LEVEL", bytes(8)),
    ],
)
def test_what_makes_no_sense_is_not_carried_on(side: Side) -> None:
    assert parsed([side]) is None


def test_a_plain_picture_says_nothing() -> None:
    assert hdr_light(av.VideoFrame(64, 48, "yuv420p")) is None

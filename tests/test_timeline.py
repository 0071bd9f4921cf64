from fractions import Fraction
from itertools import pairwise

import av
import pytest

from keysync.clip import Frame
from keysync.timeline import TAIL_S, arrange, needed

RATE = 25


def clock(count: int) -> list[Fraction]:
    return [Fraction(k, RATE) for k in range(count)]


@pytest.mark.parametrize(
    ("length", "speech_s", "frames"),
    [
        ("longest", 3, 75),
        ("longest", 1, 50),
        ("longest", Fraction(21, 10), 50),  # 0.1 s: the picture decides
        ("longest", Fraction(22, 10), 55),
        ("video", 3, 50),
        ("video", 1, 50),
        ("audio", 3, 75),
        ("audio", 1, 25),
        ("shortest", 3, 50),
        ("shortest", 1, 25),
    ],
)
def test_the_length_is_the_one_asked_for(length: str, speech_s: Fraction, frames: int) -> None:
    line = arrange(clock(50), Fraction(speech_s), length, "bounce")  # type: ignore[arg-type]
    assert len(line) == frames
    assert line.times == clock(frames)
    assert line.end == Fraction(frames, RATE)
    assert line.order[:50] == list(range(min(50, frames)))


@pytest.mark.parametrize("length", ["longest", "video", "audio", "shortest"])
@pytest.mark.parametrize("speech_s", [Fraction(1), Fraction(51, 50), Fraction(3)])
def test_frames_that_are_not_needed_change_nothing(length: str, speech_s: Fraction) -> None:
    frames = [Frame(av.VideoFrame(16, 16, "gray"), time) for time in clock(50)]
    seen = [frame.time for frame in needed(frames, speech_s, length)]  # type: ignore[arg-type]
    whole = arrange(clock(50), speech_s, length, "bounce")  # type: ignore[arg-type]
    assert arrange(seen, speech_s, length, "bounce") == whole  # type: ignore[arg-type]
    assert len(seen) <= len(whole) + 1


@pytest.mark.parametrize("extend", ["freeze", "silence"])
def test_freeze_holds_the_last_frame(extend: str) -> None:
    assert arrange(clock(5), Fraction(1), "longest", extend).order[5:] == [4] * 20  # type: ignore[arg-type]


def test_loop_starts_again() -> None:
    assert arrange(clock(5), Fraction(12, 25), "longest", "loop").order == [0, 1, 2, 3, 4] * 2 + [0, 1]


def test_bounce_turns_smoothly_and_stays_within_its_reach() -> None:
    order = arrange(clock(600), Fraction(100), "longest", "bounce").order
    tail = order[599:]
    assert min(tail) == 599 - TAIL_S * RATE
    assert max(tail) == 599
    assert all(abs(b - a) <= 1 for a, b in pairwise(tail))
    # The clip's own end aside, no turn is abrupt: two frames before and after it hardly anything has moved.
    turns = [k for k in range(8, len(tail) - 8) if tail[k] in (min(tail), 599)]
    assert turns
    for turn in turns:
        assert abs(tail[turn] - tail[turn - 2]) <= 1
        assert abs(tail[turn + 2] - tail[turn]) <= 1


def test_bounce_does_not_cross_a_cut() -> None:
    assert min(arrange(clock(50), Fraction(9), "longest", "bounce", last_shot=40).order[50:]) == 40


def test_one_frame_is_enough() -> None:
    for extend in ("bounce", "loop", "freeze", "silence"):
        assert arrange(clock(1), Fraction(1), "longest", extend).order == [0] * 25  # type: ignore[arg-type]


def test_uneven_times_are_kept_and_extended_at_the_mean_rate() -> None:
    times = [Fraction(t, 1000) for t in (500, 533, 540, 600)]
    line = arrange(times, Fraction(2, 5), "longest", "freeze")
    assert line.times[:4] == times
    assert line.times[4] == times[-1] + Fraction(100, 3000)


def test_a_long_last_frame_is_no_reason_to_make_one_up() -> None:
    times = [Fraction(0), Fraction(1, 25), Fraction(2, 25), Fraction(7, 25)]
    assert arrange(times, Fraction(9), "video", "freeze").order == [0, 1, 2, 3]

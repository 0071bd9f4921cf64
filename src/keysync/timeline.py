"""How long the result is, and which frame of the source is seen when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from keysync.clip import Frame
from keysync.config import Extend, Length

ALIKE_S = Fraction(1, 5)  # sound and picture that differ by less are of one length: the picture's
TAIL_S = 10  # the end of the clip that ``bounce`` plays backwards and forwards
_EASE = 4  # frames over which ``bounce`` slows down before it turns, and gathers speed again
_USUAL_STEP = Fraction(1, 25)


@dataclass(frozen=True, slots=True)
class Timeline:
    """The result, frame by frame.

    Frame k shows frame ``order[k]`` of the source at ``times[k]`` seconds.
    """

    order: list[int]
    times: list[Fraction]
    end: Fraction  # when the last frame is over, seconds
    extended_from: int  # number of the first frame that the source does not have

    def __len__(self) -> int:
        return len(self.order)

    @property
    def start(self) -> Fraction:
        return self.times[0]


def needed(frames: Iterable[Frame], speech_s: Fraction, length: Length) -> Iterator[Frame]:
    """The frames that ``arrange`` asks about: none that a result as long as the speech has no room for."""
    start: Fraction | None = None
    for frame in frames:
        yield frame
        start = frame.time if start is None else start
        if length in ("audio", "shortest") and frame.time - start >= speech_s:
            return


def arrange(
    times: Sequence[Fraction],
    speech_s: Fraction,
    length: Length,
    extend: Extend,
    last_shot: int = 0,
    *,
    last_s: Fraction | None = None,
) -> Timeline:
    """Fit a clip to a speech.

    Args:
        times: of every source frame, or of those that are ``needed``, seconds; one or more.
        speech_s: length of the speech.
        length: what decides how long the result is; with ``longest``, differences under ``ALIKE_S``
            follow the picture.
        extend: where the missing frames come from if the sound is the longer one.
        last_shot: first frame of the last shot; ``bounce`` does not go back beyond it.
        last_s: for how long the last frame is seen; as long as the one before it, if not given.
    """
    count = len(times)
    step = last_s or (times[-1] - times[-2] if count > 1 else _USUAL_STEP)
    picture_s = times[-1] + step - times[0]
    wanted = {
        "video": picture_s,
        "audio": speech_s,
        "shortest": min(picture_s, speech_s),
        "longest": speech_s if speech_s - picture_s >= ALIKE_S else picture_s,
    }[length]
    kept = max(1, sum(time - times[0] < wanted for time in times))
    order, moments = list(range(kept)), list(times[:kept])
    if wanted > picture_s:
        usual = (times[-1] - times[0]) / (count - 1) if count > 1 else step
        following = _following(times, extend, last_shot)
        while moments[-1] + usual - times[0] < wanted:
            order.append(next(following))
            moments.append(moments[-1] + usual)
            step = usual
    elif kept < count:
        step = times[kept] - times[kept - 1]
    return Timeline(order, moments, moments[-1] + step, kept)


def _following(times: Sequence[Fraction], extend: Extend, last_shot: int) -> Iterator[int]:
    """Source frames to show after the last one, without end."""
    last = len(times) - 1
    if extend in ("freeze", "silence") or last == last_shot:
        while extend != "loop" or last == 0:
            yield last
    if extend == "loop":
        while True:
            yield from range(last + 1)
    first = max(last_shot, sum(time < times[-1] - TAIL_S for time in times))
    place, direction = float(last), -1
    while True:
        # Slower towards a turn and faster after it: speeds before and after the turn match.
        near = min(place - first, last - place)
        place += direction * min(1.0, (1 + near) / _EASE)
        if place <= first or place >= last:
            place, direction = min(max(place, first), last), -direction
        yield round(place)

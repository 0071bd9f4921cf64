"""Who speaks in a clip: the lips of each person matched to the sound.

A speaker's lips open when the sound says so; those of a listener rest, or move at other times. Both curves
are taken around their mean over a second, so that only movement counts. A speaker's then share the
correlation ``_MATCH``, a listener's none; the logarithm of the ratio of these two likelihoods, frame by
frame, is the evidence, and the likeliest sequence of speakers under a price for every change (Viterbi
1967) are the turns. Who has the most sound in their turns is the speaker.

That lips and sound are best matched by movement is Chung and Zisserman 2016 (Out of time, ACCV workshops).
What the lips should do is told by our audio encoder. Loudness is no replacement: with it in its place the
right one of two drawn people was picked in 11 of 20 clips (``benchmarks/people.py``), with the encoder in 20.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
from jaxtyping import Float, Float64, Int64

from keysync.face.mouth import inner_gap
from keysync.face.survey import Survey

_NOSE = (27, 33)  # top of its bridge and its base: the unit of all openings
_MEAN_S = 1.0
_STILL = 0.015  # nose lengths: the deviation of a mouth at rest, mostly the mesh's own noise
_MATCH = 0.4  # correlation of a speaker's lips with the sound, at least; drawn people reach 0.8
_MOVEMENTS_HZ = 8.0  # independent looks a second; neighbouring frames tell the same again
_CHANGE = 2.0  # price of a change of speaker, in units of the evidence
_SHORTEST_TURN_S = 1.0
_SHIFT_S = 0.09  # sound and picture of a source may be apart by this much
# Evidence from which a choice is fairly sure: the lips of two people who have nothing to do with the sound
# reach 3 in one clip of ten of 4 s, 6 in one of 20 s; true speakers 7 and 35.
_SURE = 5.0

_Curves = Float64[np.ndarray, "people frames"]


@dataclass(frozen=True, slots=True)
class SpeakerChoice:
    """Who was picked."""

    person: int
    confidence: float  # 0 to 1; low where a clip is short, lips match poorly or two speak about alike
    scores: dict[int, float]  # of each person: correlation of lips and sound over the clip


def who_speaks(survey: Survey, expected: Float[np.ndarray, " frames"]) -> SpeakerChoice:
    """The person who says most of what is heard; if no lips match the sound, the one that does best.

    Args:
        expected: how far a mouth that says the clip's own sound opens at each frame, in any unit; NaN
            where there is no sound.
    Raises:
        ValueError: the survey shows nobody.
    """
    people = survey.people()
    if not people:
        raise ValueError("the survey shows nobody")
    lips, sound = _movements(survey, expected)
    scores = dict(zip(people, (float(score) for score in _correlations(lips, sound)), strict=True))
    evidence = _evidence(survey, lips, sound)
    spoken = dict.fromkeys(people, 0)
    proof = dict.fromkeys(people, 0.0)
    for first, last, person in _turns(survey, evidence):
        # Frames in which the sound moves: a pause at the end of a turn is nobody's.
        spoken[person] += int(np.count_nonzero(np.abs(sound[first : last + 1]) > 0.1))
        proof[person] += float(evidence[people.index(person), first : last + 1].sum())
    best = max(people, key=lambda who: (spoken[who], scores[who]))
    second = max((spoken[who] for who in people if who != best), default=0)
    lead = (spoken[best] - second) / max(spoken[best] + second, 1)
    sure = 1 - np.exp(-((max(proof[best], 0.0) / _SURE) ** 2))
    return SpeakerChoice(best, float(sure * (0.5 + 0.5 * min(1.0, 4 * lead))), scores)


def turns(survey: Survey, expected: Float[np.ndarray, " frames"]) -> list[tuple[int, int, int]]:
    """Who speaks when: first frame, last frame, person; none shorter than a second but in shorter clips.

    Frames in which nobody seen is the speaker are left out. ``expected`` as for ``who_speaks``.
    """
    lips, sound = _movements(survey, expected)
    return _turns(survey, _evidence(survey, lips, sound))


def openings(survey: Survey) -> _Curves:
    """Height of the inner lips' opening in nose lengths, of everybody in every frame; NaN if not seen."""
    people = survey.people()
    curves = np.full((len(people), len(survey.times)), np.nan)
    for seen in survey.appearances:
        points = seen.landmarks.astype(np.float64)
        nose = np.linalg.norm(points[:, _NOSE[0]] - points[:, _NOSE[1]], axis=1)
        place = slice(seen.first, seen.first + len(nose))
        curves[people.index(seen.person), place] = inner_gap(points) / np.maximum(nose, 1e-6)
    return curves


def _movements(
    survey: Survey, expected: Float[np.ndarray, " frames"]
) -> tuple[_Curves, Float64[np.ndarray, " frames"]]:
    """Movements of all lips and of the sound, of about unit deviation; 0 where not seen or heard."""
    frames = max(1, round(_MEAN_S * _rate_hz(survey)))
    lips = np.stack([_around_mean(curve, frames) for curve in openings(survey)])
    lips /= np.maximum(lips.std(axis=1, keepdims=True), _STILL)
    sound = _around_mean(expected.astype(np.float64), frames)
    sound /= max(float(sound.std()), 1e-9)
    # The shift at which anybody's lips match best.
    reach = round(_SHIFT_S * _rate_hz(survey))
    shifted = [_shift(sound, shift) for shift in sorted(range(-reach, reach + 1), key=abs)]
    return lips, max(shifted, key=lambda moved: float(_correlations(lips, moved).max()))


def _around_mean(curve: Float64[np.ndarray, " frames"], frames: int) -> Float64[np.ndarray, " frames"]:
    """The curve less its running mean over the known ones of ``frames``; 0 where it is not known."""
    known = np.isfinite(curve)
    box = np.ones(min(frames, len(curve)))
    total = np.convolve(np.where(known, curve, 0), box, "same")
    count = np.convolve(known.astype(np.float64), box, "same")
    return np.where(known, curve - total / np.maximum(count, 1), 0.0)


def _shift(curve: Float64[np.ndarray, " frames"], frames: int) -> Float64[np.ndarray, " frames"]:
    moved = np.roll(curve, frames)
    if frames > 0:
        moved[:frames] = 0
    elif frames < 0:
        moved[frames:] = 0
    return moved


def _correlations(lips: _Curves, sound: Float64[np.ndarray, " frames"]) -> Float64[np.ndarray, " people"]:
    return np.asarray((lips * sound).mean(axis=1) / max(float(sound.std()), 1e-9))


def _evidence(survey: Survey, lips: _Curves, sound: Float64[np.ndarray, " frames"]) -> _Curves:
    """Logarithm of how much likelier each frame is if this person speaks than if not."""
    rest = 1 - _MATCH**2
    ratio = (lips**2 - (lips - _MATCH * sound) ** 2 / rest - np.log(rest)) / 2
    # A wild movement of the lips speaks against their owner, but no single frame decides.
    ratio = np.clip(ratio, -3, 3) * min(1.0, _MOVEMENTS_HZ / _rate_hz(survey))
    seen = np.isfinite(openings(survey))
    # Without sound nobody is likelier than anybody else.
    return np.where(sound == 0, 0.0, np.where(seen, ratio, -1.0))


def _turns(survey: Survey, evidence: _Curves) -> list[tuple[int, int, int]]:
    people, shortest = survey.people(), _SHORTEST_TURN_S * _rate_hz(survey)
    path = _best_path(evidence)
    spans = _spans(path)
    while len(spans) > 1:
        brief = min(spans, key=lambda span: span[1] - span[0])
        if brief[1] - brief[0] >= shortest:
            break
        # Given to the neighbour whose lips fit these frames better.
        at = spans.index(brief)
        near = [spans[place] for place in (at - 1, at + 1) if 0 <= place < len(spans)]
        place = slice(brief[0], brief[1])
        path[place] = max((span[2] for span in near), key=lambda who: _total(evidence, who, place))
        spans = _spans(path)
    return [(first, stop - 1, people[who]) for first, stop, who in spans if who < len(people)]


def _total(evidence: _Curves, who: int, place: slice) -> float:
    return float(evidence[who, place].sum()) if who < len(evidence) else 0.0


def _spans(path: Int64[np.ndarray, " frames"]) -> list[tuple[int, int, int]]:
    """First frame, frame after the last, and who."""
    spans, first = [], 0
    for who, group in groupby(path.tolist()):
        stop = first + len(list(group))
        spans.append((first, stop, who))
        first = stop
    return spans


def _best_path(evidence: _Curves) -> Int64[np.ndarray, " frames"]:
    """The likeliest speaker of each frame; the number after the last person's means nobody."""
    # A hair above 0: where nothing is to be heard it is nobody who speaks.
    states = np.vstack([evidence, np.full(evidence.shape[1], 1e-6)])
    best = states[:, 0].copy() if states.shape[1] else np.zeros(len(states))
    came_from = np.zeros(states.shape, np.int64)
    for frame in range(1, states.shape[1]):
        leader = int(best.argmax())
        stay = best >= best[leader] - _CHANGE
        came_from[:, frame] = np.where(stay, np.arange(len(states)), leader)
        best = np.where(stay, best, best[leader] - _CHANGE) + states[:, frame]
    path = np.zeros(states.shape[1], np.int64)
    if len(path):
        path[-1] = int(best.argmax())
        for frame in range(len(path) - 1, 0, -1):
            path[frame - 1] = came_from[path[frame], frame]
    return path


def _rate_hz(survey: Survey) -> float:
    """Frames a second, on average."""
    if len(survey.times) < 2:
        return 25.0
    return float((len(survey.times) - 1) / (survey.times[-1] - survey.times[0]))

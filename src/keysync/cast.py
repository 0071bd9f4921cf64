"""Who is synced where, and to what: a survey of the clip in; each person's frames and speech out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from keysync.audio.voice import Gated
from keysync.clip import Cover
from keysync.config import SyncConfig
from keysync.errors import ConfigError, NoFaceFound
from keysync.face.speaker import who_speaks
from keysync.face.survey import Appearance, Survey
from keysync.face.warp import apply
from keysync.media.read import MediaInfo, read_speech
from keysync.report import Report, State
from keysync.speech import Sound
from keysync.timeline import Timeline

MIN_WIDTH = 40  # pixels of the frame: below, the lips are some 15 pixels wide and nobody can read them
MOUTH_HIDDEN = 0.9  # share of the lips: with more behind an occluder there is nothing to paint
SHORTEST = 3  # frames; less than that between two cuts is no performance
# Turned heads: full strength up to the first angle, none from the second on.
YAW_FULL_DEG, YAW_NONE_DEG = 35.0, 55.0
FADE_S = Fraction(4, 25)
_PAUSE_S = 60  # so long after the end of a speech its listener hears silence


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive frames of one shot in which one person's mouth is repainted."""

    first: int  # number of its first frame
    landmarks: Float32[np.ndarray, "n 68 2"]  # frame pixels
    to_crop: Float64[np.ndarray, "n 2 3"]  # frame pixels -> crop pixels
    strength: Float32[np.ndarray, " n"]  # of the paint, 0..1: fades towards frames that stay as they are
    yaw_deg: Float32[np.ndarray, " n"]
    hollow: Float32[np.ndarray, " n"]  # how much of what is between the lips is dark, 0..1
    covers: Sequence[Cover | None] = ()  # what is before the face, in each frame; empty if not looked for

    def __len__(self) -> int:
        return len(self.landmarks)

    @property
    def last(self) -> int:
        return self.first + len(self) - 1

    def points(self, place: int) -> Float32[np.ndarray, "68 2"]:
        """The landmarks of one frame in pixels of the crop."""
        return apply(self.to_crop[place], self.landmarks[place]).astype(np.float32)

    def cover(self, place: int) -> Cover | None:
        """What is before the face in one frame."""
        return self.covers[place] if self.covers else None


@dataclass(frozen=True, slots=True)
class Role:
    """One person in the clip."""

    person: int
    states: list[State]  # of every frame
    runs: list[Run]
    covers: dict[int, Cover]  # what is before the face, by number of frame


@dataclass(frozen=True, slots=True)
class Part:
    """A role and what it says."""

    role: Role
    speech: Sound
    hears: Sequence[Fraction]  # the moment of the speech that belongs to each frame, seconds
    # How a mouth that says it moves, every 20 ms of it (see movement.py); None: as the encoder tells.
    mouth: Float32[np.ndarray, "all curves"] | None = None


def rearranged(survey: Survey, line: Timeline) -> Survey:
    """The survey of the result: what was seen of the source, in the order that it is shown."""
    order = np.array(line.order)
    jumps = np.flatnonzero(np.abs(np.diff(order)) > 1) + 1
    cuts = {int(k) for k in jumps}
    starts = set(survey.shots) - {0}
    for k in range(1, len(order)):
        low, high = sorted((line.order[k - 1], line.order[k]))
        if high in starts and low < high:
            cuts.add(k)
    edges = [0, *sorted(cuts), len(order)]
    parts = []
    for seen in survey.appearances:
        places = order - seen.first
        inside = (places >= 0) & (places < len(seen.landmarks))
        for begin, end in pairwise(edges):
            for run in _runs(inside[begin:end]):
                pick = places[begin + run.start : begin + run.stop]
                parts.append(
                    replace(
                        seen,
                        first=begin + run.start,
                        landmarks=seen.landmarks[pick],
                        to_crop=seen.to_crop[pick],
                        yaw_deg=seen.yaw_deg[pick],
                        width=seen.width[pick],
                        hollow=seen.hollow[pick],
                        covers=[seen.covers[k] for k in pick] if seen.covers else (),
                    )
                )
    parts.sort(key=lambda part: (part.first, part.person))
    return replace(survey, times=line.times, shots=edges[:-1], appearances=parts)


def play(survey: Survey, person: int) -> Role:
    """Judge every frame of one person, and put the good ones into runs.

    Raises:
        ConfigError: nobody has that number.
    """
    if person not in survey.people():
        known = ", ".join(map(str, survey.people())) or "nobody"
        raise ConfigError(
            f"person {person} is not in this clip (seen: {known}); 'keysync check' shows who is"
        )
    states: list[State] = ["no_face"] * len(survey.times)
    runs: list[Run] = []
    covers: dict[int, Cover] = {}
    mine = [seen for seen in survey.appearances if seen.person == person]
    for seen in mine:
        covers |= {seen.first + k: hidden for k, hidden in enumerate(seen.covers) if hidden}
        fit = np.ones(len(seen.landmarks), bool)
        for k in range(len(fit)):
            state = _judge(seen, k)
            states[seen.first + k] = state
            fit[k] = state == "synced"
        for run in _runs(fit):
            first = seen.first + run.start
            if run.stop - run.start < SHORTEST and len(survey.times) > SHORTEST:
                states[first : first + run.stop - run.start] = ["cut"] * (run.stop - run.start)
                continue
            strength = np.interp(np.abs(seen.yaw_deg[run]), [YAW_FULL_DEG, YAW_NONE_DEG], [1, 0])
            runs.append(
                Run(
                    first,
                    seen.landmarks[run],
                    seen.to_crop[run],
                    strength.astype(np.float32),
                    seen.yaw_deg[run],
                    seen.hollow[run],
                    seen.covers[run],
                )
            )
    for painted in runs:
        _fade(painted, survey, states)
    return Role(person, states, sorted(runs, key=lambda run: run.first), covers)


def speakers(
    seen: Survey,
    speech: Path,
    assigned: Mapping[int, Path],
    info: MediaInfo,
    config: SyncConfig,
    report: Report,
) -> dict[int, Path]:
    """Who says which file.

    Args:
        speech: the only one, if nothing is ``assigned``: then ``config.speaker`` chooses who says it.
    Raises:
        NoFaceFound: there is nobody to sync.
        ConfigError: nobody is where ``config.speaker`` points.
    """
    if not seen.people():
        raise NoFaceFound(
            f"{info.path}: no face in any of {len(seen.times)} frames; use a clip that shows one"
        )
    return dict(assigned) or dict.fromkeys(choose(seen, info, config.speaker, report), speech)


def cast(
    seen: Survey,
    line: Timeline,
    sounds: Mapping[Path, Gated],
    whom: Mapping[int, Path],
    config: SyncConfig,
    report: Report,
) -> list[Part]:
    """Give every speech to the person who shall say it.

    Args:
        seen: the survey of the result, see ``rearranged``.
        sounds: the speeches by file.
        whom: who says which file, see ``speakers``.
    Raises:
        ConfigError: the person asked for is not in the clip.
    """
    parts = []
    for person, path in whom.items():
        role = play(seen, person)
        silent_from = line.extended_from if config.extend == "silence" else len(line)
        hears = [time - line.start for time in line.times[:silent_from]]
        hears += [sounds[path].duration_s + _PAUSE_S] * (len(line) - silent_from)
        states: list[State] = [
            "silent" if state == "synced" and not speaks else state
            for state, speaks in zip(role.states, sounds[path].activity.at(hears), strict=True)
        ]
        parts.append(Part(replace(role, states=states), sounds[path], hears))
    report.people = seen.people()
    report.synced_people = list(whom)
    report.end, report.start = line.end, line.start
    report.speech_s = max(sound.duration_s for sound in sounds.values())
    return parts


def choose(seen: Survey, info: MediaInfo, speaker: str, report: Report) -> list[int]:
    """The persons that ``speaker`` names; see ``SyncConfig.speaker``."""
    everyone = seen.people()
    if speaker == "all":
        return everyone
    if speaker == "largest" or (speaker == "auto" and len(everyone) == 1):
        return everyone[:1]
    if "," in speaker:
        x, y = map(int, speaker.split(","))
        return [at_point(seen, x, y)]
    if speaker != "auto":
        return [int(speaker)]
    if not info.has_audio:
        report.note("several people and no sound to tell who speaks: took the one seen largest and longest")
        return everyone[:1]
    # Here, because they take a second to load, and a check of one person needs neither.
    from keysync.audio.opening import expected_opening
    from keysync.models import compact_ear

    sound = read_speech(info.path)
    choice = who_speaks(seen, expected_opening(sound, [t - seen.times[0] for t in seen.times], compact_ear()))
    report.note(f"of {len(everyone)} people number {choice.person} speaks (sure to {choice.confidence:.0%})")
    return [choice.person]


def at_point(seen: Survey, x: int, y: int) -> int:
    """The person whose face is the first to cover a point of the frame.

    Raises:
        ConfigError: nobody's ever does.
    """
    hits = []
    for part in seen.appearances:
        low, high = part.landmarks.min(axis=1), part.landmarks.max(axis=1)
        inside = ((low <= (x, y)) & (high >= (x, y))).all(axis=1)
        if inside.any():
            hits.append((part.first + int(inside.argmax()), part.person))
    if not hits:
        raise ConfigError(
            f"no face ever covers the point {x},{y}; 'keysync check --sheet' shows where faces are"
        )
    return min(hits)[1]


def _judge(seen: Appearance, k: int) -> State:
    if seen.width[k] < MIN_WIDTH:
        return "too_small"
    if abs(seen.yaw_deg[k]) >= YAW_NONE_DEG:
        return "profile"
    hidden = seen.covers[k] if seen.covers else None
    if hidden is not None and hidden.mouth > MOUTH_HIDDEN:
        return "occluded"
    return "synced"


def _runs(flags: np.ndarray) -> list[slice]:
    """Where ``flags`` is true without a break."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _fade(run: Run, survey: Survey, states: list[State]) -> None:
    """Lower the strength towards a neighbour frame of the same shot that will not be painted."""
    shots = set(survey.shots)
    moments = np.array([float(t) for t in survey.times[run.first : run.last + 1]])
    step = float(moments[-1] - moments[0]) / max(len(run) - 1, 1) or float(FADE_S)
    if run.first > 0 and run.first not in shots and states[run.first - 1] != "synced":
        ramp = (moments - moments[0] + step) / (float(FADE_S) + step)
        np.minimum(run.strength, ramp, out=run.strength, casting="same_kind")
    after = run.last + 1
    if after < len(states) and after not in shots and states[after] != "synced":
        ramp = (moments[-1] - moments + step) / (float(FADE_S) + step)
        np.minimum(run.strength, ramp, out=run.strength, casting="same_kind")

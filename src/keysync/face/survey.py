"""One look at the whole clip: its shots, who is in them, and where every face is.

Streams: no frame is kept, and of the meshes (4 kB each) only some three seconds per face, until they are
smoothed and aligned; about 0.7 kB per face and frame stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from keysync.clip import Cover, Face, Frame
from keysync.face.crop import STEADY_REACH_S, Framing, align_faces
from keysync.face.mouth import dark_share
from keysync.face.people import SAMPLES, People, Run, Sample, look
from keysync.face.pose import face_width, yaw_deg
from keysync.face.shots import AHEAD, ShotDetector
from keysync.face.track import CHECK_EVERY, SMOOTH_REACH_S, FaceTracker, jumps, smooth

MOST_PEOPLE = 6
BRIDGED = 2  # frames in a row without a detection that are filled from both sides
GHOST_S = Fraction(1, 5)  # a shorter run beside a larger face is taken for a false detection
_BATCH = 96  # frames smoothed and aligned at a time
_REACH_S = SMOOTH_REACH_S + STEADY_REACH_S  # what a frame's alignment depends on, to either side


@dataclass(frozen=True, slots=True)
class Appearance:
    """One person in one unbroken run of frames of one shot."""

    person: int  # 1, 2, ...: who covers the most picture (area x time) is 1
    first: int  # number of its first frame in the clip
    landmarks: Float32[np.ndarray, "n 68 2"]  # smoothed, pixels of the frame
    to_crop: Float64[np.ndarray, "n 2 3"]  # steady similarity, frame pixels -> crop pixels
    yaw_deg: Float32[np.ndarray, " n"]  # 0 is frontal, positive turned to the right of the picture
    width: Float32[np.ndarray, " n"]  # of the face, pixels of the frame
    hollow: Float32[np.ndarray, " n"]  # share of what is between the lips that is dark, see ``dark_share``
    covers: Sequence[Cover | None] = ()  # what is before the face, in each frame; empty if not looked for

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.width)


@dataclass(frozen=True, slots=True)
class Survey:
    """What is to be seen in a clip."""

    times: list[Fraction]  # of every frame, seconds
    shots: list[int]  # number of each shot's first frame, starting with 0
    appearances: list[Appearance]  # by first frame, then by person
    portraits: dict[int, UInt8[np.ndarray, "96 96 3"]]  # a small picture of each person

    def people(self) -> list[int]:
        """Everybody, the most seen first."""
        return sorted(self.portraits)


def survey(
    frames: Iterable[Frame],
    tracker: FaceTracker,
    framing: Framing,
    size: int,
    *,
    most_people: int = MOST_PEOPLE,
    on_progress: Callable[[int], None] | None = None,
) -> Survey:
    """Find shots and faces in one pass.

    A run ends at a missing face (gaps of up to ``BRIDGED`` frames are filled), at a cut, or where the face
    jumps; nothing is smoothed or aligned across its ends.

    Args:
        framing: of the crops, as ``size``, their side in pixels.
        most_people: followed at the same time; the largest faces are kept.
        on_progress: told the number of frames done.
    """
    times: list[Fraction] = []
    shots = [0]
    shot_detector = ShotDetector()
    room = _Room(framing, size)
    for number, frame in enumerate(frames):
        rgb = frame.rgb()
        times.append(frame.time)
        suspect = shot_detector.look(rgb)
        # After a cut the old places mean nothing: everybody is looked for anew.
        last = [] if suspect else [track.last for track in room.tracks]
        search = suspect or number % CHECK_EVERY == 0
        found = tracker.faces(rgb, last, search=search, most=most_people)
        known = found[: len(last)] or [None] * len(room.tracks)
        room.enter(number, frame.time, rgb, known, found[len(last) :], sample=search)
        for cut in shot_detector.cuts():
            room.cut(cut)
            shots.append(cut)
        if on_progress:
            on_progress(number + 1)
    for cut in shot_detector.finish():
        room.cut(cut)
        shots.append(cut)
    room.close()
    return _survey(times, shots, room.people)


def _survey(times: list[Fraction], shots: list[int], people: People) -> Survey:
    """Number the people by how much picture they cover."""
    order = sorted(people.known, key=lambda known: -known.covered)
    appearances = [
        Appearance(number, run.first, run.landmarks, run.to_crop, run.yaw_deg, run.width, run.hollow)
        for number, known in enumerate(order, start=1)
        for run in known.runs
    ]
    appearances.sort(key=lambda seen: (seen.first, seen.person))
    portraits = {number: known.portrait for number, known in enumerate(order, start=1)}
    return Survey(times, shots, appearances, portraits)


class _Seen(NamedTuple):
    """One frame of a track."""

    time: Fraction
    face: Face | None
    found: bool  # False: filled in, or None
    hollow: float = 0.0  # as in ``Appearance``


class _Track:
    """A face that is being followed. Frames wait here until all that their alignment needs has come."""

    def __init__(self, number: int, shot: int, waiting: list[_Seen], samples: list[Sample]) -> None:
        faces = [seen.face for seen in waiting if seen.found and seen.face]
        self.first = number
        self.shot = shot
        self.start = waiting[0].time
        self.last = faces[-1]
        self.missing = next(k for k, seen in enumerate(reversed(waiting)) if seen.found)
        self.samples = samples
        self._waiting = waiting
        self._done = 0  # entries at the start of ``_waiting`` that were handed on and stay as neighbours
        self._parts: list[tuple[np.ndarray, ...]] = []

    @property
    def stop(self) -> int:
        """Number of the frame after the last one."""
        settled = sum(len(part[0]) for part in self._parts)
        return self.first + settled + len(self._waiting) - self._done

    def see(self, time: Fraction, face: Face, hollow: float) -> None:
        """One more frame; missing ones just before it are filled in."""
        before = self._waiting[-1 - self.missing].time
        for place in range(len(self._waiting) - self.missing, len(self._waiting)):
            moment = self._waiting[place].time
            between = _blend(self.last, face, float((moment - before) / (time - before)))
            self._waiting[place] = _Seen(moment, between, False)
        self._waiting.append(_Seen(time, face, True, hollow))
        self.last, self.missing = face, 0

    def miss(self, time: Fraction) -> None:
        """A frame in which the face was not found."""
        self._waiting.append(_Seen(time, None, False))
        self.missing += 1

    def split(self, cut: int) -> _Track | None:
        """End this track before frame ``cut``; the track from there on, if the face was found there."""
        at = len(self._waiting) - (self.stop - cut)
        after = self._waiting[at:]
        skipped = next((place for place, seen in enumerate(after) if seen.found), None)
        del self._waiting[at:]
        later = [sample for sample in self.samples if sample.number >= cut]
        self.samples = [sample for sample in self.samples if sample.number < cut]
        if skipped is None:
            return None
        return _Track(cut + skipped, cut, after[skipped:], later)

    def settle(self, framing: Framing, size: int) -> None:
        """Smooth and align the frames whose neighbours have all come, once they are many."""
        if len(self._waiting) - self._done < _BATCH:
            return
        # The last ones may still be cut off or filled in.
        ready = len(self._waiting) - (AHEAD + BRIDGED + 1)
        while ready > self._done and self._waiting[ready - 1].time > self._waiting[-1].time - _REACH_S:
            ready -= 1
        self._hand_on(ready, framing, size)
        needed = self._waiting[ready].time - _REACH_S
        while self._done and self._waiting[0].time < needed:
            del self._waiting[0]
            self._done -= 1

    def finish(self, framing: Framing, size: int) -> Run | None:
        """All of it; None if nothing is left."""
        while self._waiting and not self._waiting[-1].found:
            self._waiting.pop()
        self._hand_on(len(self._waiting), framing, size)
        if not self._parts:
            return None
        end = self._waiting[-1].time
        arrays = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        return Run(self.first, self.shot, self.start, end, *arrays)

    def _hand_on(self, ready: int, framing: Framing, size: int) -> None:
        if ready <= self._done:
            return
        timed = ((seen.time, seen.face) for seen in self._waiting)
        aligned = list(align_faces(smooth(timed), framing, size))[self._done : ready]
        faces = [one.face for one in aligned if one is not None]
        waiting = self._waiting[self._done : ready]
        hollow = [seen.hollow for seen, one in zip(waiting, aligned, strict=True) if one is not None]
        self._parts.append(
            (
                np.stack([face.landmarks for face in faces]).astype(np.float32),
                np.stack([one.to_crop for one in aligned if one is not None]),
                np.array([yaw_deg(face.mesh) for face in faces], np.float32),
                np.array([face_width(face.mesh) for face in faces], np.float32),
                np.array(hollow, np.float32),
            )
        )
        self._done = ready


def _blend(before: Face, after: Face, share: float) -> Face:
    mix = np.float32(share)
    return Face(
        before.mesh + mix * (after.mesh - before.mesh),
        before.landmarks + mix * (after.landmarks - before.landmarks),
        min(before.score, after.score),
    )


class _Room:
    """The faces that are being followed, and the people that they turned out to be."""

    def __init__(self, framing: Framing, size: int) -> None:
        self.tracks: list[_Track] = []
        self.people = People()
        self._framing = framing
        self._size = size
        self._shot = 0

    def enter(
        self,
        number: int,
        time: Fraction,
        rgb: UInt8[np.ndarray, "h w 3"],
        known: list[Face | None],
        new: list[Face | None],
        *,
        sample: bool,
    ) -> None:
        """Take in one frame.

        Args:
            known: the face of each track.
            new: other faces.
            sample: look at every face closely, to tell later who it is.
        """
        fresh = [face for face in new if face is not None]
        for track, seen in zip(self.tracks, known, strict=True):
            face = seen
            if face is None or jumps(track.last, face):
                fresh += [face] if face else []
                face = next((other for other in fresh if not jumps(track.last, other)), None)
                fresh = [other for other in fresh if other is not face]
            if face is None:
                track.miss(time)
            else:
                track.see(time, face, dark_share(rgb, face.landmarks))
        started = [
            _Track(number, self._shot, [_Seen(time, face, True, dark_share(rgb, face.landmarks))], [])
            for face in fresh
        ]
        self._end([track for track in self.tracks if track.missing > BRIDGED])
        self.tracks += started
        for track in self.tracks:
            if (sample or track in started) and not track.missing and len(track.samples) < SAMPLES:
                track.samples.append(look(number, rgb, track.last))
            track.settle(self._framing, self._size)

    def cut(self, number: int) -> None:
        """A new shot starts with frame ``number``, a few frames back: what spans it falls in two."""
        spanning = [track for track in self.tracks if track.first < number]
        after = [track.split(number) for track in spanning]
        for track in self.tracks:
            if track.first >= number:
                track.shot = number
        self._shot = number
        self._end(spanning)
        self.tracks += [track for track in after if track is not None]

    def close(self) -> None:
        """The clip is over."""
        self._end(list(self.tracks))

    def _end(self, ending: list[_Track]) -> None:
        self.tracks = [track for track in self.tracks if track not in ending]
        for track in ending:
            run = track.finish(self._framing, self._size)
            if run is not None and not (run.end - run.start < GHOST_S and self._beside_larger(run)):
                self.people.add(run, track.samples)

    def _beside_larger(self, run: Run) -> bool:
        others = [(track.first, track.stop, face_width(track.last.mesh)) for track in self.tracks]
        others += [(other.first, other.stop, other.width.mean()) for other in self.people.recent]
        width = run.width.mean()
        return any(first < run.stop and run.first < stop and size > width for first, stop, size in others)

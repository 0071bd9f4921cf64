"""What happened in one run: states, times, boxes; printed at the end and written as JSON."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from threading import Lock
from typing import Any, Literal, get_args

from keysync.clip import Cover

Box = tuple[int, int, int, int]
State = Literal["synced", "silent", "occluded", "profile", "too_small", "cut", "no_face"]
REASONS: dict[State, str] = {
    "synced": "the lips follow the speech",
    "silent": "no speech: the lips rest",
    "occluded": "something covers the mouth",
    "profile": "the head is turned too far",
    "too_small": "the face is too small",
    "cut": "the face is seen too shortly",
    "no_face": "nobody to sync is seen",
}
_BEFORE = 0.01  # share of a face: what hides less stands beside it, which is not worth a word
_ADDING = Lock()
_ORDER: tuple[State, ...] = get_args(State)  # with several people a frame counts as its best one


@dataclass(slots=True)
class Report:
    """Filled while the clip streams through."""

    model: str
    video: str = ""
    speech: str = ""
    output: str = ""
    start: Fraction = Fraction(0)  # time of the first frame, seconds
    end: Fraction = Fraction(0)  # end of the last frame shown
    speech_s: Fraction = Fraction(0)
    people: list[int] = field(default_factory=list)
    synced_people: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # choices that were made for the user
    recognised: dict[str, str] = field(default_factory=dict)  # speech -> what it was understood to say
    times: list[Fraction] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    boxes: list[Box | None] = field(default_factory=list)  # what was painted in each frame, frame pixels
    hidden: list[float | None] = field(default_factory=list)  # share of the mouth; None: nothing in front
    seconds: dict[str, float] = field(default_factory=dict)  # of compute, by stage

    @property
    def frames(self) -> int:
        return len(self.boxes)

    @property
    def synced(self) -> int:
        return sum(box is not None for box in self.boxes)

    @property
    def speech_cut_s(self) -> Fraction:
        """Seconds of speech for which there was no picture."""
        return max(self.speech_s - (self.end - self.start), Fraction(0))

    def note(self, line: str) -> None:
        self.notes.append(line)

    def add(
        self,
        moment: Fraction,
        states: Sequence[State],
        boxes: Sequence[Box],
        covers: Sequence[Cover | None] = (),
    ) -> None:
        """Note one frame: everyone's state, what was painted, what was in front."""
        before = (cover.mouth for cover in covers if cover and cover.face > _BEFORE)
        self.hidden.append(max(before, default=None))
        self.times.append(moment)
        self.states.append(min(states, key=_ORDER.index))
        around = None
        if boxes:
            x0, y0, x1, y1 = zip(*boxes, strict=True)
            around = (min(x0), min(y0), max(x1), max(y1))
        self.boxes.append(around)

    @contextmanager
    def clock(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to ``stage``; stages may run side by side."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            with _ADDING:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begin

    def spans(self) -> list[dict[str, Any]]:
        """Runs of frames in one state, by frame number and seconds, each with the reason."""
        spans: list[dict[str, Any]] = []
        for index, (state, moment, gone) in enumerate(
            zip(self.states, self.times, self._gone(), strict=True)
        ):
            if not spans or spans[-1]["state"] != state:
                spans.append(
                    {"state": state, "reason": REASONS[state], "first": index, "start_s": float(moment)}
                )
            spans[-1].update(last=index, end_s=float(gone))
        return spans

    def occluders(self) -> list[dict[str, Any]]:
        """Runs of frames with something before a face, and the largest share of the mouth that it hid."""
        spans: list[dict[str, Any]] = []
        for index, (hidden, moment, gone) in enumerate(
            zip(self.hidden, self.times, self._gone(), strict=True)
        ):
            if hidden is None:
                continue
            if not spans or spans[-1]["last"] != index - 1:
                spans.append({"first": index, "start_s": float(moment), "mouth_hidden": 0.0})
            most = max(spans[-1]["mouth_hidden"], round(hidden, 2))
            spans[-1].update(last=index, end_s=float(gone), mouth_hidden=most)
        return spans

    def _gone(self) -> list[Fraction]:
        """When each frame makes way for the next one; the last one, for the end."""
        return [*self.times[1:], self.end][: len(self.times)]

    def summary(self) -> list[str]:
        """A few lines for people: notes, then how many frames were in which state and why."""
        counts = Counter(self.states)
        lines = [f"{counts[state]} {state}: {REASONS[state]}" for state in _ORDER if counts[state]]
        kept = sum(hidden is not None for hidden in self.hidden)
        front = [f"{kept} with something before the face, which was left as it is"] if kept else []
        return [*self.notes, *(lines if len(lines) > 1 else []), *front]

    def write(self, path: Path) -> None:
        """As JSON; ``boxes`` are x0, y0, x1, y1 of the pixels that may differ from the source."""
        content = {
            "model": self.model,
            "video": self.video,
            "speech": self.speech,
            "output": self.output,
            "frames": self.frames,
            "synced": self.synced,
            "picture_s": float(self.end - self.start),
            "speech_s": float(self.speech_s),
            "speech_cut_s": float(self.speech_cut_s),
            "people": self.people,
            "synced_people": self.synced_people,
            "notes": self.notes,
            "recognised": self.recognised,
            "spans": self.spans(),
            "occluders": self.occluders(),
            "boxes": self.boxes,
            "compute_s": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
        }
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

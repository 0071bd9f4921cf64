"""What happened in one run: counts, times, boxes; printed at the end and written as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from keysync.clip import Frame

Box = tuple[int, int, int, int]


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
    times: list[Fraction] = field(default_factory=list)
    boxes: list[Box | None] = field(default_factory=list)  # what was painted in each frame, frame pixels
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

    def passed(self, frame: Frame) -> Frame:
        """Note a frame that leaves unchanged."""
        self.times.append(frame.time)
        self.boxes.append(None)
        return frame

    def painted(self, frame: Frame, box: Box) -> Frame:
        """Note a frame whose mouth was painted inside ``box``."""
        self.times.append(frame.time)
        self.boxes.append(box)
        return frame

    @contextmanager
    def clock(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to ``stage``."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begin

    def spans(self) -> list[dict[str, Any]]:
        """Runs of frames in one state, ``synced`` or ``no_face``, by frame number and seconds."""
        spans: list[dict[str, Any]] = []
        for index, (box, moment) in enumerate(zip(self.boxes, self.times, strict=True)):
            state = "no_face" if box is None else "synced"
            if not spans or spans[-1]["state"] != state:
                spans.append({"state": state, "first": index, "start_s": float(moment)})
            spans[-1].update(last=index, end_s=float(moment))
        return spans

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
            "spans": self.spans(),
            "boxes": self.boxes,
            "compute_s": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
        }
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

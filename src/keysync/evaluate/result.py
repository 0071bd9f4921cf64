"""What an evaluation found: rows of clips of numbers, what failed, what could not be run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from keysync.evaluate.lips import PhoneSpan
from keysync.evaluate.statistics import Summary, summarise

Values = dict[str, float | None]
Progress = Callable[[str, int, int | None], None]  # step, done, total


@dataclass(frozen=True, slots=True)
class Look:
    """One clip to look at in the report."""

    clip: str
    fps: float
    strips: dict[str, UInt8[np.ndarray, "h w 3"]]  # by row name, the same moments in each
    openings: dict[str, Float[np.ndarray, " t"]]  # by row name
    phones: list[PhoneSpan]


@dataclass(slots=True)
class Results:
    """Filled clip by clip."""

    about: dict[str, Any]  # what was evaluated: suite, model, seed ...
    rows: dict[str, dict[str, Values]] = field(default_factory=dict)  # row -> clip -> metric -> value
    totals: dict[str, Values] = field(default_factory=dict)  # row -> metric over the whole set
    failures: list[str] = field(default_factory=list)  # one line each
    absent: dict[str, str] = field(default_factory=dict)  # metric -> why it was not run
    looks: list[Look] = field(default_factory=list)

    def add(self, row: str, clip: str, values: Values) -> None:
        """Numbers of one clip; more of them may follow."""
        self.rows.setdefault(row, {}).setdefault(clip, {}).update(values)

    def metrics(self) -> list[str]:
        """Names in the order in which they came."""
        clips = (values for row in self.rows.values() for values in row.values())
        names = [name for values in [*clips, *self.totals.values()] for name in values]
        return list(dict.fromkeys(names))

    def summary(self, row: str, metric: str) -> Summary | None:
        """Mean and interval over the clips that have this number; None without any."""
        found = (values.get(metric) for values in self.rows.get(row, {}).values())
        known = [value for value in found if value is not None]
        if known:
            return summarise(known)
        total = self.totals.get(row, {}).get(metric)
        return None if total is None else Summary(total, None, len(self.rows[row]), total, total)

    def write(self, path: Path) -> None:
        """As JSON: ``{"rows": {row: {metric: {"mean", "ci95", "n", "lowest", "highest", "values"}}}}``."""
        rows: dict[str, dict[str, Any]] = {}
        for row, clips in self.rows.items():
            rows[row] = {}
            for metric in self.metrics():
                summary = self.summary(row, metric)
                values = {clip: _rounded(found.get(metric)) for clip, found in clips.items()}
                rows[row][metric] = (
                    None
                    if summary is None
                    else {key: _rounded(value) for key, value in asdict(summary).items()} | {"values": values}
                )
        content = {**self.about, "rows": rows, "absent": self.absent, "failures": self.failures}
        path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_rounded(part) for part in value]
    return round(value, 5) if isinstance(value, float) else value

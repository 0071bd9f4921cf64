"""A training run that can be broken off: its plan, progress, learning curve, and the file it goes on from."""

from __future__ import annotations

import csv
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import nn

from keysync.errors import ConfigError

Say = Callable[[str], None]  # shows one line
to_log: Say = logging.getLogger(__name__).info

SAVE_EVERY_S = 120  # between checkpoints, and rows of a learning curve


@contextmanager
def working_in(out: Path, plan: dict[str, Any]) -> Iterator[None]:
    """Note ``plan`` in ``out/plan.json``, a folder that is made if need be; no other run may enter.

    Raises:
        ConfigError: the folder holds another plan's work, or another run is at work there.
    """
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(FileLock(out / ".lock", blocking=False))
        except Timeout as error:
            raise ConfigError(
                f"{out}: another run is at work there; wait for its end or choose another folder"
            ) from error
        record = out / "plan.json"
        if record.exists() and json.loads(record.read_text()) != plan:
            raise ConfigError(
                f"{out}: holds another plan's work ({record.name} differs); choose another folder"
            )
        record.write_text(json.dumps(plan, indent=1) + "\n")
        yield


def processes(jobs: int | None) -> int:
    """So many; one for each core if None.

    Raises:
        ConfigError: none at all.
    """
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs is {jobs}; it must be 1 or more")
    return jobs or os.cpu_count() or 1


def duration(minutes: float) -> str:
    """To be read: minutes, from 90 of them on hours."""
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


class Progress:
    """Says how far a part of a run is, and how long the rest of it takes at the pace so far."""

    def __init__(self, say: Say, things: str, done: int, total: int) -> None:
        """``done`` of ``total`` ``things`` were there before."""
        self._say, self._things, self._before, self._total = say, things, done, total
        self._begun_s = time.monotonic()

    def tell(self, done: int, **figures: float) -> None:
        """``done`` of all are there now, more than before."""
        line = f"    {done} of {self._total} {self._things}"
        line += "".join(f", {name.replace('_', ' ')} {figure:.3f}" for name, figure in figures.items())
        spent_min = (time.monotonic() - self._begun_s) / 60
        left_min = spent_min / (done - self._before) * (self._total - done)
        if done < self._total:
            line += f"; about {duration(left_min)} left"
        self._say(line)


def note(curve: Path, step: int, seconds: float, figures: Mapping[str, float]) -> None:
    """Append a row to a learning curve, a CSV file, and draw all of it beside it as PNG.

    Args:
        seconds: that the run has taken, since it was last begun.
        figures: by name; those with the same last word, after a space, share a panel.
    """
    from matplotlib.figure import Figure

    row = {"step": step, "seconds": round(seconds)} | {name: round(v, 4) for name, v in figures.items()}
    new = not curve.exists()
    with curve.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)
    with curve.open(newline="") as file:
        rows = list(csv.DictReader(file))
    kinds = list(dict.fromkeys(name.split()[-1] for name in figures))
    across = min(len(kinds), 3)
    down = -(-len(kinds) // across)
    figure = Figure(figsize=(4 * across, 3 * down), layout="constrained")
    steps = [int(row["step"]) for row in rows]
    for place, kind in enumerate(kinds, start=1):
        axes = figure.add_subplot(down, across, place)
        for name in figures:
            if name.split()[-1] == kind:
                axes.plot(steps, [float(row[name]) for row in rows], ".-", label=name.removesuffix(kind))
        axes.set(title=kind.replace("_", " "), xlabel="step")
        axes.grid(alpha=0.3)
    lines, names = axes.get_legend_handles_labels()  # the same in every panel that has several
    if len(names) > 1:
        figure.legend(lines, names, loc="outside lower center", ncols=6)
    figure.savefig(curve.with_suffix(".png"))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that a run needs to go on, in one file that is always whole."""

    path: Path
    network: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer

    def load(self) -> dict[str, Any]:
        """Fill all three from the file; what else was saved, nothing if there is no file."""
        if not self.path.exists():
            return {}
        saved = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, part in self._parts().items():
            part.load_state_dict(saved.pop(name))
        return dict(saved)

    def save(self, step: int, **more: float) -> None:
        """Write all three, and what ``load`` gives back."""
        states = {name: part.state_dict() for name, part in self._parts().items()}
        partial = self.path.with_suffix(".partial")
        torch.save({**states, "step": step, **more}, partial)
        partial.replace(self.path)

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {"network": self.network, "average": self.average, "optimiser": self.optimiser}

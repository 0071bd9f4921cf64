"""A training run that can be broken off: the plan it keeps to, and the file from which it goes on."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from keysync.errors import ConfigError

SAVE_EVERY_S = 120  # between checkpoints, and rows of a learning curve


def keep_plan(out: Path, plan: dict[str, Any]) -> None:
    """Note ``plan`` in ``out/plan.json``, a folder that is made if need be.

    Raises:
        ConfigError: the folder holds another plan's work.
    """
    out.mkdir(parents=True, exist_ok=True)
    record = out / "plan.json"
    if record.exists() and json.loads(record.read_text()) != plan:
        raise ConfigError(f"{out}: holds another plan's work ({record.name} differs); choose another folder")
    record.write_text(json.dumps(plan, indent=1) + "\n")


def processes(jobs: int | None) -> int:
    """So many; one for each core if None.

    Raises:
        ConfigError: none at all.
    """
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs is {jobs}; it must be 1 or more")
    return jobs or os.cpu_count() or 1


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

"""The work so far, on disk beside the result: an interrupted run goes on from there.

What the networks painted is kept as latents, stretch by stretch: a few kilobytes per frame, where
decoding, pasting and encoding again is quick and gives the same file, frame for frame.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from keysync.errors import ConfigError, MediaError


def work_folder(output: Path) -> Path:
    """Where the work on ``output`` is kept until it is finished."""
    return output.with_name(output.name + ".keysync")


class Job:
    """The folder ``OUTPUT.keysync``: settings, and one file per finished stretch."""

    def __init__(self, output: Path, settings: dict[str, Any], *, resume: bool) -> None:
        """Check if there is work to go on with; ``with`` makes the folder.

        Args:
            settings: everything that decides the result, as JSON; a resumed job must agree.
        Raises:
            ConfigError: there is unfinished work and ``resume`` is false, or it is of other settings.
        """
        self.folder = work_folder(output)
        self._record = self.folder / "job.json"
        self._settings = json.dumps(settings, indent=1, sort_keys=True, default=str) + "\n"
        if self._record.exists():
            if not resume:
                raise ConfigError(
                    f"{self.folder}: holds unfinished work on {output.name}; add --resume to go on, "
                    "or delete that folder to begin anew"
                )
            if self._record.read_text(encoding="utf-8") != self._settings:
                raise ConfigError(
                    f"{self.folder}: its work is of other inputs or settings; give the same ones, "
                    "or delete that folder to begin anew"
                )

    def load(self, name: str) -> dict[str, Tensor] | None:
        """A finished stretch, or None; a damaged file counts as none."""
        path = self.folder / f"{name}.safetensors"
        if not path.exists():
            return None
        try:
            found: dict[str, Tensor] = load_file(path)
            return found
        except (SafetensorError, OSError):
            return None

    def save(self, name: str, **tensors: Float[Tensor, ...]) -> None:
        """Keep a finished stretch.

        Raises:
            MediaError: the disk is full.
        """
        path = self.folder / f"{name}.safetensors"
        partial = path.with_suffix(".partial")
        whole = {key: value.cpu().clone().contiguous() for key, value in tensors.items()}
        self._guarded(lambda: save_file(whole, partial))
        partial.replace(path)

    def __enter__(self) -> Job:
        self._guarded(lambda: self.folder.mkdir(exist_ok=True))
        partial = self._record.with_suffix(".partial")
        self._guarded(lambda: partial.write_text(self._settings, encoding="utf-8"))
        partial.replace(self._record)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Keep the folder only if there is something in it to go on from."""
        if error is None or not any(self.folder.glob("*.safetensors")):
            shutil.rmtree(self.folder)

    def _guarded(self, write: Callable[[], object]) -> None:
        try:
            write()
        except (OSError, SafetensorError) as error:
            full = getattr(error, "errno", None) == errno.ENOSPC or "No space" in str(error)
            fact = (
                "the disk is full; free some space, then the same command with --resume goes on"
                if full
                else str(error)
            )
            raise MediaError(f"{self.folder}: {fact}") from error

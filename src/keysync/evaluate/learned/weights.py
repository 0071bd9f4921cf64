"""Weight files that the user brings: where they lie, what they must be, and into which network they go."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from keysync.checkpoints import cache_folder, hash_file, user_folder
from keysync.errors import CheckpointError
from keysync.weightfile import load_into, load_safetensors

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One published file that we may neither ship nor fetch."""

    name: str
    source: str  # who publishes it
    sha256: str | None = None  # None where no hash is published

    def find(self) -> Path | None:
        """Its place in ``$KEYSYNC_MODELS`` or the cache; a ``.safetensors`` copy of that name counts too."""
        copy = Path(self.name).with_suffix(".safetensors").name
        places = (folder / name for folder in _folders() for name in (self.name, copy))
        return next((place for place in places if place.is_file()), None)

    def absent(self) -> str | None:
        """One line that says what is missing and what to do; None if the file is there."""
        if self.find() is not None:
            return None
        folders = " or ".join(str(folder) for folder in _folders())
        return f"{self.name} is not in {folders}; get it from {self.source} and put it there"

    def path(self) -> Path:
        """Its place, the published file checked against its SHA-256.

        Raises:
            CheckpointError: missing or altered. A ``.safetensors`` copy is the user's own and has no hash.
        """
        path = self.find()
        if path is None:
            raise CheckpointError(self.absent())
        if self.sha256 is not None and path.name == self.name:
            found = hash_file(path)
            if found != self.sha256:
                wanted = self.sha256[:12]
                raise CheckpointError(
                    f"{path}: SHA-256 {found[:12]}... is not the published {wanted}...; get it again"
                )
        return path

    def load(
        self,
        network: Network,
        unused: tuple[str, ...] = (),
        rename: Callable[[str], str] = lambda name: name,
    ) -> Network:
        """Fill ``network``, all of it, and make it ready to measure.

        Args:
            network: its names are those of the published file.
            unused: prefixes of the parts of the file that the metric has no use for.
            rename: name in the file -> name in the network, where a file exists in two spellings.
        Raises:
            CheckpointError: the file is missing, altered, damaged or holds anything but plain weights, or a
                weight is missing, left over or of another shape. Code inside a file is never run.
        """
        path = self.path()
        state = {rename(name): weight for name, weight in _read(path).items()}
        state = {name: weight for name, weight in state.items() if not name.startswith(unused)}
        for name, value in network.state_dict().items():
            # A counter of training steps that measuring does not read; files from before 2018 lack it.
            if name.endswith("num_batches_tracked"):
                state.setdefault(name, value)
        load_into(network, state, path)
        return network.eval().requires_grad_(False)


def _folders() -> list[Path]:
    return [folder for folder in (user_folder(), cache_folder()) if folder is not None]


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_safetensors(path)
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = (str(error).strip().splitlines() or ["no message"])[0]
        raise CheckpointError(
            f"{path}: not readable as plain weights ({reason}); use the published file or a .safetensors copy"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path}: holds no table of weights; use the published file")
    return {str(name): weight for name, weight in content.items()}

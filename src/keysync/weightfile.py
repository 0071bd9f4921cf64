"""A weight file -> a network. Only safetensors: opening a pickle runs whatever code it holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from keysync.checkpoints import hash_file
from keysync.errors import CheckpointError

MAX_WEIGHTS_BYTES = 16 * 2**30  # the largest official file is near 10 GB
PICKLE_SUFFIXES = {".pt", ".pth", ".bin", ".ckpt", ".pkl"}


def load_safetensors(
    path: Path, sha256: str | None = None, limit_bytes: int = MAX_WEIGHTS_BYTES
) -> dict[str, Tensor]:
    """Read a weight file onto the CPU.

    Args:
        sha256: the expected hash, if one is known.
        limit_bytes: refuse anything larger, before reading it.
    Raises:
        CheckpointError: missing, too large, altered, a pickle, or not a safetensors file.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weight file; check the path")
    size = path.stat().st_size
    if size > limit_bytes:
        raise CheckpointError(
            f"{path}: {size} bytes, more than the limit of {limit_bytes}; is it the right file?"
        )
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file opens with the length of its header (8 bytes), then the header, a JSON object.
    if start[8:9] != b"{":
        if path.suffix.lower() in PICKLE_SUFFIXES or start[:2] == b"PK" or start[:1] == b"\x80":
            raise CheckpointError(
                f"{path}: a pickle, it could run code when opened; convert it with `keysync models convert`"
            )
        raise CheckpointError(f"{path}: not a safetensors file; check the path")
    if sha256 is not None:
        found = hash_file(path)
        if found != sha256.lower():
            raise CheckpointError(
                f"{path}: SHA-256 {found[:12]}... is not the expected {sha256[:12]}...; get it again"
            )
    try:
        state: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged safetensors file ({error}); get it again") from error
    return state


def load_into(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Fill ``module`` with ``state``, all of it and nothing else; ``path`` is for the message only.

    Raises:
        CheckpointError: a name is missing, left over, or has another shape; the module is unchanged.
    """
    wanted = module.state_dict()
    faults = {
        "missing": [name for name in wanted if name not in state],
        "unknown": [name for name in state if name not in wanted],
        "of another shape": [
            f"{name} {tuple(state[name].shape)} instead of {tuple(wanted[name].shape)}"
            for name in wanted
            if name in state and state[name].shape != wanted[name].shape
        ],
    }
    told = [f"{len(names)} {kind} ({', '.join(names[:3])})" for kind, names in faults.items() if names]
    if told:
        network = type(module).__name__
        raise CheckpointError(f"{path}: {'; '.join(told)}; use the file that was made for {network}")
    module.load_state_dict(state)

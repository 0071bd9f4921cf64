"""A weight file -> a network. Only safetensors: opening a pickle runs whatever code it holds."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
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


def load_folder(
    kind: Any,
    folder: Path,
    device: torch.device | None = None,
    *,
    may_lack: Collection[str] = (),
    exact: bool = False,
) -> Any:
    """A network of the transformers library from ``config.json`` and ``model.safetensors``, nothing else.

    Args:
        kind: the network's class, such as ``transformers.HubertModel``.
        may_lack: weights that the file need not hold.
        exact: refuse weights that the network does not know.
    Raises:
        CheckpointError: no such folder, no safetensors in it, or its weights are not this network's.
    """
    from transformers import logging

    if not folder.is_dir():  # transformers would take the name for one to download
        raise CheckpointError(f"{folder}: no such folder; give one with config.json and model.safetensors")
    logging.set_verbosity_error()  # what it warns of, we check
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, report = kind.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise CheckpointError(
            f"{folder}: not a {kind.__name__} folder with safetensors weights ({reason}); "
            "pickled ones are never opened, convert those with `keysync models convert`"
        ) from error
    faults = {"missing": sorted(set(report["missing_keys"]) - set(may_lack))}
    if exact:
        faults["unknown"] = sorted(report["unexpected_keys"])
    for kind_of_fault, names in faults.items():
        if names:
            told = ", ".join(names[:3])
            raise CheckpointError(
                f"{folder}: {len(names)} weights of {kind.__name__} are {kind_of_fault} ({told})"
            )
    return model.to(device).eval().requires_grad_(False)

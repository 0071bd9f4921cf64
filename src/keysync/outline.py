"""What a model folder says of itself, read without loading its networks.

A folder holds ``model.json`` (sizes and settings, checked here) and one safetensors file per part. The
compact model ships inside the package; the full one is made from the official checkpoints by
``keysync models convert``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from keysync.checkpoints import cache_folder
from keysync.errors import CheckpointError
from keysync.face.crop import Framing

COMPACT = Path(__file__).parent / "weights" / "compact"


@dataclass(frozen=True, slots=True)
class Outline:
    """What is to be known of a model before it runs."""

    name: str
    kind: Literal["compact", "full"]
    image_size: int  # side of the aligned crop, pixels
    framing: Framing


def outline(choice: str | Path) -> Outline:
    """Of ``compact``, ``full``, ``auto`` or a model folder.

    Raises:
        CheckpointError: there is no such folder, or it does not describe a model.
    """
    folder = model_folder(choice)
    description = read_description(folder)
    kind = description["kind"]
    name = kind if folder == COMPACT else folder.name
    return Outline(name, kind, description["image_size"], Framing(**description["framing"]))


def model_folder(choice: str | Path) -> Path:
    """Where the chosen model's files are."""
    full = cache_folder() / "full"
    if choice == "auto":
        return full if (full / "model.json").exists() else COMPACT
    folder = {"compact": COMPACT, "full": full}.get(str(choice), Path(choice))
    if not (folder / "model.json").exists():
        raise CheckpointError(
            f"{folder}: no model there (model.json is missing); "
            "use --model compact, or make a folder with 'keysync models convert'"
        )
    return folder


def read_description(folder: Path) -> dict[str, Any]:
    """``model.json``, with every part of it there.

    Raises:
        CheckpointError: it is missing, unreadable or incomplete.
    """
    path = folder / "model.json"
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from error
    wanted = {
        "kind",
        "image_size",
        "framing",
        "layout",
        "autoencoder",
        "keyframes",
        "interpolation",
        "sha256",
    }
    if not isinstance(description, dict) or not wanted <= description.keys():
        raise CheckpointError(f"{path}: must name {', '.join(sorted(wanted))}")
    if description["kind"] not in ("compact", "full"):
        raise CheckpointError(f"{path}: kind is {description['kind']!r}; it must be compact or full")
    return description

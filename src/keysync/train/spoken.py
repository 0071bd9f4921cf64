"""What was said and what is known of it, in memory and on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float32, Int16, Int64

from keysync.train.run import Progress, Say

_BLOCK = 200  # utterances in a file: what an interrupted run may lose


@dataclass(frozen=True, slots=True)
class Said:
    """One utterance and what was said in it, without times."""

    voice: str
    samples: Int16[np.ndarray, " n"]
    phones: Int64[np.ndarray, " p"]  # place in PHONES, in order


@dataclass(frozen=True, slots=True)
class Spoken:
    """One utterance and what the network should say about each of its 20 ms."""

    voice: str
    samples: Int16[np.ndarray, " n"]
    phones: Int64[np.ndarray, " t"]  # place in PHONES
    curves: Float32[np.ndarray, "t 7"]  # CURVES, in units of CURVE_SCALES


V = TypeVar("V")
T = TypeVar("T", Said, Spoken)


def make_once(
    folder: Path,
    kind: type[T],
    make: Callable[[V, list[int]], T],
    voices: Sequence[V],
    seed: list[int],
    jobs: int,
    say: Say,
) -> list[T]:
    """``make(voice, [*seed, index])`` for each voice, or what ``folder`` holds of it from before.

    Args:
        make: of one utterance; a function that other processes can import.
        jobs: processes that make speech.
    """
    seeds = [[*seed, index] for index in range(len(voices))]
    folder.mkdir(parents=True, exist_ok=True)
    made: list[T] = []
    blocks = {start: folder / f"{start:05}.npz" for start in range(0, len(voices), _BLOCK)}
    there = sum(len(voices[start : start + _BLOCK]) for start, path in blocks.items() if path.exists())
    progress = Progress(say, f"utterances ({folder.name})", there, len(voices))
    with ProcessPoolExecutor(jobs) if jobs > 1 else nullcontext() as pool:
        for start, path in blocks.items():
            if not path.exists():
                block = slice(start, start + _BLOCK)
                save(path, list((pool.map if pool else map)(make, voices[block], seeds[block])))
                there += len(voices[block])
                progress.tell(there)
            made += load(path, kind)
    return made


def save(path: Path, spoken: Sequence[Said] | Sequence[Spoken]) -> None:
    """As npz, whole or not at all: a field of all utterances in one array, and the length of each part."""
    held: dict[str, Any] = {"voices": np.array([item.voice for item in spoken])}
    for name in _arrays(type(spoken[0])):
        parts = [getattr(item, name) for item in spoken]
        held |= {name: np.concatenate(parts), f"{name}_lengths": np.array([len(part) for part in parts])}
    partial = path.with_suffix(".part.npz")
    np.savez(partial, **held)
    partial.replace(path)


def load(path: Path, kind: type[T]) -> list[T]:
    """What ``save`` wrote."""
    with np.load(path, allow_pickle=False) as held:
        voices = [str(voice) for voice in held["voices"]]
        columns = [np.split(held[name], np.cumsum(held[f"{name}_lengths"])[:-1]) for name in _arrays(kind)]
    return [kind(*parts) for parts in zip(voices, *columns, strict=True)]


def _arrays(kind: type) -> list[str]:
    return [field.name for field in fields(kind) if field.name != "voice"]

"""When each phone of a sentence is said, by an ear that knows what is said.

An ear that has learnt from exactly timed voices places the phones of others well: those of flite's awb, which
it never heard, within 25 ms nine times in ten. So it can learn from speech that comes with its words only.

Source: Viterbi (1967); forced alignment as in any speech recogniser.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64

from keysync.audio.compact import TOKEN_HOP, CompactAudioEncoder
from keysync.synthetic.utterance import PAUSE, PHONES, RATE_HZ, VOWELS, Utterance, fill

# Share of what is heard of its kind that a phone gets; kinds are what accents and noise mistake.
_ALIKE = 0.2
_KINDS = (
    (PAUSE,),
    VOWELS,
    ("P", "B", "T", "D", "K", "G"),
    ("M", "N", "NG"),
    ("F", "V", "TH", "DH", "S", "Z", "SH", "ZH", "CH", "JH", "HH"),
    ("L", "R", "W", "Y"),
)
_SAME_KIND = np.array(
    [[any(one in kind and other in kind for kind in _KINDS) for other in PHONES] for one in PHONES],
    np.float32,
)


def align(
    network: CompactAudioEncoder, samples: Float32[np.ndarray, " n"], phones: Sequence[str]
) -> tuple[Utterance, float]:
    """Find where ``phones`` lie in sound at 16 kHz.

    Args:
        phones: all that is said, names of ``PHONES``, in order; the first one starts at 0.
    Returns:
        the utterance, and how well sound and phones agree: mean log likelihood of 20 ms, 0 at best.
    Raises:
        ValueError: the sound has fewer than 20 ms for each phone.
    """
    whole = torch.from_numpy(samples[: len(samples) // TOKEN_HOP * TOKEN_HOP])
    with torch.no_grad():
        told = torch.log_softmax(network.heads(whole[None])[0][0], dim=1).numpy()
    columns = np.array([PHONES.index(name) for name in phones])
    path = best_path(forgiving(told)[:, columns])
    agreement = float(told[np.arange(len(path)), columns[path]].mean())
    times_s = np.searchsorted(path, np.arange(len(phones))) * (TOKEN_HOP / RATE_HZ)
    timed = [(name, float(start_s)) for name, start_s in zip(phones, times_s, strict=True)]
    return Utterance(samples, RATE_HZ, fill(timed, len(samples) / RATE_HZ)), agreement


def forgiving(told: Float32[np.ndarray, "t 41"]) -> Float32[np.ndarray, "t 41"]:
    """Log likelihoods by which to look for a phone where others of its kind are heard, rather than anywhere.

    Accents and noise swap phones of a kind. Each gets ``_ALIKE`` of what is heard of all of them.
    """
    likely = np.exp(told)
    return np.asarray(np.log((1 - _ALIKE) * likely + _ALIKE * likely @ _SAME_KIND))


def best_path(
    told: Float[np.ndarray, "t n"], optional: Bool[np.ndarray, " n"] | None = None
) -> Int64[np.ndarray, " t"]:
    """The likeliest way through ``n`` states in order, each held for one step or more.

    Args:
        told: log likelihood of each state at each step.
        optional: which states may be passed over; the way then ends in whichever state is best.
    Returns:
        the state at each step.
    Raises:
        ValueError: there are fewer steps than states, none of them optional.
    """
    steps, states = told.shape
    if optional is None and steps < states:
        raise ValueError(f"{states} states do not fit into {steps} steps")
    may_pass = np.zeros(states, bool) if optional is None else optional
    best = np.full((3, states), -np.inf)  # by how far back the state before is
    best[0, 0] = told[0, 0]
    best[0, 1:2] = np.where(may_pass[:1], told[0, 1:2], -np.inf)
    came = np.zeros((steps, states), np.int8)
    for step in range(1, steps):
        best[1, 1:] = best[0, :-1]
        best[2, 2:] = np.where(may_pass[1:-1], best[0, :-2], -np.inf)
        came[step] = best.argmax(axis=0)
        best[0] = best.max(axis=0) + told[step]
    path = np.empty(steps, np.int64)
    path[-1] = states - 1 if optional is None else best[0].argmax()
    for step in range(steps - 1, 0, -1):
        path[step - 1] = path[step] - came[step, path[step]]
    return path

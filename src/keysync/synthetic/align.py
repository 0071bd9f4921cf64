"""When each phone of a sentence is said, by an ear that knows what is said.

An ear that has learnt from exactly timed voices places the phones of others well: those of flite's awb, which
it never heard, within 29 ms nine times in ten. So it can learn from speech that comes with its words only.

Source: Viterbi (1967); forced alignment as in any speech recogniser.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64

from keysync.audio.compact import TOKEN_HOP, CompactAudioEncoder
from keysync.synthetic.utterance import PHONES, RATE_HZ, Utterance, fill


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
    starts, agreement = best_path(told[:, [PHONES.index(name) for name in phones]])
    times_s = starts * (TOKEN_HOP / RATE_HZ)
    timed = [(name, float(start_s)) for name, start_s in zip(phones, times_s, strict=True)]
    return Utterance(samples, RATE_HZ, fill(timed, len(samples) / RATE_HZ)), agreement


def best_path(told: Float[np.ndarray, "t n"]) -> tuple[Int64[np.ndarray, " n"], float]:
    """The likeliest way through ``n`` states in order, each held for one step or more.

    Args:
        told: log likelihood of each state at each step.
    Returns:
        the step at which each state begins, and the mean log likelihood on the way.
    Raises:
        ValueError: there are fewer steps than states.
    """
    steps, states = told.shape
    if steps < states:
        raise ValueError(f"{states} states do not fit into {steps} steps")
    best = np.full(states, -np.inf)
    best[0] = told[0, 0]
    entered = np.zeros((steps, states), bool)
    for step in range(1, steps):
        before = np.concatenate([[-np.inf], best[:-1]])
        entered[step] = before > best
        best = np.maximum(before, best) + told[step]
    starts, state = np.zeros(states, np.int64), states - 1
    for step in range(steps - 1, 0, -1):
        if entered[step, state]:
            starts[state] = step
            state -= 1
    return starts, float(best[-1] / steps)

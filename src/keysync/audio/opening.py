"""How far a mouth that says a speech should open, as our audio encoder hears it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Float32, Float64

from keysync.audio.compact import CompactAudioEncoder
from keysync.audio.encoder import RATE_HZ
from keysync.audio.window import AudioTokens
from keysync.speech import Sound

# The compact encoder's curves that open the mouth, their places in it, and the scales that training
# divided them by (synthetic/articulate.py).
_JAW, _CLOSURE = (0, 0.12), (1, 0.40)
_FRAMES_AT_ONCE = 1500


def expected_opening(
    speech: Sound, times: Sequence[Fraction], encoder: CompactAudioEncoder
) -> Float32[np.ndarray, " frames"]:
    """How far a mouth that says ``speech`` opens at each of ``times``: 0 is closed, about 0.3 wide open.

    Read off the encoder's jaw and closure curves. NaN where there is no sound: before it, after its end,
    and everywhere if all of it is digital silence.

    Args:
        times: of the frames, seconds of the speech, in order.
        encoder: with the weights that it was trained to.
    """
    curves = np.full(len(times), np.nan, np.float32)
    end = Fraction(len(speech), RATE_HZ)
    inside = [number for number, time in enumerate(times) if 0 <= time < end]
    if not inside or speech.variance == 0:
        return curves
    tokens = AudioTokens(encoder, speech)
    for first in range(0, len(inside), _FRAMES_AT_ONCE):
        some = inside[first : first + _FRAMES_AT_ONCE]
        # The frame's own token and the one before it: between them lies the frame's very moment.
        heard = tokens.at([times[number] for number in some], 2, -1).mean(dim=1)
        with torch.no_grad():
            told = encoder.told_curves(heard)
        jaw, closure = (told[:, place].numpy() * scale for place, scale in (_JAW, _CLOSURE))
        curves[some] = opening_of(jaw.astype(np.float64), closure.astype(np.float64))
    return curves


def opening_of(
    jaw: Float64[np.ndarray, " n"], closure: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """Opening from how far the jaw is down and how tightly the lips are held together, both 0 to 1.

    Lips that are together hold the mouth shut whatever the jaw does.
    """
    return np.asarray(np.clip(jaw, 0, 1) * (1 - np.clip(closure, 0, 1)))

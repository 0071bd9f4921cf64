"""The place where speech is heard: walls that answer, and noise that was there before anyone spoke."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64
from scipy.signal import fftconvolve

from keysync.synthetic.utterance import RATE_HZ

_ECHO_S = (0.1, 0.5)  # until an echo has fallen by 60 dB
_ECHO_LEVEL = (0.1, 0.7)  # of the direct sound
_NOISE_DB = (-40.0, -8.0)  # against the speech
_TILT = (0.0, 1.0)  # exponent by which noise falls with frequency: from white to a far road


def in_room(samples: Float32[np.ndarray, " n"], rng: np.random.Generator) -> Float32[np.ndarray, " n"]:
    """Speech with echo and noise, as long as it was and at its level; times do not move.

    An echo is noise that dies away exponentially after the direct sound (Polack 1988).
    """
    white = rng.standard_normal(round(_ECHO_S[1] * RATE_HZ))
    heard = echo(samples, white, rng.uniform(*_ECHO_S), rng.uniform(*_ECHO_LEVEL))
    steady = noise(rng.standard_normal(len(samples)), rng.uniform(*_TILT))
    level = np.sqrt(np.mean(samples**2)) * 10 ** (rng.uniform(*_NOISE_DB) / 20)
    heard = heard + steady * np.float32(level)
    peak = max(float(np.abs(heard).max()), 1e-9)
    return np.asarray(heard * min(1.0, float(np.abs(samples).max()) / peak), np.float32)


def echo(
    samples: Float32[np.ndarray, " n"], white: Float64[np.ndarray, " m"], fall_s: float, level: float
) -> Float32[np.ndarray, " n"]:
    """Speech and its echo.

    Args:
        white: noise at 16 kHz as long as the echo may be heard.
        fall_s: seconds until the echo has fallen by 60 dB.
        level: of the echo against the direct sound.
    """
    walls = white * np.exp(-np.log(1e3) * np.arange(len(white)) / RATE_HZ / fall_s)
    walls *= level / np.sqrt((walls**2).sum())
    return np.asarray(samples + fftconvolve(samples, walls)[: len(samples)], np.float32)


def noise(white: Float64[np.ndarray, " n"], tilt: float) -> Float32[np.ndarray, " n"]:
    """White noise made steeper, root mean square 1; ``tilt`` 0 leaves it white, 1 is a far road."""
    spectrum = np.fft.rfft(white)
    made = np.fft.irfft(spectrum * np.arange(1, len(spectrum) + 1) ** -tilt, len(white))
    return np.asarray(made / max(float(np.sqrt(np.mean(made**2))), 1e-9), np.float32)

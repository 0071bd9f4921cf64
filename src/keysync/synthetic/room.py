"""The place where speech is heard: walls that answer, and noise that was there before anyone spoke."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from scipy.signal import fftconvolve

from keysync.synthetic.speech import RATE_HZ

_ECHO_S = (0.1, 0.5)  # until an echo has fallen by 60 dB
_ECHO_LEVEL = (0.1, 0.7)  # of the direct sound
_NOISE_DB = (-40.0, -8.0)  # against the speech
_TILT = (0.0, 1.0)  # exponent by which noise falls with frequency: from white to a far road


def in_room(samples: Float32[np.ndarray, " n"], rng: np.random.Generator) -> Float32[np.ndarray, " n"]:
    """Speech with echo and noise, as long as it was and at its level; times do not move.

    An echo is noise that dies away exponentially after the direct sound (Polack 1988).
    """
    age_s = np.arange(round(_ECHO_S[1] * RATE_HZ)) / RATE_HZ
    walls = rng.standard_normal(len(age_s)) * np.exp(-np.log(1e3) * age_s / rng.uniform(*_ECHO_S))
    walls *= rng.uniform(*_ECHO_LEVEL) / np.sqrt((walls**2).sum())
    heard = samples + fftconvolve(samples, walls)[: len(samples)]

    spectrum = np.fft.rfft(rng.standard_normal(len(samples)))
    noise = np.fft.irfft(spectrum * np.arange(1, len(spectrum) + 1) ** -rng.uniform(*_TILT), len(samples))
    level = np.sqrt(np.mean(samples**2)) * 10 ** (rng.uniform(*_NOISE_DB) / 20)
    heard = heard + noise * (level / max(float(np.sqrt(np.mean(noise**2))), 1e-9))
    peak = max(float(np.abs(heard).max()), 1e-9)
    return np.asarray(heard * min(1.0, float(np.abs(samples).max()) / peak), np.float32)

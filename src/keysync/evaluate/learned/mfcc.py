"""Sound -> the 13 cepstral coefficients that SyncNet was trained on."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64

COEFFICIENTS = 13
_RATE_HZ = 16000
_WINDOW, _HOP, _TRANSFORM = 400, 160, 512  # samples: 25 ms every 10 ms
_BANDS, _LIFTER, _PREEMPHASIS = 26, 22, 0.97


def mfcc(samples: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, "13 frames"]:
    """Mel-frequency cepstral coefficients, 100 frames a second; the first is the log energy.

    ``1 + ceil((n - 400) / 160)`` frames, 1 or more; beyond its end the sound is silent. The settings are
    those of SyncNet's training data: 16-bit sample values, pre-emphasis 0.97, square window, 26 mel bands.

    Args:
        samples: 16 kHz mono, -1 to 1.
    Source: Davis and Mermelstein 1980; liftering, Juang et al. 1987.
    """
    sound = np.rint(samples.astype(np.float64) * 32768).clip(-32768, 32767)
    sound = np.append(sound[:1], sound[1:] - _PREEMPHASIS * sound[:-1])
    frames = 1 + max(0, -(-(len(sound) - _WINDOW) // _HOP))
    padded = np.pad(sound, (0, max(0, (frames - 1) * _HOP + _WINDOW - len(sound))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][:frames]
    power = np.abs(np.fft.rfft(windows, _TRANSFORM)) ** 2 / _TRANSFORM
    bands = np.log(_no_zero(power @ _filters().T))
    order = np.arange(COEFFICIENTS)
    cosine = np.cos(np.pi * order.reshape(-1, 1) * (np.arange(_BANDS) + 0.5) / _BANDS)
    scale = np.sqrt(np.minimum(order + 1, 2) / _BANDS)
    lift = 1 + _LIFTER / 2 * np.sin(np.pi * order / _LIFTER)
    cepstrum = bands @ (cosine * (scale * lift).reshape(-1, 1)).T
    cepstrum[:, 0] = np.log(_no_zero(power.sum(axis=1)))
    return np.ascontiguousarray(cepstrum.T, np.float32)


def _no_zero(values: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Digital silence has no logarithm."""
    return np.where(values == 0, np.finfo(np.float64).eps, values)


def _filters() -> Float64[np.ndarray, "26 257"]:
    """Triangles evenly spaced on the mel scale from 0 to 8 kHz, their corners on whole bins."""
    mel = np.linspace(0, 2595 * np.log10(1 + _RATE_HZ / 2 / 700), _BANDS + 2)
    corner = np.floor((_TRANSFORM + 1) * 700 * (10 ** (mel / 2595) - 1) / _RATE_HZ).reshape(-1, 1)
    bins = np.arange(_TRANSFORM // 2 + 1)
    left, middle, right = corner[:-2], corner[1:-1], corner[2:]
    rising = (bins - left) / np.maximum(middle - left, 1)
    falling = (right - bins) / np.maximum(right - middle, 1)
    return np.asarray(np.where(bins < middle, rising, falling).clip(min=0))

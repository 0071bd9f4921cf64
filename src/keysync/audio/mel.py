"""Sound -> log-mel: how much energy each of 80 bands holds, 100 times a second.

Source: mel scale, O'Shaughnessy 1987 (2595 log10(1 + f / 700)).
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

RATE_HZ = 16000
BANDS = 80
HOP = 160  # samples from frame to frame: 10 ms
_WINDOW, _TRANSFORM = 400, 512  # samples: 25 ms, padded to a power of two
_LOWEST_HZ, _HIGHEST_HZ = 50.0, 7600.0
_FLOOR = 1e-5  # keeps the logarithm finite in digital silence


def log_mel(samples: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch frames 80"]:
    """Log-mel energies of 16 kHz sound in -1 to 1; ``ceil(n / 160)`` frames, n being 1 or more.

    Frame k is centred at ``(k + 0.5) * 10`` ms, so that two frames make up one 20 ms token exactly.
    Beyond its ends the sound is silent.
    """
    frames = -(-samples.shape[-1] // HOP)
    before = (_WINDOW - HOP) // 2  # window k then runs from 160 k - 120 to 160 k + 280
    padded = F.pad(samples, (before, frames * HOP + _WINDOW - before - samples.shape[-1]))
    windows = padded.unfold(-1, _WINDOW, HOP)[..., :frames, :] * torch.hann_window(
        _WINDOW, device=samples.device, dtype=samples.dtype
    )
    power = torch.fft.rfft(windows, _TRANSFORM).abs().square()
    return torch.log(power @ _filters().to(power) + _FLOOR)


@cache
def _filters() -> Float[Tensor, "bins 80"]:
    """Triangles of equal height, evenly spaced on the mel scale."""
    low, high = (2595 * torch.log10(torch.tensor(1 + hz / 700)) for hz in (_LOWEST_HZ, _HIGHEST_HZ))
    edges_hz = 700 * (10 ** (torch.linspace(float(low), float(high), BANDS + 2) / 2595) - 1)
    bins_hz = torch.arange(_TRANSFORM // 2 + 1)[:, None] * (RATE_HZ / _TRANSFORM)
    left, middle, right = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising, falling = (bins_hz - left) / (middle - left), (right - bins_hz) / (right - middle)
    return torch.minimum(rising, falling).clamp(min=0)

"""Log-mel bands of 16 kHz sound, 100 per second."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

RATE_HZ = 16000
BANDS = 80
HOP = 160  # samples: 10 ms
_WINDOW = 400
_TRANSFORM = 512
_RANGE_HZ = (50.0, 7600.0)
_FLOOR = 1e-5  # power; below it there is nothing but the sound card


@cache
def _filters() -> Float[Tensor, "bins bands"]:
    """Triangles whose corners are equally spaced in mel, 2595 log10(1 + f / 700) (O'Shaughnessy 1987)."""
    mel = 2595 * torch.log10(1 + torch.tensor(_RANGE_HZ) / 700)
    corners = 700 * (10 ** (torch.linspace(float(mel[0]), float(mel[1]), BANDS + 2) / 2595) - 1)
    frequency = torch.arange(_TRANSFORM // 2 + 1)[:, None] * (RATE_HZ / _TRANSFORM)
    rise = (frequency - corners[:-2]) / (corners[1:-1] - corners[:-2])
    fall = (corners[2:] - frequency) / (corners[2:] - corners[1:-1])
    return torch.minimum(rise, fall).clamp(min=0)


def log_mel(samples: Float[Tensor, "*b n"]) -> Float[Tensor, "*b t 80"]:
    """Natural log of the power in 80 bands; frame k is centred at (k + 0.5) * 10 ms.

    Gives exactly ceil(n / 320) * 2 frames: whole 20 ms tokens; past the end is silence.
    """
    frames = -(-samples.shape[-1] // (2 * HOP)) * 2
    lead = (_WINDOW - HOP) // 2
    padded = F.pad(samples, (lead, frames * HOP + _WINDOW - samples.shape[-1]))
    pieces = padded.unfold(-1, _WINDOW, HOP)[..., :frames, :]
    window = torch.hann_window(_WINDOW, device=samples.device, dtype=samples.dtype)
    power = torch.fft.rfft(pieces * window, _TRANSFORM).abs() ** 2
    return torch.log(power @ _filters().to(power) + _FLOOR)

"""Our own small audio encoder: 50 tokens per second, like HuBERT and WavLM, at a hundredth of the cost."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from keysync.audio.mel import BANDS, log_mel

_LEVEL, _SPREAD = -4.0, 3.0  # of log-mel speech: fixed, so that a chunk is heard as in the whole file
_DILATIONS = (1, 2, 4, 1, 2, 4)
_KERNEL = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactAudioConfig:
    width: int = 192
    phones: int = 41
    curves: int = 7


class _Block(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.near = nn.Conv1d(
            width, width, _KERNEL, padding=dilation * (_KERNEL // 2), dilation=dilation, groups=8
        )
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t c"]:
        h = self.near(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return x + self.narrow(F.gelu(self.widen(h)))


class CompactAudioEncoder(nn.Module):
    """Log-mel to tokens; trained to name the phone and the mouth's curves at every 20 ms."""

    # Half the receptive field: 6 blocks of dilated kernels on 20 ms tokens, plus the two mel convolutions.
    context_s = 0.02 * (sum(d * (_KERNEL // 2) for d in _DILATIONS) + 4)

    def __init__(self, config: CompactAudioConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.width
        self.enter = nn.Conv1d(BANDS, config.width, 5, padding=2)
        self.halve = nn.Conv1d(config.width, config.width, 4, stride=2, padding=1)
        self.blocks = nn.ModuleList([_Block(config.width, d) for d in _DILATIONS])
        self.norm = nn.LayerNorm(config.width)
        self.phones = nn.Linear(config.width, config.phones)
        self.curves = nn.Linear(config.width, config.curves)
        self.register_buffer("feature_mean", torch.zeros(config.width))
        self.register_buffer("feature_deviation", torch.ones(config.width))

    def hear(self, mel: Float[Tensor, "b t 80"]) -> Float[Tensor, "b s c"]:
        """Log-mel at 100 Hz to raw features at 50 Hz."""
        h = F.gelu(self.enter(((mel - _LEVEL) / _SPREAD).transpose(1, 2)))
        h = self.halve(h).transpose(1, 2)
        for block in self.blocks:
            h = block(h)
        features: Tensor = self.norm(h)
        return features

    def forward(self, samples: Float[Tensor, " n"]) -> Float[Tensor, "tokens dim"]:
        """16 kHz samples to ceil(n / 320) standardised tokens; token k is centred at (k + 0.5) * 20 ms."""
        features = self.hear(log_mel(samples)[None])[0]
        return (features - self.feature_mean) / self.feature_deviation



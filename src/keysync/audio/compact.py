"""The small audio encoder: sound -> one token per 20 ms that tells what the mouth does.

It is trained on synthetic speech to draw seven curves of the mouth and to name the phone; what it says of
both is the token. The 192 features behind those answers would tell more, but also whose voice it is, and
a video network that learns from a few hundred voices then fails on others. It looks at about 1.2 s on
each side, no further, and nothing in it depends on the length of the sound: a piece of a file gives the
tokens of the whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from keysync.audio.mel import BANDS, HOP, RATE_HZ, log_mel
from keysync.errors import ConfigError

TOKEN_HOP = 2 * HOP  # samples: 20 ms
SILENT_TAIL_S = 1  # it hears this much silence after the speech, then that for ever
# Fixed, where a clip's own mean would make a token depend on how much is heard beside it.
_MEL_MEAN, _MEL_SCALE = -4.0, 3.0
_DILATIONS = (1, 2, 4)  # of the blocks in turn
_KERNEL = 5
_TUCK = 2  # which of the curves is the lower lip under the teeth (synthetic/articulate.py)
_CHUNK_TOKENS = 3000  # one minute at a time: an hour at once would need several GB for its spectra


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactAudioConfig:
    """Sizes of the network."""

    width: int = 192  # features per token; a multiple of 8
    blocks: int = 12
    phones: int = 41
    curves: int = 7

    def __post_init__(self) -> None:
        if self.width < 8 or self.width % 8:
            raise ConfigError(f"width is {self.width}; it must be a multiple of 8")
        if min(self.blocks, self.phones) < 1:
            raise ConfigError("blocks and phones must each be 1 or more")
        if self.curves <= _TUCK:
            raise ConfigError(f"curves is {self.curves}; it must be {_TUCK + 1} or more")


class Block(nn.Module):
    """Looks to both sides in time, then mixes the features of each moment."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        reach = dilation * (_KERNEL // 2)
        self.around = nn.Conv1d(width, width, _KERNEL, padding=reach, dilation=dilation, groups=8)
        self.expand = nn.Linear(width, 2 * width)
        self.reduce = nn.Linear(2 * width, width)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """Same shape in and out."""
        heard = self.around(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return cast(Tensor, x + self.reduce(F.gelu(self.expand(heard))))


class CompactAudioEncoder(nn.Module):
    """16 kHz sound -> tokens; also the two heads it is trained with."""

    rate_hz = RATE_HZ
    token_mean: Tensor
    token_std: Tensor

    def __init__(self, config: CompactAudioConfig | None = None) -> None:
        super().__init__()
        self.config = config or CompactAudioConfig()
        width = self.config.width
        self.bands = nn.Conv1d(BANDS, width, 5, padding=2)
        self.halve = nn.Conv1d(width, width, 4, stride=2, padding=1)  # 100 -> 50 per second
        self.blocks = nn.ModuleList(
            Block(width, _DILATIONS[index % len(_DILATIONS)]) for index in range(self.config.blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.phones = nn.Linear(width, self.config.phones)
        self.curves = nn.Linear(width, self.config.curves)
        # Of the tokens over the training set; set once training is done.
        self.register_buffer("token_mean", torch.zeros(self.dim))
        self.register_buffer("token_std", torch.ones(self.dim))

    @property
    def dim(self) -> int:
        """Numbers per token: the curves, then the phones' probabilities."""
        return self.config.curves + self.config.phones

    @property
    def context_s(self) -> float:
        """How far to each side of its centre a token can hear, in seconds."""
        blocks = sum(
            (_KERNEL // 2) * _DILATIONS[index % len(_DILATIONS)] for index in range(self.config.blocks)
        )
        # Half a window of 25 ms, two frames of the first convolution, one and a half of the second.
        return 0.0125 + 0.010 * (2 + 1.5) + 0.020 * blocks

    def forward(self, samples: Float[Tensor, " n"]) -> Float[Tensor, "tokens dim"]:
        """Tokens of one sound: ``ceil(n / 320)``, token k centred at ``(k + 0.5) * 20`` ms, standardised.

        Args:
            samples: 16 kHz, mono, -1 to 1. Beyond its ends silence is assumed.
        """
        tokens = -(-len(samples) // TOKEN_HOP)
        if tokens == 0:
            return samples.new_zeros(0, self.dim)
        margin = math.ceil(self.context_s * self.rate_hz / TOKEN_HOP)
        parts = []
        for start in range(0, tokens, _CHUNK_TOKENS):
            end = min(start + _CHUNK_TOKENS, tokens)
            first, last = max(start - margin, 0), min(end + margin, tokens)
            told = self.tokens(log_mel(_whole_tokens(samples[first * TOKEN_HOP : last * TOKEN_HOP]))[None])
            parts.append(told[0, start - first : end - first])
        return torch.cat(parts)

    def tokens(self, mel: Float[Tensor, "b frames 80"]) -> Float[Tensor, "b frames//2 dim"]:
        """Standardised tokens; ``frames`` is even."""
        hidden = self.hidden(mel)
        told = torch.cat([self.curves(hidden), self.phones(hidden).softmax(dim=-1)], dim=-1)
        return (told - self.token_mean) / self.token_std

    def told_curves(self, tokens: Float[Tensor, "*n dim"]) -> Float[Tensor, "*n curves"]:
        """The curves that ``tokens`` hold, in units of their scale."""
        count = self.config.curves
        return tokens[..., :count] * self.token_std[:count] + self.token_mean[:count]

    def standard_curves(self, curves: Float[Tensor, "*n curves"]) -> Float[Tensor, "*n curves"]:
        """Curves in units of their scale, as tokens hold them."""
        count = self.config.curves
        return (curves - self.token_mean[:count]) / self.token_std[:count]

    def told_phones(self, tokens: Float[Tensor, "*n dim"]) -> Float[Tensor, "*n phones"]:
        """The probability of each phone that ``tokens`` hold."""
        count = self.config.curves
        return tokens[..., count:] * self.token_std[count:] + self.token_mean[count:]

    def half_tucked(self, tokens: Float[Tensor, "*n dim"]) -> Float[Tensor, "*n dim"]:
        """``tokens`` that ask for half as much of the lower lip under the teeth."""
        curves = self.told_curves(tokens)
        curves[..., _TUCK] *= 0.5
        return self.with_curves(tokens, curves)

    def with_curves(
        self, tokens: Float[Tensor, "*n dim"], curves: Float[Tensor, "*n curves"]
    ) -> Float[Tensor, "*n dim"]:
        """``tokens`` that hold other curves."""
        return torch.cat([self.standard_curves(curves), tokens[..., self.config.curves :]], dim=-1)

    def heads(
        self, samples: Float[Tensor, "b n"]
    ) -> tuple[Float[Tensor, "b t phones"], Float[Tensor, "b t curves"]]:
        """What training asks for: logits of the phones, and the mouth's curves in units of their scale."""
        hidden = self.hidden(log_mel(_whole_tokens(samples)))
        return self.phones(hidden), self.curves(hidden)

    def hidden(self, mel: Float[Tensor, "b frames 80"]) -> Float[Tensor, "b frames//2 dim"]:
        """What the heads look at; ``frames`` is even."""
        x = F.gelu(self.bands(((mel - _MEL_MEAN) / _MEL_SCALE).transpose(1, 2)))
        x = self.halve(x).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return cast(Tensor, self.norm(x))


def _whole_tokens(samples: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch whole"]:
    return F.pad(samples, (0, -samples.shape[-1] % TOKEN_HOP))

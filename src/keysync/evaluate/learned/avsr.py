"""The visual half of Auto-AVSR: mouth crops -> what a lip reader sees in them.

Names of modules are those of the published checkpoint, so that it loads without a table of names.

Source: Ma et al. 2023, "Auto-AVSR", arXiv:2303.14307; conformer, Gulati et al. 2020, arXiv:2005.08100;
relative positions, Dai et al. 2019, arXiv:1901.02860.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True, slots=True)
class AvsrConfig:
    """Sizes; the defaults are those of the published "base" checkpoint."""

    front: int = 64  # channels of the first convolution; the ResNet ends at 8 times as many
    width: int = 768
    heads: int = 12
    hidden: int = 3072
    blocks: int = 12
    kernel: int = 31  # frames that the conformer's convolution sees


class AvsrEncoder(nn.Module):
    """Grey mouth crops, normalised, 88x88 -> one vector per frame."""

    def __init__(self, config: AvsrConfig | None = None) -> None:
        super().__init__()
        config = config or AvsrConfig()
        self.frontend = _Frontend(config.front)
        self.proj_encoder = nn.Linear(8 * config.front, config.width)
        self.encoder = _Conformer(config)

    def forward(self, mouths: Float[Tensor, "frame h w"]) -> Float[Tensor, "frame width"]:
        features: Tensor = self.encoder(self.proj_encoder(self.frontend(mouths)))
        return features


class _Frontend(nn.Module):
    """A convolution over five frames, then a ResNet-18 on each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.frontend3D = nn.Sequential(
            nn.Conv3d(1, channels, (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False),
            nn.BatchNorm3d(channels),
            nn.SiLU(),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        )
        self.trunk = _ResNet18(channels)

    def forward(self, mouths: Float[Tensor, "frame h w"]) -> Float[Tensor, "frame c"]:
        maps = self.frontend3D(rearrange(mouths, "t h w -> 1 1 t h w"))
        features: Tensor = self.trunk(rearrange(maps, "1 c t h w -> t c h w"))
        return features


class _ResNet18(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [channels, channels, 2 * channels, 4 * channels, 8 * channels]
        for layer in range(1, 5):
            before, after = widths[layer - 1], widths[layer]
            stride = 1 if layer == 1 else 2
            pair = nn.Sequential(_Residual(before, after, stride), _Residual(after, after, 1))
            setattr(self, f"layer{layer}", pair)

    def forward(self, x: Float[Tensor, "frame c h w"]) -> Float[Tensor, "frame d"]:
        for layer in range(1, 5):
            x = getattr(self, f"layer{layer}")(x)
        return x.mean(dim=(2, 3))


class _Residual(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample: nn.Module | None = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Float[Tensor, "frame c h w"]) -> Float[Tensor, "frame d i j"]:
        skipped = x if self.downsample is None else self.downsample(x)
        x = F.silu(self.bn1(self.conv1(x)))
        return F.silu(self.bn2(self.conv2(x)) + skipped)


class _Conformer(nn.Module):
    def __init__(self, config: AvsrConfig) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(_Block(config) for _ in range(config.blocks))
        self.after_norm = _norm(config.width)

    def forward(self, x: Float[Tensor, "frame c"]) -> Float[Tensor, "frame c"]:
        places = _relative_places(len(x), x.shape[1]).to(x)
        x = x * math.sqrt(x.shape[1])
        for block in self.encoders:
            x = block(x, places)
        normed: Tensor = self.after_norm(x)
        return normed


class _Block(nn.Module):
    def __init__(self, config: AvsrConfig) -> None:
        super().__init__()
        self.self_attn = _Attention(config.width, config.heads)
        self.feed_forward = _FeedForward(config.width, config.hidden)
        self.feed_forward_macaron = _FeedForward(config.width, config.hidden)
        self.conv_module = _Convolution(config.width, config.kernel)
        self.norm_ff_macaron = _norm(config.width)
        self.norm_mha = _norm(config.width)
        self.norm_conv = _norm(config.width)
        self.norm_ff = _norm(config.width)
        self.norm_final = _norm(config.width)

    def forward(
        self, x: Float[Tensor, "frame c"], places: Float[Tensor, "2*frame-1 c"]
    ) -> Float[Tensor, "frame c"]:
        x = x + 0.5 * self.feed_forward_macaron(self.norm_ff_macaron(x))
        x = x + self.self_attn(self.norm_mha(x), places)
        x = x + self.conv_module(self.norm_conv(x))
        x = x + 0.5 * self.feed_forward(self.norm_ff(x))
        normed: Tensor = self.norm_final(x)
        return normed


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(width, hidden)
        self.w_2 = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "frame c"]) -> Float[Tensor, "frame c"]:
        out: Tensor = self.w_2(F.relu(self.w_1(x)))
        return out


class _Convolution(nn.Module):
    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.pointwise_cov1 = nn.Conv1d(width, 2 * width, 1)
        self.depthwise_conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.BatchNorm1d(width)
        self.pointwise_cov2 = nn.Conv1d(width, width, 1)

    def forward(self, x: Float[Tensor, "frame c"]) -> Float[Tensor, "frame c"]:
        gated = F.glu(self.pointwise_cov1(x.T[None]), dim=1)
        mixed = F.silu(self.norm(self.depthwise_conv(gated)))
        out: Tensor = self.pointwise_cov2(mixed)[0].T
        return out


class _Attention(nn.Module):
    """Frames attend to each other by content and by how far apart they are."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(heads, width // heads))
        self.pos_bias_v = nn.Parameter(torch.zeros(heads, width // heads))

    def forward(
        self, x: Float[Tensor, "frame c"], places: Float[Tensor, "2*frame-1 c"]
    ) -> Float[Tensor, "frame c"]:
        split = "t (n d) -> n t d"
        q, k, v = (
            rearrange(linear(x), split, n=self.heads)
            for linear in (self.linear_q, self.linear_k, self.linear_v)
        )
        p = rearrange(self.linear_pos(places), split, n=self.heads)
        content = (q + self.pos_bias_u[:, None]) @ k.transpose(1, 2)
        every = (q + self.pos_bias_v[:, None]) @ p.transpose(1, 2)
        # Row i needs the places i, i-1, ... in the order of the keys: column T-1-(i-j) for key j.
        step = torch.arange(len(x), device=x.device)
        column = len(x) - 1 - step[:, None] + step[None]
        distance = every.gather(2, column.expand(self.heads, -1, -1))
        weights = ((content + distance) / math.sqrt(q.shape[2])).softmax(dim=2)
        out: Tensor = self.linear_out(rearrange(weights @ v, "n t d -> t (n d)"))
        return out


def _norm(width: int) -> nn.LayerNorm:
    return nn.LayerNorm(width, eps=1e-12)  # as the checkpoint was trained


def _relative_places(frames: int, width: int) -> Float[Tensor, "2*{frames}-1 {width}"]:
    """Sines and cosines of the distances frames-1, ..., 0, ..., 1-frames."""
    distance = torch.arange(frames - 1, -frames, -1, dtype=torch.float32)
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000) / width))
    angle = distance[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)

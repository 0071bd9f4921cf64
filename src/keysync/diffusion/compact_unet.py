"""The compact video U-Net: both stages of the compact model, one class.

Same interface as the full networks (``diffusion/unet.py``): scaled noisy latents, noise level and
``Condition`` in, the raw network output out. What differs is size (6.7 M instead of 1.5 B) and that it
predicts the difference from a *base* picture, the reference frame, or the blend of two keyframes; the
denoiser adds the base back. Aligned crops make that difference small everywhere but around the mouth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from keysync.diffusion.condition import Condition
from keysync.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactUNetConfig:
    latent_channels: int = 32
    cells: int = 16  # latents are cells x cells
    widths: tuple[int, int, int] = (64, 128, 256)  # at cells, cells/2, cells/4
    embedding: int = 256
    audio_dim: int = 48
    audio_tokens: int = 8  # 20 ms tokens each frame hears, about 160 ms around it
    audio_width: int = 128
    heads: int = 4

    def __post_init__(self) -> None:
        if self.cells % 4:
            raise ConfigError(f"cells is {self.cells}; it must be a multiple of 4")


def _zeroed(layer: nn.Conv2d | nn.Linear | nn.Conv1d) -> nn.Conv2d | nn.Linear | nn.Conv1d:
    """Zero start: the branch begins as nothing, so a network it is added to keeps what it knows."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions steered by the frame's embedding, then a look at the frames beside it."""

    def __init__(self, inputs: int, outputs: int, embedding: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.steer = nn.Linear(embedding, 2 * outputs)
        self.norm2 = nn.GroupNorm(8, outputs)
        self.conv2 = _zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.norm_time = nn.GroupNorm(8, outputs)
        self.conv_time = _zeroed(nn.Conv1d(outputs, outputs, 3, padding=1, groups=4))

    def forward(
        self, x: Float[Tensor, "n c h w"], embedding: Float[Tensor, "n e"], frames: int
    ) -> Float[Tensor, "n d h w"]:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.steer(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        x = self.skip(x) + h
        if frames > 1:
            rows, cols = x.shape[2:]
            h = rearrange(F.silu(self.norm_time(x)), "(b t) c h w -> (b h w) c t", t=frames)
            x = x + rearrange(self.conv_time(h), "(b h w) c t -> (b t) c h w", h=rows, w=cols)
        return x


class _Attend(nn.Module):
    """Multi-head attention with a residual, queries from ``x``, keys and values from ``context``."""

    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(context, 2 * width)
        self.out = _zeroed(nn.Linear(width, width))

    def forward(
        self,
        x: Float[Tensor, "n p c"],
        context: Float[Tensor, "n s d"] | None = None,
        position: Float[Tensor, "1 p c"] | None = None,
    ) -> Float[Tensor, "n p c"]:
        normed = self.norm(x)
        if position is not None:
            normed = normed + position
        source = normed if context is None else context
        q = rearrange(self.query(normed), "n p (k d) -> n k p d", k=self.heads)
        k, v = rearrange(self.key_value(source), "n s (two k d) -> two n k s d", two=2, k=self.heads)
        heard = rearrange(F.scaled_dot_product_attention(q, k, v), "n k p d -> n p (k d)")
        return torch.add(x, self.out(heard))


class AttentionBlock(nn.Module):
    """Over the picture, to the frame's sound, and over time."""

    def __init__(self, width: int, cells: int, audio_width: int, heads: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, cells * cells, width) * 0.1)
        self.space = _Attend(width, width, heads)
        self.sound = _Attend(width, audio_width, heads)
        self.time = _Attend(width, width, heads)

    def forward(
        self, x: Float[Tensor, "n c h w"], audio: Float[Tensor, "n s d"], frames: int
    ) -> Float[Tensor, "n c h w"]:
        rows, cols = x.shape[2:]
        y = rearrange(x, "n c h w -> n (h w) c")
        y = self.space(y, position=self.position)
        y = self.sound(y, audio, position=self.position)
        if frames > 1:
            y = rearrange(y, "(b t) p c -> (b p) t c", t=frames)
            y = self.time(y)
            y = rearrange(y, "(b p) t c -> (b t) p c", p=rows * cols)
        out: Tensor = rearrange(y, "n (h w) c -> n c h w", h=rows, w=cols)
        return out


class CompactUNet(nn.Module):
    """Predicts, for every frame, how its latents differ from the base picture, given the sound."""

    def __init__(self, config: CompactUNetConfig) -> None:
        super().__init__()
        self.config = config
        low, mid, high = config.widths
        e, latent = config.embedding, config.latent_channels
        self.noise_embedding = nn.Sequential(nn.Linear(64, e), nn.SiLU(), nn.Linear(e, e))
        self.sound_embedding = nn.Sequential(
            nn.Linear(config.audio_dim * config.audio_tokens, e), nn.SiLU(), nn.Linear(e, e)
        )
        self.sound_tokens = nn.Linear(config.audio_dim, config.audio_width)
        self.sound_position = nn.Parameter(torch.randn(1, config.audio_tokens, config.audio_width) * 0.1)

        def residual(inputs: int, outputs: int) -> ResidualBlock:
            return ResidualBlock(inputs, outputs, e)

        def attention(width: int, cells: int) -> AttentionBlock:
            return AttentionBlock(width, cells, config.audio_width, config.heads)

        self.enter = nn.Conv2d(2 * latent + 1, low, 3, padding=1)
        self.down1 = residual(low, low)
        self.shrink1 = nn.Conv2d(4 * low, mid, 1)
        self.down2, self.down2_attention = residual(mid, mid), attention(mid, config.cells // 2)
        self.down3 = residual(mid, mid)
        self.shrink2 = nn.Conv2d(4 * mid, high, 1)
        self.middle1, self.middle_attention = residual(high, high), attention(high, config.cells // 4)
        self.middle2 = residual(high, high)
        self.grow2 = nn.Conv2d(high, 4 * mid, 1)
        self.up3, self.up3_attention = residual(2 * mid, mid), attention(mid, config.cells // 2)
        self.up2 = residual(2 * mid, mid)
        self.grow1 = nn.Conv2d(mid, 4 * low, 1)
        self.up1, self.up0 = residual(2 * low, low), residual(2 * low, low)
        self.leave = nn.Sequential(
            nn.GroupNorm(8, low), nn.SiLU(), _zeroed(nn.Conv2d(low, latent, 3, padding=1))
        )

    @staticmethod
    def base(told: Condition) -> Float[Tensor, "b t c h w"]:
        """The picture that the output is a difference from: the reference, or the blend of both ends."""
        frames = told.kept.shape[1]
        if told.reference.shape[1] == 1:
            return told.reference.expand(-1, frames, -1, -1, -1)
        start, end = told.reference[:, :1], told.reference[:, 1:]
        share = torch.linspace(0, 1, frames, device=start.device, dtype=start.dtype)[
            None, :, None, None, None
        ]
        return start * (1 - share) + end * share

    def forward(
        self, x: Float[Tensor, "b t c h w"], noise_level: Float[Tensor, "b t"], told: Condition
    ) -> Float[Tensor, "b t c h w"]:
        segments, frames = x.shape[:2]
        base, mask, kept = self.base(told), told.mask, told.kept
        if told.reference.shape[1] == 2:
            # The ends are given: nothing to repaint there.
            inner = torch.ones(frames, device=x.device, dtype=x.dtype)
            inner[[0, -1]] = 0
            mask = mask * inner[None, :, None, None, None]
            kept = torch.where(inner[None, :, None, None, None] > 0, kept, base)
        picture = x * mask + kept * (1 - mask)
        h0 = rearrange(torch.cat([picture, base, mask], dim=2), "b t c h w -> (b t) c h w")
        audio = told.audio if told.hear else torch.zeros_like(told.audio)
        audio = rearrange(audio, "b t s d -> (b t) s d")
        embedding = self.noise_embedding(_waves(noise_level.flatten())) + self.sound_embedding(
            audio.flatten(1)
        )
        embedding = F.silu(embedding)
        tokens = self.sound_tokens(audio) + self.sound_position

        h0 = self.enter(h0.contiguous(memory_format=torch.channels_last))
        h1 = self.down1(h0, embedding, frames)
        h2 = self.down2(self.shrink1(F.pixel_unshuffle(h1, 2)), embedding, frames)
        h2 = self.down2_attention(h2, tokens, frames)
        h3 = self.down3(h2, embedding, frames)
        h = self.middle1(self.shrink2(F.pixel_unshuffle(h3, 2)), embedding, frames)
        h = self.middle2(self.middle_attention(h, tokens, frames), embedding, frames)
        h = self.up3(torch.cat([F.pixel_shuffle(self.grow2(h), 2), h3], dim=1), embedding, frames)
        h = self.up2(torch.cat([self.up3_attention(h, tokens, frames), h2], dim=1), embedding, frames)
        h = self.up1(torch.cat([F.pixel_shuffle(self.grow1(h), 2), h1], dim=1), embedding, frames)
        h = self.leave(self.up0(torch.cat([h, h0], dim=1), embedding, frames))
        out: Tensor = rearrange(h, "(b t) c h w -> b t c h w", b=segments)
        return out


def _waves(level: Float[Tensor, " n"]) -> Float[Tensor, "n 64"]:
    frequency = torch.exp(torch.linspace(0, math.log(200), 32, device=level.device, dtype=level.dtype))
    phase = level[:, None] * frequency
    return torch.cat([phase.sin(), phase.cos()], dim=1)

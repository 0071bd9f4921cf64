"""Blocks of the full video U-Net.

Attribute names are those of the official checkpoints, so that a weight's name says where it lives in
both. Every block works on frames first and then along time, and a learned share mixes the two.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from keysync.diffusion.schedule import sinusoid


class Mixer(nn.Module):
    """Share of the picture-by-picture result against the one that has seen other frames."""

    def __init__(self) -> None:
        super().__init__()
        self.mix_factor = nn.Parameter(torch.zeros(1))

    def forward(self, spatial: Float[Tensor, "*n"], temporal: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.lerp(temporal, spatial, self.mix_factor.sigmoid())


class ResBlock(nn.Module):
    """Two convolutions with the embedding added in between; over pixels, or along time."""

    def __init__(self, inputs: int, outputs: int, embedding: int, *, time: bool = False) -> None:
        super().__init__()

        def convolution(channels: int) -> nn.Conv2d | nn.Conv3d:
            if time:
                return nn.Conv3d(channels, outputs, (3, 1, 1), padding=(1, 0, 0))
            return nn.Conv2d(channels, outputs, 3, padding=1)

        self.in_layers = nn.Sequential(nn.GroupNorm(32, inputs), nn.SiLU(), convolution(inputs))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, outputs))
        # The identity stands where the official names count a dropout that is never used.
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, outputs), nn.SiLU(), nn.Identity(), convolution(outputs)
        )
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(
        self, x: Float[Tensor, "b c *t h w"], embedding: Float[Tensor, "b *t e"]
    ) -> Float[Tensor, "b d *t h w"]:
        h = self.in_layers(x) + self.emb_layers(embedding).movedim(-1, 1)[..., None, None]
        result: Tensor = self.skip_connection(x) + self.out_layers(h)
        return result


class VideoResBlock(ResBlock):
    """A residual block over pixels, then one along time."""

    def __init__(self, inputs: int, outputs: int, embedding: int) -> None:
        super().__init__(inputs, outputs, embedding)
        self.time_stack = ResBlock(outputs, outputs, embedding, time=True)
        self.time_mixer = Mixer()

    def forward(
        self, x: Float[Tensor, "b_t c h w"], embedding: Float[Tensor, "b t e"]
    ) -> Float[Tensor, "b_t d h w"]:
        x = super().forward(x, embedding.flatten(0, 1))
        video = rearrange(x, "(b t) c h w -> b c t h w", b=len(embedding))
        moved = rearrange(self.time_stack(video, embedding), "b c t h w -> (b t) c h w")
        mixed: Tensor = self.time_mixer(x, moved)
        return mixed


class Attention(nn.Module):
    """Multi-head attention; queries from ``x``, keys and values from ``context``."""

    def __init__(self, width: int, context_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context_width, width, bias=False)
        self.to_v = nn.Linear(context_width, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, x: Float[Tensor, "n p c"], context: Float[Tensor, "n s d"]) -> Float[Tensor, "n p c"]:
        projected = (self.to_q(x), self.to_k(context), self.to_v(context))
        q, k, v = (rearrange(a, "n p (k d) -> n k p d", k=self.heads) for a in projected)
        mixed = rearrange(F.scaled_dot_product_attention(q, k, v), "n k p d -> n p (k d)")
        result: Tensor = self.to_out(mixed)
        return result


class AudioAttention(Attention):
    """Lets every pixel of every frame listen to all of its segment's sound.

    Pixels and frames alike are queries to the segment's own 14 vectors, which are projected once and
    never repeated.
    """

    def forward(
        self, x: Float[Tensor, "n p c"], heard: Float[Tensor, "b s d"] | None
    ) -> Float[Tensor, "n p c"] | Float[Tensor, " c"]:
        """``n`` counts segments times something; ``None`` is silence, whose keys and values are all 0."""
        if heard is None:
            return cast(Tensor, self.to_out[0].bias)
        return super().forward(x.reshape(len(heard), -1, x.shape[-1]), heard).view_as(x)


class Gated(nn.Module):
    """Linear to twice the width; one half gates the other."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * hidden)

    def forward(self, x: Float[Tensor, "n p c"]) -> Float[Tensor, "n p d"]:
        value, gate = self.proj(x).chunk(2, dim=-1)
        gated: Tensor = value * F.gelu(gate)
        return gated


class FeedForward(nn.Module):
    """Every pixel by itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(Gated(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x: Float[Tensor, "n p c"]) -> Float[Tensor, "n p c"]:
        result: Tensor = self.net(x)
        return result


class TransformerBlock(nn.Module):
    """Attention among the sequence, to the sound, then a feed-forward."""

    def __init__(self, width: int, heard_width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn1 = nn.LayerNorm(width), Attention(width, width, heads)
        self.norm2, self.attn2 = nn.LayerNorm(width), AudioAttention(width, heard_width, heads)
        self.norm3, self.ff = nn.LayerNorm(width), FeedForward(width)

    def forward(
        self, x: Float[Tensor, "n p c"], heard: Float[Tensor, "b s d"] | None
    ) -> Float[Tensor, "n p c"]:
        normed = self.norm1(x)
        x = x + self.attn1(normed, normed)
        x = x + self.attn2(self.norm2(x), heard)
        result: Tensor = x + self.ff(self.norm3(x))
        return result


class TimeBlock(TransformerBlock):
    """The same along time, with one more feed-forward before it."""

    def __init__(self, width: int, heard_width: int, heads: int) -> None:
        super().__init__(width, heard_width, heads)
        self.norm_in, self.ff_in = nn.LayerNorm(width), FeedForward(width)

    def forward(
        self, x: Float[Tensor, "n t c"], heard: Float[Tensor, "b s d"] | None
    ) -> Float[Tensor, "n t c"]:
        return super().forward(x + self.ff_in(self.norm_in(x)), heard)


class VideoTransformer(nn.Module):
    """Attention over each picture, then over time at each pixel."""

    def __init__(self, width: int, heard_width: int, head_width: int) -> None:
        super().__init__()
        heads = width // head_width
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.proj_in = nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(width, heard_width, heads)])
        self.time_pos_embed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width)
        )
        self.time_stack = nn.ModuleList([TimeBlock(width, heard_width, heads)])
        self.time_mixer = Mixer()
        self.proj_out = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "b_t c h w"], heard: Float[Tensor, "b s d"] | None, frames: int
    ) -> Float[Tensor, "b_t c h w"]:
        rows = x.shape[2]
        pixels = self.proj_in(rearrange(self.norm(x), "n c h w -> n (h w) c"))
        pixels = self.transformer_blocks[0](pixels, heard)
        position = sinusoid(torch.arange(frames, device=x.device).float(), x.shape[1]).to(x.dtype)
        moving = rearrange(pixels, "(b t) p c -> (b p) t c", t=frames) + self.time_pos_embed(position)
        moving = self.time_stack[0](moving, heard)
        mixed = self.time_mixer(pixels, rearrange(moving, "(b p) t c -> (b t) p c", p=pixels.shape[1]))
        result: Tensor = x + rearrange(self.proj_out(mixed), "n (h w) c -> n c h w", h=rows)
        return result


class Downsample(nn.Module):
    """Halve the picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        result: Tensor = self.op(x)
        return result


class Upsample(nn.Module):
    """Double the picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        result: Tensor = self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        return result

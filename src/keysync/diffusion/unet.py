"""The full video U-Net, and what its two stages show it.

Module names are the official ones; a stage's weights are one module: ``unet``, ``audio`` and, for
interpolation, ``learned_mask``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from keysync.diffusion.autoencoder import LATENT_SCALE
from keysync.diffusion.condition import Condition
from keysync.diffusion.layers import Downsample, Upsample, VideoResBlock, VideoTransformer
from keysync.diffusion.schedule import sinusoid
from keysync.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoUNetConfig:
    """Sizes; the defaults are the official ones (1.525 B parameters)."""

    width: int = 320  # channels at full latent size
    multipliers: tuple[int, ...] = (1, 2, 4, 4)  # of the width, at each halving
    blocks: int = 2  # residual blocks at each size
    attention_at: tuple[int, ...] = (1, 2, 4)  # how often halved, as a divisor
    head_width: int = 64
    audio_width: int = 768  # of an encoder token
    heard_width: int = 1024  # of a token after the projection
    latent_channels: int = 4
    latent_size: int = 64  # cells on a side

    def __post_init__(self) -> None:
        if self.width % 32 or self.width % self.head_width:
            raise ConfigError(
                f"width is {self.width}; it must be a multiple of 32 and of head_width {self.head_width}"
            )
        if self.blocks < 1 or not self.multipliers:
            raise ConfigError("a U-Net needs at least one block and one multiplier")


class VideoUNet(nn.Module):
    """Noisy latents of a few frames, and their sound, to a prediction per frame."""

    def __init__(self, config: VideoUNetConfig, inputs: int) -> None:
        super().__init__()
        self.config = config
        embedding = 4 * config.width

        def embed(inputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(inputs, embedding), nn.SiLU(), nn.Linear(embedding, embedding))

        def stack(inputs: int, outputs: int, halved: int) -> list[nn.Module]:
            layers: list[nn.Module] = [VideoResBlock(inputs, outputs, embedding)]
            if halved in config.attention_at:
                layers.append(VideoTransformer(outputs, config.heard_width, config.head_width))
            return layers

        self.time_embed = embed(config.width)
        self.label_emb = nn.Sequential(embed(config.heard_width))

        width = config.width
        widths = [config.width * m for m in config.multipliers]
        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(inputs, width, 3, padding=1)])])
        skips = [width]
        for level, target in enumerate(widths):
            for _ in range(config.blocks):
                self.input_blocks.append(nn.ModuleList(stack(width, target, 2**level)))
                width = target
                skips.append(width)
            if level < len(widths) - 1:
                self.input_blocks.append(nn.ModuleList([Downsample(width)]))
                skips.append(width)

        self.middle_block = nn.ModuleList(
            [
                VideoResBlock(width, width, embedding),
                VideoTransformer(width, config.heard_width, config.head_width),
                VideoResBlock(width, width, embedding),
            ]
        )

        self.output_blocks = nn.ModuleList()
        for level, target in reversed(list(enumerate(widths))):
            for block in range(config.blocks + 1):
                layers = stack(width + skips.pop(), target, 2**level)
                width = target
                if level > 0 and block == config.blocks:
                    layers.append(Upsample(width))
                self.output_blocks.append(nn.ModuleList(layers))

        self.out = nn.Sequential(
            nn.GroupNorm(32, width), nn.SiLU(), nn.Conv2d(width, config.latent_channels, 3, padding=1)
        )

    def forward(
        self,
        x: Float[Tensor, "b t i h w"],
        noise_level: Float[Tensor, "b t"],
        heard: Float[Tensor, "b t d"] | None,
    ) -> Float[Tensor, "b t c h w"]:
        """Run the network.

        Args:
            x: latents times c_in, with whatever the stage adds as channels; sides divisible by the
                U-Net's halvings.
            noise_level: log(sigma) / 4.
            heard: one projected sound vector per frame, None for silence (the same as zeros, cheaper).
        """
        segments, frames = x.shape[:2]
        embedding = self.time_embed(sinusoid(noise_level, self.config.width).to(x.dtype))
        # In silence only the biases speak, and one vector of zeros serves every frame.
        label = heard if heard is not None else x.new_zeros(1, 1, self.config.heard_width)
        embedding = embedding + self.label_emb(label)

        def run(layers: nn.Module, h: Tensor) -> Tensor:
            assert isinstance(layers, nn.ModuleList)
            for layer in layers:
                if isinstance(layer, VideoResBlock):
                    h = layer(h, embedding)
                elif isinstance(layer, VideoTransformer):
                    h = layer(h, heard, frames)
                else:
                    h = layer(h)
            return h

        h = rearrange(x, "b t i h w -> (b t) i h w")
        skips = []
        for layers in self.input_blocks:
            h = run(layers, h)
            skips.append(h)
        h = run(self.middle_block, h)
        for layers in self.output_blocks:
            h = run(layers, torch.cat([h, skips.pop()], dim=1))
        raw: Tensor = rearrange(self.out(h), "(b t) c h w -> b t c h w", b=segments)
        return raw


class _StageNetwork(nn.Module, ABC):
    """What both stages do: project the sound, add the reference as channels, run the U-Net."""

    def __init__(self, config: VideoUNetConfig, inputs: int) -> None:
        super().__init__()
        self.config = config
        self.unet = VideoUNet(config, inputs)
        self.audio: nn.Module = nn.Linear(config.audio_width, config.heard_width)

    def base(self, told: Condition) -> float:
        """Nothing: the full networks predict the whole picture."""
        del told
        return 0.0

    @abstractmethod
    def inputs(self, x: Float[Tensor, "b t c h w"], told: Condition) -> Float[Tensor, "b t i h w"]:
        """The latents with the stage's channels behind them."""

    def forward(
        self, x: Float[Tensor, "b t c h w"], noise_level: Float[Tensor, "b t"], told: Condition
    ) -> Float[Tensor, "b t c h w"]:
        weights = next(self.unet.parameters())
        heard = self.audio(told.audio.to(weights).mean(dim=2)) if told.hear else None
        raw: Tensor = self.unet(self.inputs(x, told).to(weights), noise_level, heard)
        return raw.to(x)


class KeyframeNetwork(_StageNetwork):
    """Sparse frames; each sees the identity frame."""

    def __init__(self, config: VideoUNetConfig) -> None:
        super().__init__(config, inputs=2 * config.latent_channels)

    def inputs(self, x: Float[Tensor, "b t c h w"], told: Condition) -> Float[Tensor, "b t 2*c h w"]:
        """Noisy latents, then the identity frame's at the autoencoder's own scale, or zeros."""
        seen = (told.reference / LATENT_SCALE).expand_as(x) if told.look else torch.zeros_like(x)
        return torch.cat([x, seen], dim=2)


class InterpolationNetwork(_StageNetwork):
    """The frames between two keyframes; only the first and the last frame see theirs."""

    def __init__(self, config: VideoUNetConfig) -> None:
        super().__init__(config, inputs=2 * config.latent_channels + 1)
        size = config.latent_size
        self.learned_mask = nn.Parameter(torch.zeros(config.latent_channels, size, size))

    def inputs(self, x: Float[Tensor, "b t c h w"], told: Condition) -> Float[Tensor, "b t 2*c+1 h w"]:
        """Noisy latents; start, learned filling, end; and a channel of 1 where a keyframe is given."""
        seen = self.learned_mask.to(x).expand_as(x).clone()
        given = torch.zeros_like(x[:, :, :1])
        # Without the reference the ends turn to zeros, but their channel still says "given".
        seen[:, [0, -1]] = told.reference / LATENT_SCALE * float(told.look)
        given[:, [0, -1]] = 1
        return torch.cat([x, seen, given], dim=2)

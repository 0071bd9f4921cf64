"""The compact autoencoder: linear to latents, a small network back.

Encoding is one strided convolution whose filters are the principal components of face patches, so it
costs next to nothing and needs no training; decoding is its transpose plus a network that mends what 32
numbers per 16x16 patch cannot say. Latents are standardised per channel, which puts every channel on
the scale the diffusion mathematics expects (deviation 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactAutoencoderConfig:
    channels: int = 32
    patch: int = 16  # pixels of the working picture per latent cell
    shrink: int = 2  # crop pixels per pixel of the working picture
    widths: tuple[int, int, int] = (32, 96, 192)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.conv2.weight *= 0.1  # near the identity at the start: no normalisation layers needed

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return torch.add(x, self.conv2(F.silu(self.conv1(F.silu(x)))))


class CompactAutoencoder(nn.Module):
    """Pixels to standardised latents and back; see ``Autoencoder`` for the contract."""

    latent_mean: Tensor
    latent_deviation: Tensor

    def __init__(self, config: CompactAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.channels
        self.factor = config.patch * config.shrink
        low, mid, high = config.widths
        self.components = nn.Parameter(torch.zeros(config.channels, 3, config.patch, config.patch))
        self.register_buffer("latent_mean", torch.zeros(config.channels))
        self.register_buffer("latent_deviation", torch.ones(config.channels))
        self.mend = nn.Sequential(
            nn.Conv2d(config.channels, high, 3, padding=1),
            _Residual(high),
            _Residual(high),
            nn.SiLU(),
            nn.Conv2d(high, 4 * mid, 1),
            nn.PixelShuffle(2),
            _Residual(mid),
            _Residual(mid),
            nn.SiLU(),
            nn.Conv2d(mid, 4 * low, 3, padding=1),
            nn.PixelShuffle(2),
            _Residual(low),
            _Residual(low),
            nn.SiLU(),
        )
        self.paint = nn.Conv2d(low, 48, 3, padding=1)
        nn.init.zeros_(self.paint.weight)
        nn.init.zeros_(self.paint.bias)  # type: ignore[arg-type]

    def shrink(self, images: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n 3 h w"]:
        """Crop to working picture: area mean."""
        return F.avg_pool2d(images, self.config.shrink) if self.config.shrink > 1 else images

    def encode_working(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c y x"]:
        """Working pictures in -1..1 to standardised latents."""
        z = F.conv2d(pictures, self.components, stride=self.config.patch)
        return (z - self.latent_mean[:, None, None]) / self.latent_deviation[:, None, None]

    def decode_working(self, latents: Float[Tensor, "n c y x"]) -> Float[Tensor, "n 3 h w"]:
        """Standardised latents to working pictures, about -1..1, not clipped."""
        z = latents * self.latent_deviation[:, None, None] + self.latent_mean[:, None, None]
        linear = F.conv_transpose2d(z, self.components, stride=self.config.patch)
        mended = self.paint(self.mend(latents.contiguous(memory_format=torch.channels_last)))
        return linear + F.pixel_shuffle(mended, 4)

    def encode(
        self, images: Float[Tensor, "n 3 H W"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "n c y x"]:
        """Crops in -1..1 to latents. Deterministic: ``generator`` is part of the contract, not used."""
        del generator
        return self.encode_working(self.shrink(images))

    def decode(self, latents: Float[Tensor, "n c y x"]) -> Float[Tensor, "n 3 H W"]:
        """Latents to crops, about -1..1."""
        pictures = self.decode_working(latents)
        if self.config.shrink == 1:
            return pictures
        return F.interpolate(pictures, scale_factor=self.config.shrink, mode="bicubic", align_corners=False)

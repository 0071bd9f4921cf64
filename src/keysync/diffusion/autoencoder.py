"""Pixels to latents and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

# Brings Stable Video Diffusion's latents to a deviation near 1 (Rombach et al. 2022, arXiv:2112.10752).
LATENT_SCALE = 0.18215


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a decoder may look at besides the latents; nothing of the old mouth of these frames."""

    reference: Float[Tensor, "n 3 H W"]  # another frame of the same person, -1..1
    kept: Float[Tensor, "n 3 H W"]  # the frames themselves, 0 where they are repainted
    mask: Float[Tensor, "n 1 H W"]  # 1 = repaint


def to_image(picture: UInt8[np.ndarray, "h w 3"], device: torch.device) -> Float[Tensor, "1 3 h w"]:
    """An RGB picture as autoencoders take it: -1 to 1."""
    # Each colour in a plane of its own: all that follows is twice as fast.
    planes = torch.from_numpy(picture).to(device).permute(2, 0, 1)[None].contiguous()
    return planes.float().div_(127.5).sub_(1)


@runtime_checkable
class Autoencoder(Protocol):
    """What every autoencoder offers; latents have a deviation near 1."""

    @property
    def channels(self) -> int:
        """Numbers per latent cell."""
        ...

    @property
    def factor(self) -> int:
        """Pixels on a side of a latent cell."""
        ...

    @property
    def softness(self) -> float:
        """How much the fine detail that it decodes lacks, as a share of what there is."""
        ...

    def encode(
        self, images: Float[Tensor, "n 3 H W"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "n c h w"]:
        """Images in -1..1 to latents; with a generator, a random draw where the encoder is random."""
        ...

    def decode(
        self, latents: Float[Tensor, "n c h w"], around: Surroundings | None = None
    ) -> Float[Tensor, "n 3 H W"]:
        """Latents to images, about -1..1, not clipped; with ``around`` only the repainted part counts."""
        ...


class TemporalAutoencoder(nn.Module):
    """Stable Video Diffusion's autoencoder; the defaults are its sizes.

    Every frame is decoded by itself. Its temporal convolutions then see nothing but padding, which is how
    the reference trained and ran it; frames can be decoded in any order and batch.
    """

    channels = 4
    softness = 0.0

    def __init__(
        self, widths: tuple[int, ...] | list[int] = (128, 256, 512, 512), blocks: int = 2, rows: int = 4
    ) -> None:
        """``blocks`` residual blocks at each size (one more in the decoder); ``rows`` images at once."""
        super().__init__()
        # Here and not above: the compact model never pays for this import.
        from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder

        self.factor = 2 ** (len(widths) - 1)
        self.rows = rows
        self.vae = AutoencoderKLTemporalDecoder(
            down_block_types=["DownEncoderBlock2D"] * len(widths),
            block_out_channels=list(widths),
            layers_per_block=blocks,
            latent_channels=self.channels,
            scaling_factor=LATENT_SCALE,
        )

    def encode(
        self, images: Float[Tensor, "n 3 H W"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "n c h w"]:
        """Images in -1..1 to scaled latents: the likeliest ones, or a draw if there is a generator."""
        parts = []
        for part in torch.split(images.to(self.vae.dtype), self.rows):
            posterior = self.vae.encode(part).latent_dist
            parts.append(posterior.mode() if generator is None else posterior.sample(generator))
        return torch.cat(parts).to(images) * LATENT_SCALE

    def decode(
        self, latents: Float[Tensor, "n c h w"], around: Surroundings | None = None
    ) -> Float[Tensor, "n 3 H W"]:
        """Scaled latents to images, about -1..1, not clipped. ``around`` is in the contract, not used."""
        del around
        parts = torch.split((latents / LATENT_SCALE).to(self.vae.dtype), self.rows)
        return torch.cat([self.vae.decode(part, num_frames=1).sample for part in parts]).to(latents)

"""The reference's training loss: error of the clean estimate in latents, and in pixels of a few frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from keysync.diffusion.condition import Condition
from keysync.diffusion.denoiser import Denoiser
from keysync.diffusion.schedule import loss_weight
from keysync.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """What counts how much; the defaults are the reference's for keyframes."""

    noise_mean: float = 1.0  # of log sigma
    noise_deviation: float = 1.2
    kind: Literal["l1", "l2"] = "l2"
    upper: float = 1.0  # extra weight of the upper half of the latent rows
    lower: float = 1.0  # ... and of the lower half, where the mouth is
    pixel_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in ("l1", "l2"):
            raise ConfigError(f"loss kind is {self.kind!r}; it must be l1 or l2")
        if min(self.noise_deviation, self.upper, self.lower, self.pixel_weight) < 0:
            raise ConfigError("noise_deviation, upper, lower and pixel_weight must not be negative")


@dataclass(frozen=True, slots=True)
class PixelTarget:
    """Frames whose decoded pixels are compared too."""

    frames: Int[Tensor, " k"]  # positions in the segment, the same in every segment
    pictures: Float[Tensor, "b k 3 H W"]  # the true ones, -1..1
    decode: Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n 3 H W"]]  # of scaled latents


class Losses(NamedTuple):
    """Train on the mean of ``total``; the others are its two terms, weights included."""

    total: Float[Tensor, "b t"]
    latent: Float[Tensor, "b t"]
    pixel: Float[Tensor, ""]


def draw_sigmas(normal: Float[Tensor, " b"], config: LossConfig) -> Float[Tensor, " b"]:
    """Noise levels, one per segment, from standard normal numbers."""
    return (config.noise_mean + config.noise_deviation * normal).exp()


def draw_frames(frames: int, count: int, generator: torch.Generator) -> Int[Tensor, " count"]:
    """Which frames the pixel term looks at."""
    return torch.randperm(frames, generator=generator)[:count]


def diffusion_loss(
    denoiser: Denoiser,
    target: Float[Tensor, "b t c h w"],
    told: Condition,
    sigma: Float[Tensor, " b"],
    noise: Float[Tensor, "b t c h w"],
    config: LossConfig,
    seen: PixelTarget | None = None,
) -> Losses:
    """Error of the estimate made from ``target`` with ``noise`` at ``sigma``.

    The kept region is exact by construction: it adds zeros, but counts in the mean, so a small mask
    means a small loss.
    """
    weight = loss_weight(sigma)[:, None, None, None, None]
    clean = denoiser.denoise(
        target + sigma[:, None, None, None, None] * noise, sigma[:, None].expand(target.shape[:2]), told
    )
    error = (clean - target).abs() if config.kind == "l1" else (clean - target) ** 2
    rows = torch.full((target.shape[-2], 1), config.lower, device=target.device)
    rows[: target.shape[-2] // 2] = config.upper
    latent = (weight * error * rows).mean(dim=(2, 3, 4))
    if seen is None:
        return Losses(latent, latent, latent.new_zeros(()))

    images = seen.decode(clean[:, seen.frames].flatten(0, 1)).clamp(-1, 1)
    pixel = config.pixel_weight * (weight * (images.view_as(seen.pictures) - seen.pictures) ** 2).mean()
    return Losses(latent + pixel, latent, pixel)

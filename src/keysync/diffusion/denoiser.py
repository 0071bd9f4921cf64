"""From a network's raw output to an estimate of the clean latents, with the kept region kept."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from keysync.diffusion.condition import Condition
from keysync.diffusion.schedule import scalings


@runtime_checkable
class VideoNetwork(Protocol):
    """A network that looks at noisy latents of B segments of T frames.

    Called with the latents times c_in, the noise level as c_noise = log(sigma) / 4, and the condition;
    gives F, which the denoiser turns into clean latents.
    """

    def __call__(
        self, x: Float[Tensor, "b t c h w"], noise_level: Float[Tensor, "b t"], told: Condition, /
    ) -> Float[Tensor, "b t c h w"]: ...

    def base(self, told: Condition, /) -> Float[Tensor, "b t c h w"] | float:
        """Latents that the prediction is a difference from; 0.0 for a network that predicts it all."""
        ...


class Denoiser:
    """Estimates clean latents; outside the mask they are the input video's, exactly."""

    def __init__(self, network: VideoNetwork) -> None:
        self.network = network

    def denoise(
        self, x: Float[Tensor, "b t c h w"], sigma: Float[Tensor, ""] | Float[Tensor, "b t"], told: Condition
    ) -> Float[Tensor, "b t c h w"]:
        """Denoise ``x`` at noise level ``sigma``, one for all or one per frame.

        The network sees the kept region clean: that is how it was trained, and how the repainted region
        learns what it must join.
        """
        sigma = sigma.expand(x.shape[:2])
        factors = scalings(sigma)
        c_skip, c_out, c_in = (f[:, :, None, None, None] for f in factors[:3])
        base = self.network.base(told)
        seen = x * told.mask + told.kept * (1 - told.mask) - base
        raw = self.network(seen * c_in, factors.c_noise, told)
        clean = raw * c_out + seen * c_skip + base
        return clean * told.mask + told.kept * (1 - told.mask)

"""From noise to latents."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

Denoise = Callable[[Float[Tensor, "b t c h w"], Float[Tensor, ""]], Float[Tensor, "b t c h w"]]


def euler_step(
    denoise: Denoise, x: Float[Tensor, "b t c h w"], sigma: Float[Tensor, ""], sigma_next: Float[Tensor, ""]
) -> Float[Tensor, "b t c h w"]:
    """Follow the line from ``x`` to its clean estimate until ``sigma_next``."""
    slope = (x - denoise(x, sigma)) / sigma
    return x + (sigma_next - sigma) * slope


def euler(
    denoise: Denoise,
    noise: Float[Tensor, "b t c h w"],
    sigmas: Float[Tensor, " n"],
    on_step: Callable[[int, Float[Tensor, "b t c h w"]], None] | None = None,
) -> Float[Tensor, "b t c h w"]:
    """Sample with Euler steps over n - 1 intervals.

    Args:
        denoise: clean estimate of ``x`` at a noise level.
        noise: standard normal.
        sigmas: falling noise levels, trailing 0 included.
        on_step: told the number of steps done, from 1, and the latents after that step.
    Source: Karras et al. 2022, arXiv:2206.00364, algorithm 1 without the second-order correction.
    """
    x = noise * (1 + sigmas[0] ** 2).sqrt()
    for i in range(len(sigmas) - 1):
        x = euler_step(denoise, x, sigmas[i], sigmas[i + 1])
        if on_step is not None:
            on_step(i + 1, x)
    return x

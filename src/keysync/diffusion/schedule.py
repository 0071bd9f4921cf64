"""Noise levels: which ones a sampler visits, and how a network's input and output scale with them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from keysync.errors import ConfigError

# "Align Your Steps" (Sabour et al. 2024, arXiv:2404.14507), the table for Stable Video Diffusion.
AYS_SIGMAS = (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002)


def ays_sigmas(steps: int) -> Float[Tensor, " n"]:
    """Falling noise levels with a trailing 0, float32, from the "Align Your Steps" table.

    10 steps and 11 both give the table itself, hence 11 network evaluations: the reference counts the
    gaps between its levels and leaves out the last one, down to 0. More steps interpolate log sigma.

    Raises:
        ConfigError: fewer than 10 steps; the table cannot be thinned.
    """
    if steps < 10:
        raise ConfigError(f"steps is {steps}; this schedule needs 10 or more")
    known = torch.tensor(AYS_SIGMAS, dtype=torch.float64).log()
    place = torch.linspace(0, len(known) - 1, max(steps, len(known)), dtype=torch.float64)
    left = place.long().clamp(max=len(known) - 2)
    sigmas = torch.lerp(known[left], known[left + 1], place - left).exp()
    return torch.cat([sigmas, sigmas.new_zeros(1)]).float()


def power_sigmas(steps: int, sigma_max: float, sigma_min: float, rho: float) -> Float[Tensor, " n"]:
    """``steps`` levels evenly spaced in sigma ** (1 / rho), then a trailing 0; float32.

    Source: Karras et al. 2022, arXiv:2206.00364, equation 5.

    Raises:
        ConfigError: no step, or levels that do not fall.
    """
    if steps < 1:
        raise ConfigError(f"steps is {steps}; it must be 1 or more")
    if not 0 < sigma_min < sigma_max or rho <= 0:
        raise ConfigError(
            f"sigma_min {sigma_min}, sigma_max {sigma_max}, rho {rho}: need 0 < min < max, rho > 0"
        )
    ramp = torch.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), steps, dtype=torch.float64)
    return torch.cat([ramp**rho, ramp.new_zeros(1)]).float()


class Scalings(NamedTuple):
    """D(x) = c_skip * x + c_out * network(c_in * x, c_noise)."""

    c_skip: Float[Tensor, "*n"]
    c_out: Float[Tensor, "*n"]
    c_in: Float[Tensor, "*n"]
    c_noise: Float[Tensor, "*n"]


def scalings(sigma: Float[Tensor, "*n"]) -> Scalings:
    """Factors for a network that predicts "v" for data of deviation 1.

    Source: Salimans and Ho 2022, arXiv:2202.00512, in the form of Karras et al. 2022.
    """
    spread = (sigma**2 + 1).sqrt()
    return Scalings(c_skip=1 / spread**2, c_out=-sigma / spread, c_in=1 / spread, c_noise=sigma.log() / 4)


def loss_weight(sigma: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Makes the error of D count alike at every noise level: 1 / c_out squared."""
    return (sigma**2 + 1) / sigma**2


def sinusoid(value: Float[Tensor, "*n"], width: int) -> Float[Tensor, "*n {width}"]:
    """Cosines, then sines, of ``value`` at ``width`` / 2 falling frequencies from 1 to 1/10000."""
    half = width // 2
    frequency = torch.exp(torch.arange(half, device=value.device) * (-math.log(10000) / half))
    phase = value.float()[..., None] * frequency
    return torch.cat([phase.cos(), phase.sin()], dim=-1)

from __future__ import annotations

import torch
from torch import Tensor

from keysync.diffusion.sampler import euler, euler_step
from keysync.diffusion.schedule import ays_sigmas, power_sigmas

NOISE = torch.randn(1, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_denoiser_that_knows_the_answer_leads_to_it() -> None:
    answer = torch.randn(NOISE.shape, generator=torch.Generator().manual_seed(1))
    done = euler(lambda _x, _sigma: answer, NOISE, ays_sigmas(10))
    torch.testing.assert_close(done, answer)


def test_for_normal_data_sampling_keeps_normal_noise_normal() -> None:
    # Data of deviation 1 have the exact estimate x / (sigma^2 + 1), and the exact path ends at the noise.
    done = euler(lambda x, sigma: x / (sigma**2 + 1), NOISE, power_sigmas(400, 80.0, 0.002, 7.0))
    torch.testing.assert_close(done, NOISE, rtol=0.03, atol=0)


def test_every_step_is_reported_once_with_its_latents() -> None:
    steps: list[int] = []
    latents: list[Tensor] = []

    def note(step: int, x: Tensor) -> None:
        steps.append(step)
        latents.append(x)

    sigmas = power_sigmas(5, 20.0, 0.05, 3.0)
    done = euler(lambda x, _sigma: 0 * x, NOISE, sigmas, note)
    assert steps == [1, 2, 3, 4, 5]
    assert torch.equal(latents[-1], done)
    torch.testing.assert_close(
        latents[1], euler_step(lambda x, _sigma: 0 * x, latents[0], sigmas[1], sigmas[2])
    )

from __future__ import annotations

import pytest
import torch

from keysync.diffusion.schedule import AYS_SIGMAS, ays_sigmas, loss_weight, power_sigmas, scalings, sinusoid
from keysync.errors import ConfigError


@pytest.mark.parametrize("steps", [10, 11, 17, 40])
def test_ays_levels_fall_from_the_first_to_the_last_of_the_table_and_then_to_nothing(steps: int) -> None:
    sigmas = ays_sigmas(steps)
    assert len(sigmas) == max(steps, 11) + 1
    torch.testing.assert_close(sigmas[[0, -2, -1]], torch.tensor([700.0, 0.002, 0.0]))
    assert (sigmas.diff() < 0).all()


def test_ten_steps_are_the_table_itself() -> None:
    torch.testing.assert_close(ays_sigmas(10)[:-1], torch.tensor(AYS_SIGMAS))


def test_power_levels_are_even_in_their_root() -> None:
    sigmas = power_sigmas(6, 20.0, 0.05, 3.0)
    gaps = sigmas[:-1].pow(1 / 3).diff()
    torch.testing.assert_close(gaps, gaps[:1].expand(5), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sigmas[[0, -2, -1]], torch.tensor([20.0, 0.05, 0.0]))
    assert power_sigmas(1, 20.0, 0.05, 3.0).tolist() == [pytest.approx(20), 0]


@pytest.mark.parametrize(("steps", "high", "low"), [(0, 20.0, 0.05), (3, 0.05, 20.0), (3, 20.0, 0.0)])
def test_impossible_power_levels_are_refused(steps: int, high: float, low: float) -> None:
    with pytest.raises(ConfigError):
        power_sigmas(steps, high, low, 3.0)


def test_a_perfect_network_gives_the_clean_latents_back() -> None:
    sigma = torch.tensor([0.01, 1.0, 50.0], dtype=torch.float64)
    clean, noise = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    c_skip, c_out, c_in, _ = scalings(sigma)
    noisy = clean + sigma * noise
    v = (noise - sigma * clean) * c_in
    torch.testing.assert_close(noisy * c_skip + v * c_out, clean)
    torch.testing.assert_close(loss_weight(sigma), 1 / c_out**2)


def test_sinusoid_of_zero_is_ones_then_zeros() -> None:
    assert sinusoid(torch.zeros(1), 6).tolist() == [[1, 1, 1, 0, 0, 0]]

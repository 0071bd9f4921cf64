from __future__ import annotations

import pytest
import torch
from torch import Tensor

from keysync.diffusion.condition import Condition
from keysync.diffusion.denoiser import Denoiser
from keysync.errors import ConfigError
from keysync.train.loss import LossConfig, PixelTarget, diffusion_loss, draw_frames, draw_sigmas

GENERATOR = torch.Generator().manual_seed(0)
TARGET, NOISE = torch.randn(2, 2, 3, 4, 8, 8, generator=GENERATOR)
SIGMA = torch.tensor([0.5, 4.0])


class Off(Denoiser):
    """Misses the truth by a fixed amount."""

    def __init__(self, error: Tensor) -> None:
        self.error = error

    def denoise(self, x: Tensor, sigma: Tensor, told: Condition) -> Tensor:
        return x - sigma[..., None, None, None] * NOISE + self.error * told.mask


def told(mask: Tensor | None = None) -> Condition:
    everything = torch.ones(2, 3, 1, 8, 8)
    return Condition(torch.zeros(2, 3, 2, 7), TARGET[:, :1], TARGET, everything if mask is None else mask)


def test_the_same_error_weighs_more_at_low_noise() -> None:
    losses = diffusion_loss(Off(torch.tensor(0.1)), TARGET, told(), SIGMA, NOISE, LossConfig())
    expected = (0.01 * (SIGMA**2 + 1) / SIGMA**2)[:, None].expand(2, 3)
    torch.testing.assert_close(losses.total, expected, rtol=1e-3, atol=1e-5)
    assert losses.pixel == 0


def test_l1_takes_the_distance_itself() -> None:
    losses = diffusion_loss(Off(torch.tensor(0.1)), TARGET, told(), SIGMA, NOISE, LossConfig(kind="l1"))
    expected = (0.1 * (SIGMA**2 + 1) / SIGMA**2)[:, None].expand(2, 3)
    torch.testing.assert_close(losses.total, expected, rtol=1e-3, atol=1e-5)


def test_a_mask_over_half_the_picture_halves_the_loss() -> None:
    mask = torch.ones(2, 3, 1, 8, 8)
    mask[..., :4] = 0
    whole = diffusion_loss(Off(torch.tensor(0.1)), TARGET, told(), SIGMA, NOISE, LossConfig())
    half = diffusion_loss(Off(torch.tensor(0.1)), TARGET, told(mask), SIGMA, NOISE, LossConfig())
    torch.testing.assert_close(half.total, whole.total / 2, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("upper", "lower", "factor"), [(1.0, 3.0, 3), (3.0, 1.0, 1)])
def test_lower_and_upper_weigh_their_own_rows(upper: float, lower: float, factor: float) -> None:
    error = torch.zeros(8, 1)
    error[4:] = 0.1  # only the lower rows are wrong
    plain = diffusion_loss(Off(error), TARGET, told(), SIGMA, NOISE, LossConfig())
    config = LossConfig(upper=upper, lower=lower)
    weighted = diffusion_loss(Off(error), TARGET, told(), SIGMA, NOISE, config)
    torch.testing.assert_close(weighted.total, plain.total * factor, rtol=1e-3, atol=1e-5)


def test_pixels_are_compared_on_the_frames_shown_only_and_clipped() -> None:
    frames = torch.tensor([2, 0])
    pictures = TARGET[:, frames, :3].clamp(-1, 1)
    seen = PixelTarget(frames, pictures, lambda latents: latents[:, :3] * 1.0)
    error = torch.zeros(1, 3, 1, 1, 1)
    error[:, 1] = 5  # on the frame that is not shown
    losses = diffusion_loss(Off(error), TARGET, told(), SIGMA, NOISE, LossConfig(), seen)
    assert losses.pixel < 1e-9, "clipping hides what lies beyond black and white"
    wrong = PixelTarget(frames, pictures - 0.1, seen.decode)
    config = LossConfig(pixel_weight=2.0)
    losses = diffusion_loss(Off(error), TARGET, told(), SIGMA, NOISE, config, wrong)
    expected = 2 * 0.01 * ((SIGMA**2 + 1) / SIGMA**2).mean()
    torch.testing.assert_close(losses.pixel, expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(losses.total, losses.latent + losses.pixel)


def test_drawn_noise_levels_follow_their_distribution() -> None:
    drawn = draw_sigmas(torch.tensor([0.0, 1.0]), LossConfig(noise_mean=1.0, noise_deviation=1.2))
    torch.testing.assert_close(drawn.log(), torch.tensor([1.0, 2.2]))


def test_drawn_frames_differ_and_repeat_with_the_seed() -> None:
    drawn = draw_frames(14, 5, torch.Generator().manual_seed(3))
    assert len(set(drawn.tolist())) == 5
    assert torch.equal(drawn, draw_frames(14, 5, torch.Generator().manual_seed(3)))


def test_negative_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match="negative"):
        LossConfig(lower=-1.0)

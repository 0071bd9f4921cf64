from __future__ import annotations

import torch
from torch import Tensor

from keysync.diffusion.condition import Condition
from keysync.diffusion.denoiser import Denoiser
from keysync.diffusion.schedule import scalings


class Recorder:
    """A network that notes what it is shown and answers with a constant."""

    def __init__(self, base: Tensor | float = 0.0, answer: float = 0.5) -> None:
        self.offset, self.answer = base, answer

    def base(self, _told: Condition) -> Tensor | float:
        return self.offset

    def __call__(self, x: Tensor, noise_level: Tensor, _told: Condition) -> Tensor:
        self.x, self.noise_level = x, noise_level
        return torch.full_like(x, self.answer)


def example(seed: int = 0) -> tuple[Tensor, Condition]:
    generator = torch.Generator().manual_seed(seed)
    x, kept = torch.randn(2, 2, 3, 4, 8, 8, generator=generator)
    mask = (torch.rand(2, 3, 1, 8, 8, generator=generator) > 0.5).float()
    return x, Condition(torch.zeros(2, 3, 2, 7), kept[:, :1], kept, mask)


def test_the_kept_region_comes_back_exactly_and_is_shown_clean() -> None:
    x, told = example()
    network = Recorder()
    sigma = torch.tensor(3.0)
    clean = Denoiser(network).denoise(x, sigma, told)
    keep = told.mask.expand_as(x) == 0
    assert torch.equal(clean[keep], told.kept[keep])
    torch.testing.assert_close(network.x[keep], told.kept[keep] * scalings(sigma).c_in)
    torch.testing.assert_close(network.noise_level, (sigma.log() / 4).expand(2, 3))


def test_repainted_region_is_the_answer_and_the_input_weighed_by_noise() -> None:
    x, told = example()
    sigma = torch.tensor([[0.1, 1.0, 10.0], [2.0, 2.0, 2.0]])
    clean = Denoiser(Recorder()).denoise(x, sigma, told)
    c_skip, c_out, _, _ = scalings(sigma)
    expected = 0.5 * c_out[..., None, None, None] + x * c_skip[..., None, None, None]
    paint = told.mask.expand_as(x) == 1
    torch.testing.assert_close(clean[paint], expected[paint])


def test_a_base_picture_only_moves_the_origin() -> None:
    x, told = example()
    base = torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
    sigma = torch.tensor(2.0)
    moved = Condition(told.audio, told.reference, told.kept + base, told.mask)
    with_base = Denoiser(Recorder(base)).denoise(x + base, sigma, moved)
    without = Denoiser(Recorder()).denoise(x, sigma, told)
    torch.testing.assert_close(with_base, without + base)

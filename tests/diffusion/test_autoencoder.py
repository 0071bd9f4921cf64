from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from keysync.diffusion.autoencoder import Autoencoder, TemporalAutoencoder


@pytest.fixture(scope="module")
def model() -> TemporalAutoencoder:
    torch.manual_seed(0)
    return TemporalAutoencoder((32, 32), blocks=1, rows=2).eval().requires_grad_(False)


def test_sizes_are_told_and_kept(model: TemporalAutoencoder) -> None:
    assert isinstance(model, Autoencoder)
    assert (model.channels, model.factor) == (4, 2)
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    latents = model.encode(images)
    assert latents.shape == (3, 4, 8, 8)
    assert model.decode(latents).shape == images.shape


def test_each_frame_is_decoded_as_if_it_were_alone(model: TemporalAutoencoder) -> None:
    latents = torch.randn(5, 4, 8, 8)
    alone = torch.cat([model.decode(latents[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(model.decode(latents), alone, rtol=1e-4, atol=1e-5)


def test_encoding_is_repeatable_and_draws_only_with_a_generator(model: TemporalAutoencoder) -> None:
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    assert torch.equal(model.encode(images), model.encode(images))
    drawn = [model.encode(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], model.encode(images))


def test_compact_users_do_not_pay_for_the_full_models_library() -> None:
    code = "import sys, keysync.diffusion.autoencoder, keysync.diffusion.unet; assert 'diffusers' not in "
    code += "sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

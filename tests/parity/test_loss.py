"""Training losses and their gradients against the reference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from keysync.convert import stage_name
from keysync.diffusion.autoencoder import TemporalAutoencoder
from keysync.diffusion.condition import Condition
from keysync.diffusion.denoiser import Denoiser
from keysync.diffusion.unet import InterpolationNetwork, KeyframeNetwork
from keysync.train.loss import LossConfig, PixelTarget, diffusion_loss, draw_sigmas

Load = Callable[[str], dict[str, Tensor]]
Network = KeyframeNetwork | InterpolationNetwork

TAGS = {
    "latent_only": (LossConfig(), 0),
    "latent_pixel_l2": (LossConfig(), 1),
    "lower2_pixel_l2_2frames": (LossConfig(lower=2.0, pixel_weight=0.5), 2),
    "l1_upper3": (LossConfig(kind="l1", upper=3.0), 0),
}


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-4) -> None:
    assert ours.shape == theirs.shape
    error = float((ours.detach() - theirs).abs().max() / theirs.abs().max())
    assert error < tolerance, f"largest error {error:.2e} of the largest value"


@pytest.mark.parametrize("tag", TAGS)
def test_loss_and_gradients(
    tag: str,
    numbers: Load,
    network: Network,
    stage: str,
    autoencoder: TemporalAutoencoder,
    told_directly: Callable[..., Condition],
) -> None:
    known = numbers(f"loss_{stage}")
    config, count = TAGS[tag]
    told = told_directly(known["crossattn"], known["concat"], known["latents"], known["masks"])
    sigma = draw_sigmas(known["sigma_normal"], config)
    torch.testing.assert_close(sigma, known["sigmas"])
    frames = known["frame_permutation"][:count]
    pictures = [known[f"original_frames_u8_f{i}"] / 127.5 - 1 for i in frames.tolist()]
    seen = PixelTarget(frames, torch.stack(pictures, 1), autoencoder.decode) if count else None
    network.requires_grad_().zero_grad()
    losses = diffusion_loss(
        Denoiser(network), told.kept, told, sigma, known["noise"].movedim(2, 1), config, seen
    )
    close(losses.total.flatten(), known[f"{tag}.loss"])
    close(losses.latent.flatten(), known[f"{tag}.{config.kind}"])
    if count:
        close(losses.pixel, known[f"{tag}.pixel_l2"])
    losses.total.mean().backward()
    gradients = {stage_name(n): p.grad for n, p in network.named_parameters()}
    expected = {n.partition(".grad.")[2]: g for n, g in known.items() if n.startswith(f"{tag}.grad.")}
    assert len(expected) == (4 if stage == "interpolation" else 3)
    for name, gradient in expected.items():
        ours = gradients[name]
        assert ours is not None
        close(ours, gradient, 1e-3)

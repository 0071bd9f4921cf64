"""Whole sampling runs against the reference. Tolerance: 1e-3 over a trajectory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from keysync.diffusion.autoencoder import TemporalAutoencoder
from keysync.diffusion.condition import Condition
from keysync.diffusion.denoiser import Denoiser
from keysync.diffusion.guidance import SplitGuidance
from keysync.diffusion.sampler import euler
from keysync.diffusion.schedule import ays_sigmas
from keysync.diffusion.unet import InterpolationNetwork, KeyframeNetwork

Load = Callable[[str], dict[str, Tensor]]
Network = KeyframeNetwork | InterpolationNetwork


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-3) -> None:
    assert ours.shape == theirs.shape
    error = float((ours - theirs).abs().max() / theirs.abs().max())
    assert error < tolerance, f"largest error {error:.2e} of the largest value"


def sample(
    network: Network, noise: Tensor, told: Condition, rows: int | None = None
) -> tuple[Tensor, list[Tensor]]:
    steps: list[Tensor] = []
    denoise = SplitGuidance(audio=5.0, reference=2.0).wrap(Denoiser(network), told, rows)
    with torch.inference_mode():
        return euler(denoise, noise, ays_sigmas(10), lambda _, x: steps.append(x)), steps


def test_keyframes(numbers: Load, networks: dict[str, Network], autoencoder: TemporalAutoencoder) -> None:
    known = numbers("trajectory_keyframe")
    told = Condition(
        audio=known["audio_emb"],
        reference=known["cond_latent"].expand(2, 1, 4, 16, 16),
        kept=known["gt"],
        mask=known["masks"],
    )
    noise = torch.stack([known["b0.noise"], known["b1.noise"]])
    close(noise[0] * (1 + torch.tensor(700.0) ** 2).sqrt(), known["b0.x_start"], 1e-6)
    latents, steps = sample(networks["keyframe"], noise, told)
    assert len(steps) == 11
    for i, x in enumerate(steps, 1):
        close(x[0], known[f"b0.x_after_step{i}"])
    close(latents.flatten(0, 1), known["samples_z"])
    close(autoencoder.decode(latents[0, :1]), known["decoded_frame0"])


def test_interpolation(numbers: Load, networks: dict[str, Network], autoencoder: TemporalAutoencoder) -> None:
    known = numbers("trajectory_interpolation")
    keyframes = known["keyframe_latents"][1:]  # the first is a dummy
    told = Condition(
        audio=known["audio_emb"],
        reference=torch.stack([keyframes[:-1], keyframes[1:]], dim=1),
        kept=known["gt"],
        mask=known["masks"],
    )
    latents, steps = sample(networks["interpolation"], known["noise"].unflatten(0, (3, 8)), told, rows=2)
    for i, x in enumerate(steps, 1):
        close(x.flatten(0, 1), known[f"x_after_step{i}"])
    latents = latents.clone()  # out of inference mode
    latents[:, 0], latents[:, -1] = keyframes[:-1], keyframes[1:]
    close(latents.flatten(0, 1), known["final_latents"])
    pictures = autoencoder.decode(latents[0, [0, 4]]).add(1).div(2).clamp(0, 1).mul(255)
    error = (pictures.trunc() - known["video_uint8_frames_0_4"].float()).abs()
    assert error.max() <= 1, "one grey level, where a rounding error meets the reference's truncation"

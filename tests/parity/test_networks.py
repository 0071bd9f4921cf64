"""Networks and denoiser against the reference. Tolerance: 1e-4 for a single forward pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from keysync.convert import split_official
from keysync.diffusion.autoencoder import TemporalAutoencoder
from keysync.diffusion.condition import Condition
from keysync.diffusion.denoiser import Denoiser
from keysync.diffusion.guidance import SplitGuidance
from keysync.diffusion.schedule import AYS_SIGMAS, ays_sigmas, loss_weight, scalings, sinusoid
from keysync.diffusion.unet import InterpolationNetwork, KeyframeNetwork, VideoUNetConfig
from keysync.errors import ConfigError
from keysync.train.loss import LossConfig, draw_sigmas

Load = Callable[[str], dict[str, Tensor]]
Network = KeyframeNetwork | InterpolationNetwork


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-4) -> None:
    """Equal up to ``tolerance`` of the largest number."""
    assert ours.shape == theirs.shape
    error = float((ours.double() - theirs.double()).abs().max() / theirs.abs().max().clamp(min=1e-12))
    assert error < tolerance, f"largest error {error:.2e} of the largest value"


def rows(x: Tensor, frames: int) -> Tensor:
    """The original's rows, segment by segment, as segments of frames."""
    return x.unflatten(0, (-1, frames))


def test_noise_levels_and_scalings(numbers: Load) -> None:
    known = numbers("scalings_sigmas")
    for steps in (10, 11, 12, 15, 20, 25, 50):
        torch.testing.assert_close(ays_sigmas(steps), known[f"ays.n{steps}"].float(), rtol=1e-6, atol=0)
    torch.testing.assert_close(torch.tensor(AYS_SIGMAS), known["sigma"], rtol=1e-6, atol=0)
    for name, ours in scalings(known["sigma"])._asdict().items():
        torch.testing.assert_close(ours, known[name], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(loss_weight(known["sigma"]), known["vweight"], rtol=1e-6, atol=0)


def test_fewer_than_ten_steps_are_refused() -> None:
    with pytest.raises(ConfigError, match="10 or more"):
        ays_sigmas(9)


def test_sinusoids(numbers: Load) -> None:
    known = numbers("scalings_sigmas")
    for width in (32, 320):
        torch.testing.assert_close(sinusoid(known["temb.t"], width), known[f"temb.dim{width}"])
    places = sinusoid(torch.arange(14).float(), 64)
    torch.testing.assert_close(places, known["temb.frames14_dim64"], rtol=1e-5, atol=1e-5)


def test_training_noise_levels(numbers: Load) -> None:
    known = numbers("scalings_sigmas")
    ours = draw_sigmas(known["sigma_sampler.normal"], LossConfig())
    torch.testing.assert_close(ours, known["sigma_sampler.sigma_pmean1_pstd1.2"])


def test_unet_forward(numbers: Load, network: Network, stage: str) -> None:
    known = numbers(f"unet_{stage}_forward")
    x, heard = rows(known["x"], 6), known["context"]
    level, mixed = rows(known["timesteps"], 6), rows(known["timesteps_mixed"], 6)
    close(network.unet(x, level, heard).flatten(0, 1), known["out"])
    close(network.unet(x, mixed, heard).flatten(0, 1), known["out_mixed"])
    close(network.unet(x, level, torch.zeros_like(heard)).flatten(0, 1), known["out_zero_context"])
    close(network.unet(x, level, None).flatten(0, 1), known["out_zero_context"])


def test_stage_inputs_and_output(
    numbers: Load, network: Network, stage: str, told_directly: Callable[..., Condition]
) -> None:
    known = numbers(f"wrapper_{stage}")
    told = told_directly(known["crossattn"], known["concat"])
    x = rows(known["x"], 6)
    close(network.inputs(x, told).flatten(0, 1), known["net_in"], 1e-6)
    close(network(x, rows(known["t"], 6), told).flatten(0, 1), known["out"])


def test_conditions(numbers: Load, network: Network, stage: str) -> None:
    known = numbers(f"conditioning_{stage}")
    reference = known["cond_frames"]
    reference = reference[:, None] if stage == "keyframe" else reference.movedim(2, 1)
    kept, mask = known["gt"].movedim(2, 1), known["masks"].movedim(2, 1)
    told = Condition(known["audio_emb"], reference, kept, mask)
    heard = network.audio(told.audio.mean(dim=2))
    close(heard, known["embedder_out"])
    close(heard, known["c.crossattn"])
    assert not known["uc.crossattn"].any(), "the original's silence is zeros behind the projection"
    # The guider's three-way batch: its sound and its reference are what our flags stand for.
    prepared = zip(
        (told.without_audio().without_reference(), told.without_audio(), told), range(3), strict=True
    )
    for part, i in prepared:
        close(heard[0] * part.hear + 1e-30, known["guider.prep_crossattn"][i] + 1e-30)
        shown = network.inputs(torch.zeros_like(kept), part)[0, :, 4:8]
        ends = shown[0] if stage == "keyframe" else shown[[0, -1]].flatten(0, 1)
        close(ends + 1e-30, known["guider.prep_concat"][i] + 1e-30)
    close(told.kept.movedim(1, 2), known["c.gt"], 1e-9)
    close(told.mask.movedim(1, 2), known["uc.masks"], 1e-9)


def test_guidance(numbers: Load, stage: str) -> None:
    known = numbers(f"conditioning_{stage}")
    answers = rows(known["guider.denoised"], 7)

    class Answers(Denoiser):
        """Gives D1, D2 or D3 of the fixture, as the condition asks."""

        def __init__(self) -> None:
            pass

        def denoise(self, _x: Tensor, _sigma: Tensor, told: Condition) -> Tensor:
            return answers[int(told.hear) + int(told.look)][None]

    told = Condition(torch.zeros(1, 7, 2, 24), torch.zeros(1, 1, 4, 16, 16), answers[:1], answers[:1, :, :1])
    for audio, reference in ((5, 2), (3, 1), (1, 1)):
        guidance = SplitGuidance(audio=float(audio), reference=float(reference))
        guided = guidance.wrap(Answers(), told)(answers[:1], torch.tensor(1.0))
        close(guided[0], known[f"guider.out_a{audio}_r{reference}"], 1e-5)


def test_denoiser(
    numbers: Load, network: Network, stage: str, told_directly: Callable[..., Condition]
) -> None:
    known = numbers(f"denoiser_{stage}")
    told = told_directly(known["crossattn"], known["concat"], known["gt"], known["masks"])
    noise = rows(known["noise"], 6)
    for sigma in (700, 15.886, 0.981, 0.034):
        level = torch.tensor(float(sigma))
        ours = Denoiser(network).denoise(noise * (1 + level**2).sqrt(), level, told)
        close(ours.flatten(0, 1), known[f"denoised_sigma{sigma}"])
        per_frame = Denoiser(network).denoise(noise * (1 + level**2).sqrt(), level.expand(2, 6), told)
        close(per_frame, ours, 1e-6)


def test_full_size_networks_have_the_official_names_and_shapes(parity_folder: Path, stage: str) -> None:
    lines = (parity_folder / f"official_keys_{stage}.tsv").read_text().splitlines()[1:]
    shapes = {name: shape for name, shape, _ in (line.split("\t") for line in lines)}
    with torch.device("meta"):
        official = {n: torch.empty([int(s) for s in shape.split("x")]) for n, shape in shapes.items()}
        build = KeyframeNetwork if stage == "keyframe" else InterpolationNetwork
        network = build(VideoUNetConfig())
        autoencoder = TemporalAutoencoder()
    weights, decoder = split_official(official, network, autoencoder, Path("official"))
    unused = sum(n.startswith("conditioner.embedders.0.") for n in official)
    assert len(weights) + len(decoder) + unused == len(official)
    assert unused == (248 if stage == "interpolation" else 0)
    count = sum(p.numel() for p in network.unet.parameters())
    assert count == (1_524_950_762 if stage == "keyframe" else 1_524_953_642)

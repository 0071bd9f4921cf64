"""One loop for both stages of the compact model."""

from __future__ import annotations

import math
import time
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from keysync.diffusion.compact_autoencoder import CompactAutoencoder
from keysync.diffusion.compact_unet import CompactUNet
from keysync.diffusion.condition import Condition
from keysync.diffusion.denoiser import Denoiser
from keysync.diffusion.guidance import SplitGuidance
from keysync.diffusion.half import trains_faster_on
from keysync.diffusion.schedule import power_sigmas
from keysync.errors import ConfigError
from keysync.parallel import in_order
from keysync.train.dataset import Batch, Batches, PreparedClip
from keysync.train.judge import Judge
from keysync.train.run import SAVE_EVERY_S, Checkpoint, Progress, Say, note, to_log
from keysync.train.show import write_strip

PURE_SIGMA = 20.0  # where sampling starts: nothing of the picture is left
AUDIO_GUIDANCE = 1.5  # with which the compact model samples
SIGMA_MIN, RHO, STEPS = 0.05, 3.0, 1  # the rest of its schedule; the lower end counts with more steps only
_CURVE = ("latent", "pixel", "lips", "held_out", "held_out_lips")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How one stage is trained. Constants were found on drawn heads; see docs/lessons.md."""

    stage: Literal["keyframes", "interpolation"]
    steps: int
    frames_per_step: int = 16
    window: int = 4  # frames of a segment once time is learned
    single_share: float = 0.5  # share of the steps on single frames (keyframes only)
    rate: float = 1e-3
    audio_rate: float = 2e-3  # the sound embedding learns faster than the rest
    weight_decay: float = 0.02
    warm_up: int = 60
    noise_mean: float = 0.7  # of log sigma
    noise_deviation: float = 1.3
    pure_noise: float = 0.95  # share at sigma 20, the one level that is sampled: only the sound can answer
    silent: float = 0.1  # share of segments that hear nothing, for guidance
    mask_weight: float = 0.3
    mouth_weight: float = 5.0
    channel_power: float = 0.7  # strong latent channels count more: weight = deviation ** power
    pixel_weight: float = 1.0
    lips_weight: float = 0.3  # of what the judge reads
    generated: float = 0.5  # share of windows whose ends are generated keyframes (interpolation only)
    average: float = 0.998
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"steps is {self.steps}; it must be 1 or more")


def stage_loss(
    denoiser: Denoiser,
    batch: Batch,
    sigma: Float[Tensor, " b"],
    noise: Float[Tensor, "b t c h w"],
    autoencoder: CompactAutoencoder,
    config: TrainConfig,
    shown: int,
    judge: Judge,
) -> Float[Tensor, " 3"]:
    """Latent L2, pixel L2 and lips of one batch.

    The latent term is the reference's, (sigma^2 + 1) / sigma^2 * (D - z)^2, here weighted towards the
    mouth and the strong channels; the pixel term decodes frame ``shown`` of the first segment by the
    components alone; the lips are what ``judge`` reads off the estimate against what it reads off the
    target. Of keyframes only what moves within a segment counts: how wide a person's mouth is at rest, nobody
    hears, and what a network learns of it by heart makes it worse for strangers. Single frames tell nothing.
    """
    levels = sigma[:, None].expand(batch.target.shape[:2])
    noisy = batch.target + levels[..., None, None, None] * noise
    clean = denoiser.denoise(noisy, levels, batch.told)
    weight = ((sigma**2 + 1) / sigma**2)[:, None, None, None, None]
    area = batch.told.mask * (config.mask_weight + config.mouth_weight * batch.mouth)
    if config.stage == "interpolation":
        area = area.clone()
        area[:, [0, -1]] = 0  # the ends are given
    channel = autoencoder.latent_deviation**config.channel_power
    channel = (channel / channel.mean())[:, None, None]
    latent = (weight * (clean - batch.target) ** 2 * area * channel).sum()
    latent = latent / (area.sum() * batch.target.shape[2])

    decoded = autoencoder.decode_linear(clean[:1, shown])
    wanted = batch.pictures[:1, shown]
    cover = nn.functional.interpolate(batch.told.mask[:1, shown], size=wanted.shape[-2:])
    # Near-clean samples would drown the rest: 1/sigma^2 has no bound.
    pixel_weight = weight[:1, 0].clamp(max=5)
    pixel = (pixel_weight * (decoded - wanted) ** 2 * cover).sum() / (cover.sum() * 3)

    made = slice(1, -1) if config.stage == "interpolation" else slice(None)
    read, right = (judge(latents[:, made].flatten(0, 1)) for latents in (clean, batch.target))
    error = (read - right).unflatten(0, (len(clean), -1))
    if config.stage == "keyframes":
        error = error - error.mean(dim=1, keepdim=True)
    return torch.stack([latent, pixel, (error**2).mean()])


def train_stage(
    network: CompactUNet,
    autoencoder: CompactAutoencoder,
    clips: list[PreparedClip],
    held_out: list[PreparedClip],
    out: Path,
    config: TrainConfig,
    judge: Judge,
    *,
    keyframes: CompactUNet | None = None,
    stop: int | None = None,
    say: Say = to_log,
) -> CompactUNet:
    """Train ``network`` and return its running average; resumes from ``out`` if a checkpoint is there.

    ``judge`` reads the lips, see ``train/judge.py``. All networks are on one device; what is drawn at random
    does not depend on which.
    ``keyframes`` makes the ends of some windows when interpolation is trained; without it all are true.
    ``stop`` ends this call early, after that step; the next call goes on from there.
    Writes ``out/checkpoint.pt`` (everything needed to go on), the learning curve as ``out/curve.csv`` and
    ``out/curve.png``, and ``out/strip.png``: true frames of people never trained on over painted ones.
    """
    out.mkdir(parents=True, exist_ok=True)
    autoencoder.eval().requires_grad_(False)
    average = deepcopy(network).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(_groups(network, config), betas=(0.9, 0.99))
    checkpoint = Checkpoint(out / "checkpoint.pt", network, average, optimiser)
    step = checkpoint.load().get("step", 0)
    curve = out / "curve.csv"
    progress = Progress(say, "steps", step, config.steps)
    denoiser, averaged = Denoiser(network), Denoiser(average)
    device = autoencoder.device
    weights = torch.tensor([1.0, config.pixel_weight, config.lips_weight], device=device)
    last_save = begin = time.monotonic()
    running = torch.zeros(3, device=device)
    windows = config.stage == "interpolation"
    last_step = min(config.steps, stop or config.steps)

    def draw(step: int) -> tuple[Batch, int]:
        """A step's batch, and which of its frames is decoded."""
        rng = np.random.default_rng([config.seed, step])
        single = not windows and step < config.single_share * config.steps
        frames = 1 if single else config.window
        segments = max(1, config.frames_per_step // frames)
        batch = Batches(clips, autoencoder, rng).draw(segments, frames, windows=windows)
        return batch, int(rng.integers(frames))

    for batch, shown in in_order(draw, range(step, last_step), lend=False):
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        segments, frames = batch.target.shape[:2]
        if keyframes is not None:
            batch = _with_generated_ends(batch, keyframes, generator, config)
        batch = _perturbed(batch, generator, config)
        sigma = _sigmas(segments, generator, config).to(device)
        noise = _normal(batch.target, generator)
        with torch.autocast(device.type, torch.bfloat16, enabled=trains_faster_on(device)):
            losses = stage_loss(denoiser, batch, sigma, noise, autoencoder, config, shown, judge)
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * _schedule(step, config)
        optimiser.zero_grad(set_to_none=True)
        (losses @ weights).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step += 1
        keep = min(config.average, step / (step + 15))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - keep)
        running = running.lerp(losses.detach(), max(0.02, 1 / step))
        if time.monotonic() - last_save > SAVE_EVERY_S or step == last_step:
            unseen = _held_out_loss(averaged, autoencoder, held_out, config, judge)
            checkpoint.save(step)
            progress.tell(step, latent=float(running[0]), held_out=unseen[0])
            figures = dict(zip(_CURVE, (*running.tolist(), *unseen), strict=True))
            note(curve, step, time.monotonic() - begin, figures)
            if held_out:
                seen = Batches(held_out, autoencoder, np.random.default_rng(7)).draw(
                    max(1, 12 // frames), frames, windows=windows
                )
                guided = SplitGuidance(audio=AUDIO_GUIDANCE, reference=1.0).wrap(averaged, seen.told)
                sigmas = power_sigmas(STEPS, PURE_SIGMA, SIGMA_MIN, RHO)
                write_strip(out / "strip.png", guided, sigmas, autoencoder, seen)
            last_save = time.monotonic()
    return average


def _groups(network: CompactUNet, config: TrainConfig) -> list[dict[str, object]]:
    sound = list(network.sound_embedding.parameters())
    known = {id(p) for p in sound}
    rest = [p for p in network.parameters() if id(p) not in known]
    matrices = [p for p in rest if p.ndim > 1]
    vectors = [p for p in rest if p.ndim <= 1]
    return [
        {"params": matrices, "peak": config.rate, "weight_decay": config.weight_decay},
        {"params": vectors, "peak": config.rate, "weight_decay": 0.0},
        {"params": sound, "peak": config.audio_rate, "weight_decay": config.weight_decay},
    ]


def _schedule(step: int, config: TrainConfig) -> float:
    """Warm-up, constant for 40 %, then a cosine down to 3 %."""
    done = step / config.steps
    fall = 1.0 if done < 0.4 else 0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * (done - 0.4) / 0.6))
    return min(1.0, (step + 1) / config.warm_up) * fall


def _sigmas(count: int, generator: torch.Generator, config: TrainConfig) -> Float[Tensor, " b"]:
    drawn = torch.randn(count, generator=generator) * config.noise_deviation + config.noise_mean
    pure = torch.rand(count, generator=generator) < config.pure_noise
    return torch.where(pure, PURE_SIGMA, drawn.exp()).clamp(0.02, 40)


def _normal(like: Float[Tensor, "*n"], generator: torch.Generator) -> Float[Tensor, "*n"]:
    """Standard normal numbers, drawn on the CPU so that a seed means the same on every device."""
    return torch.randn(like.shape, generator=generator).to(like)


def _perturbed(batch: Batch, generator: torch.Generator, config: TrainConfig) -> Batch:
    """Noise on the sound tokens, silence for some segments; for windows, ends that are not perfect."""
    told = batch.told
    amount = 0.05 + 0.15 * torch.rand(len(told.audio), 1, 1, 1, generator=generator)
    audio = told.audio + amount.to(told.audio) * _normal(told.audio, generator)
    hears = torch.rand(len(audio), generator=generator) >= config.silent
    audio = audio * hears[:, None, None, None].to(audio)
    reference = told.reference
    if config.stage == "interpolation":
        # Generated keyframes miss the truth by about this much (a third of a deviation); learn to mend it.
        amount = 0.3 * torch.rand(len(reference), 1, 1, 1, 1, generator=generator)
        reference = reference + amount.to(reference) * _normal(reference, generator)
    return replace(batch, told=replace(told, audio=audio, reference=reference))


@torch.no_grad()
def paint(
    keyframes: CompactUNet, told: Condition, generator: torch.Generator, guidance: float
) -> Float[Tensor, "b t c h w"]:
    """What stage one makes of pure noise in one guided step."""
    guided = SplitGuidance(audio=guidance, reference=1.0).wrap(Denoiser(keyframes), told)
    noise = PURE_SIGMA * _normal(told.kept, generator)
    return guided(noise, torch.tensor(PURE_SIGMA, device=noise.device))


@torch.no_grad()
def _with_generated_ends(
    batch: Batch, keyframes: CompactUNet, generator: torch.Generator, config: TrainConfig
) -> Batch:
    """Some windows start and end on what stage one makes of their sound, in one guided step."""
    told, ends, segments = batch.told, [0, -1], len(batch.target)
    asked = Condition(
        audio=told.audio[:, ends].flatten(0, 1)[:, None],
        reference=batch.identity.repeat_interleave(2, dim=0),
        kept=told.kept[:, ends].flatten(0, 1)[:, None],
        mask=told.mask[:, ends].flatten(0, 1)[:, None],
    )
    made = paint(keyframes, asked, generator, AUDIO_GUIDANCE).view(segments, 2, *told.kept.shape[2:])
    chosen = torch.rand(segments, 1, 1, 1, 1, generator=generator) < config.generated
    mixed = torch.where(chosen.to(made.device), made, told.reference)
    return replace(batch, told=replace(told, reference=mixed))


@torch.no_grad()
def _held_out_loss(
    denoiser: Denoiser,
    autoencoder: CompactAutoencoder,
    clips: list[PreparedClip],
    config: TrainConfig,
    judge: Judge,
) -> tuple[float, float]:
    """Latent and lips loss on people never trained on, at fixed draws, from pure noise."""
    if not clips:
        return math.nan, math.nan
    windows, frames = config.stage == "interpolation", config.window
    segments = max(1, 128 // frames)
    batch = Batches(clips, autoencoder, np.random.default_rng(7)).draw(segments, frames, windows=windows)
    generator = torch.Generator().manual_seed(7)
    noise = _normal(batch.target, generator)
    sigma = torch.full((segments,), PURE_SIGMA, device=noise.device)
    latent, _, lips = stage_loss(denoiser, batch, sigma, noise, autoencoder, config, 0, judge).tolist()
    return latent, lips

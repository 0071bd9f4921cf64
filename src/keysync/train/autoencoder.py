"""The compact autoencoder: principal components first, then a decoder that mends what they miss."""

from __future__ import annotations

import csv
import math
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from keysync.diffusion.compact_autoencoder import CompactAutoencoder
from keysync.train.dataset import PreparedClip, recolour


def fit_components(autoencoder: CompactAutoencoder, clips: list[PreparedClip], seed: int) -> None:
    """Set the encoder: principal components of face patches, and each channel's mean and deviation."""
    rng = np.random.default_rng(seed)
    patch = autoencoder.config.patch
    patches = []
    for clip in clips:
        for index in range(0, len(clip.pictures), 12):
            picture = recolour(clip.pictures[index : index + 1], rng)[0] * 2 - 1
            cells = clip.mouths[index].shape[0]
            rows, columns = np.nonzero(clip.mouths[index])
            for _ in range(24):
                if rng.random() < 0.5 and len(rows):
                    pick = rng.integers(len(rows))
                    corner = np.array([rows[pick], columns[pick]]) * patch + rng.integers(-patch, patch, 2)
                else:
                    corner = rng.integers(0, cells * patch, 2)
                y, x = corner.clip(0, picture.shape[0] - patch)
                patches.append(picture[y : y + patch, x : x + patch].transpose(2, 0, 1).ravel())
    matrix = np.stack(patches).astype(np.float64)
    # Not centred: the mean patch is grey and becomes part of the first component.
    _, vectors = np.linalg.eigh(matrix.T @ matrix / len(matrix))
    chosen = vectors[:, ::-1][:, : autoencoder.channels].T
    projected = matrix @ chosen.T
    with torch.no_grad():
        autoencoder.components.copy_(torch.from_numpy(chosen.copy()).view_as(autoencoder.components))
        autoencoder.latent_mean.copy_(torch.from_numpy(projected.mean(axis=0)))
        autoencoder.latent_deviation.copy_(torch.from_numpy(projected.std(axis=0)))


def psnr(autoencoder: CompactAutoencoder, clips: list[PreparedClip]) -> tuple[float, float]:
    """Of decoded pictures in decibels, 0..1 scale: the whole crop, and the cells that touch the lips."""
    whole, mouth = [], []
    with torch.no_grad():
        for clip in clips:
            pictures = torch.from_numpy(clip.pictures[::16]).permute(0, 3, 1, 2).float() / 127.5 - 1
            decoded = autoencoder.decode_working(autoencoder.encode_working(pictures)).clamp(-1, 1)
            error = ((decoded - pictures) / 2) ** 2
            cover = F.interpolate(torch.from_numpy(clip.mouths[::16])[:, None], size=error.shape[-2:])
            whole.append(float(error.mean()))
            mouth.append(float((error * cover).sum() / (cover.sum() * 3)))
    return -10 * math.log10(float(np.mean(whole))), -10 * math.log10(float(np.mean(mouth)))


def train_decoder(
    autoencoder: CompactAutoencoder,
    clips: list[PreparedClip],
    held_out: list[PreparedClip],
    out: Path,
    *,
    steps: int,
    seed: int,
    batch: int = 16,
    side: int = 128,
    rate: float = 5e-4,
    noise: float = 0.1,
    evaluate_every_s: float = 120,
) -> CompactAutoencoder:
    """Train the decoder on noisy latents of random cuts, half of them at the mouth; returns the average.

    Loss: L1 + 0.5 gradient L1 + 0.5 L2. The encoder stays the principal components. Resumes from
    ``out/checkpoint.pt``; ``out/curve.csv`` lists PSNR on ``held_out``, its first row being the
    components alone.
    """
    out.mkdir(parents=True, exist_ok=True)
    autoencoder.components.requires_grad_(False)
    parameters = [p for p in autoencoder.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, rate, betas=(0.9, 0.99), weight_decay=1e-3)
    average = deepcopy(autoencoder).eval()
    step, saved, curve = 0, out / "checkpoint.pt", out / "curve.csv"
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        autoencoder.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    else:
        curve.write_text("step,seconds,psnr,mouth_psnr\n0,0,{:.2f},{:.2f}\n".format(*psnr(average, held_out)))
    begin = last = time.monotonic()
    while step < steps:
        rng = np.random.default_rng([seed, step])
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        pictures = _cuts(clips, rng, batch, side)
        share = step / steps
        fall = 1.0 if share < 0.3 else 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (share - 0.3) / 0.7))
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 300) * fall
        latents = autoencoder.encode_working(pictures)
        latents = latents + noise * torch.randn(latents.shape, generator=generator)
        error = autoencoder.decode_working(latents) - pictures
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        loss = error.abs().mean() + 0.5 * edges + 0.5 * (error**2).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step += 1
        keep = min(0.995, step / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(autoencoder.parameters()), 1 - keep)
        if time.monotonic() - last > evaluate_every_s or step == steps:
            state = {
                "network": autoencoder.state_dict(),
                "average": average.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step,
            }
            torch.save(state, saved.with_suffix(".partial"))
            saved.with_suffix(".partial").replace(saved)
            with curve.open("a", newline="") as file:
                scores = (round(v, 2) for v in psnr(average, held_out))
                csv.writer(file).writerow([step, round(time.monotonic() - begin), *scores])
            last = time.monotonic()
    return average


def _cuts(
    clips: list[PreparedClip], rng: np.random.Generator, count: int, side: int
) -> Float[Tensor, "{count} 3 {side} {side}"]:
    """Random cuts of ``side`` pixels on the patch grid, recoloured and mirrored, in -1..1."""
    cuts = []
    for _ in range(count):
        clip = clips[rng.integers(len(clips))]
        index = rng.integers(len(clip.pictures))
        picture, mouth = clip.pictures[index], clip.mouths[index]
        patch = picture.shape[0] // mouth.shape[0]
        room = (picture.shape[0] - side) // patch
        if rng.random() < 0.6 and mouth.any():
            rows, columns = np.nonzero(mouth)
            centre = np.array([rows.mean(), columns.mean()]) - side / patch / 2 + rng.uniform(-2, 2, 2)
            y, x = np.round(centre).astype(int).clip(0, room) * patch
        else:
            y, x = rng.integers(0, room + 1, 2) * patch
        cut = picture[None, y : y + side, x : x + side]
        if rng.random() < 0.5:
            cut = cut[:, :, ::-1]
        cuts.append(recolour(cut, rng)[0].transpose(2, 0, 1) * 2 - 1)
    return torch.from_numpy(np.stack(cuts).astype(np.float32))

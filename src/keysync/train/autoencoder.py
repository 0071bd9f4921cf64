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

from keysync.diffusion.autoencoder import Surroundings
from keysync.diffusion.compact_autoencoder import CompactAutoencoder, lay_over
from keysync.train.dataset import PreparedClip, recolour
from keysync.train.run import Checkpoint


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


def psnr(
    autoencoder: CompactAutoencoder, clips: list[PreparedClip], *, linear: bool = False
) -> tuple[float, float, float]:
    """What decoding keeps of the repainted part, the first frame of each clip being the reference.

    Args:
        linear: by the components alone.
    Returns:
        decibels (0..1 scale) of the repainted part and of the cells that touch the lips; and the variance
        of the Laplacian in those cells over the original's, 1 being as sharp.
    """
    error, mouth, sharp = [], [], []
    device = autoencoder.device
    with torch.no_grad():
        for clip in clips:
            places = np.arange(8, len(clip.pictures), 16)
            chosen = np.concatenate([[0], places])
            pictures = torch.from_numpy(clip.pictures[chosen]).permute(0, 3, 1, 2).to(device) / 127.5 - 1
            target, mask, lips = (
                pictures[1:],
                *(_cover(f[places], pictures).to(device) for f in (clip.masks, clip.mouths)),
            )
            latents = autoencoder.encode_working(target)
            if linear:
                decoded = autoencoder.decode_linear(latents)
            else:
                reference = pictures[:1].expand_as(target)
                around = Surroundings(reference, target * (1 - mask), mask)
                decoded = lay_over(*autoencoder.decode_working(latents, around), reference, target.shape[-1])
            square = ((decoded.clamp(-1, 1) - target) / 2) ** 2
            error.append(float((square * mask).sum() / (mask.sum() * 3)))
            mouth.append(float((square * lips).sum() / (lips.sum() * 3)))
            sharp.append(_sharpness(decoded, lips) / _sharpness(target, lips))
    return (
        -10 * math.log10(float(np.mean(error))),
        -10 * math.log10(float(np.mean(mouth))),
        float(np.mean(sharp)),
    )


def _cover(cells: np.ndarray, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "m 1 h w"]:
    return F.interpolate(torch.from_numpy(cells)[:, None].float(), size=pictures.shape[-2:])


def _laplacian(pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1 h w"]:
    grey = F.pad(pictures.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], device=grey.device)[None, None]
    return F.conv2d(grey, kernel)


def _sharpness(pictures: Float[Tensor, "n 3 h w"], where: Float[Tensor, "n 1 h w"]) -> float:
    return float((_laplacian(pictures) ** 2 * where).sum() / where.sum())


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
    rate: float = 1e-3,
    noise: float = 0.4,
    evaluate_every_s: float = 120,
) -> CompactAutoencoder:
    """Train the decoder on spoilt latents of cuts around the mouth; returns the running average.

    The latents are spoilt as generated ones are, with noise of small and of large scale: what they say
    wrongly of skin colour and texture the decoder learns to take from the reference and the kept part.
    Loss: L1 + 0.5 gradient L1 + 0.5 L2, and 0.5 times L1 of the local strength of detail, without which
    teeth and stubble average out. The encoder stays the principal components. Resumes from
    ``out/checkpoint.pt``; ``out/curve.csv`` lists ``psnr`` on ``held_out``, its first row being the
    components alone.
    """
    out.mkdir(parents=True, exist_ok=True)
    autoencoder.components.requires_grad_(False)
    parameters = [p for p in autoencoder.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, rate, betas=(0.9, 0.99), weight_decay=1e-3)
    average = deepcopy(autoencoder).eval()
    checkpoint, curve = Checkpoint(out / "checkpoint.pt", autoencoder, average, optimiser), out / "curve.csv"
    step = checkpoint.load().get("step", 0)
    if step == 0:
        start = psnr(autoencoder, held_out, linear=True)
        curve.write_text("step,seconds,psnr,mouth_psnr,sharpness\n0,0,{:.2f},{:.2f},{:.2f}\n".format(*start))
    device = autoencoder.device
    begin = last = time.monotonic()
    whole = clips[0].pictures.shape[1]
    while step < steps:
        rng = np.random.default_rng([seed, step])
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        target, reference, mask = (part.to(device) for part in _cuts(clips, rng, batch, side))
        share = step / steps
        fall = 1.0 if share < 0.3 else 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (share - 0.3) / 0.7))
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 100) * fall
        latents = _spoilt(autoencoder.encode_working(target), noise, generator)
        around = Surroundings(reference, target * (1 - mask), mask)
        decoded = lay_over(*autoencoder.decode_working(latents, around), reference, whole)
        error = (decoded - target) * mask
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        strength, wanted = (F.avg_pool2d(_laplacian(p).abs() * mask, 8) for p in (decoded, target))
        loss = (
            error.abs().mean()
            + 0.5 * edges
            + 0.5 * (error**2).mean()
            + 0.5 * (strength - wanted).abs().mean()
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step += 1
        keep = min(0.995, step / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(autoencoder.parameters()), 1 - keep)
        if time.monotonic() - last > evaluate_every_s or step == steps:
            checkpoint.save(step)
            with curve.open("a", newline="") as file:
                scores = (round(v, 2) for v in psnr(average, held_out))
                csv.writer(file).writerow([step, round(time.monotonic() - begin), *scores])
            last = time.monotonic()
    return average


def _spoilt(
    latents: Float[Tensor, "n c y x"], noise: float, generator: torch.Generator
) -> Float[Tensor, "n c y x"]:
    """Noise per cell and noise of large scale, of a random strength up to ``noise`` deviations each."""
    count, channels, height, width = latents.shape
    fine = torch.randn(latents.shape, generator=generator)
    coarse = torch.randn(count, channels, 3, 3, generator=generator)
    coarse = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)
    amount = noise * torch.rand(2, count, 1, 1, 1, generator=generator)
    return latents + (amount[0] * fine + amount[1] * coarse).to(latents)


def _cuts(
    clips: list[PreparedClip], rng: np.random.Generator, count: int, side: int
) -> tuple[Float[Tensor, "n 3 s s"], Float[Tensor, "n 3 s s"], Float[Tensor, "n 1 s s"]]:
    """Random cuts of ``side`` pixels around the mouth, on the patch grid, recoloured and mirrored.

    Returns:
        the pictures in -1..1, another frame of the same clip at the same place, and 1 where to repaint.
    """
    pictures, masks = [], []
    for _ in range(count):
        clip = clips[rng.integers(len(clips))]
        pair = rng.integers(len(clip.pictures), size=2)
        cells, mouth = clip.masks[pair[0]], clip.mouths[pair[0]]
        patch = clip.pictures.shape[1] // mouth.shape[0]
        rows, columns = np.nonzero(mouth if mouth.any() else cells)
        centre = np.array([rows.mean(), columns.mean()]) - side / patch / 2 + rng.uniform(-2, 2, 2)
        top, left = np.round(centre).astype(int).clip(0, mouth.shape[0] - side // patch)
        cut = clip.pictures[pair, top * patch : top * patch + side, left * patch : left * patch + side]
        mask = cells[top : top + side // patch, left : left + side // patch]
        if rng.random() < 0.5:
            cut, mask = cut[:, :, ::-1], mask[:, ::-1]
        pictures.append(recolour(cut, rng).transpose(0, 3, 1, 2) * 2 - 1)
        masks.append(mask.repeat(patch, axis=0).repeat(patch, axis=1)[None])
    both = torch.from_numpy(np.stack(pictures).astype(np.float32))
    return both[:, 0], both[:, 1], torch.from_numpy(np.stack(masks).astype(np.float32))

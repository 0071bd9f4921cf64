"""What a person looks at while a stage is trained: the learning curve, and what it paints so far."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from keysync.diffusion.autoencoder import Surroundings
from keysync.diffusion.compact_autoencoder import CompactAutoencoder, lay_over
from keysync.diffusion.sampler import Denoise, euler
from keysync.train.dataset import Batch


def plot_curve(curve: Path) -> None:
    """Draw ``curve`` (CSV: step, seconds, then any figures) beside it as PNG."""
    from matplotlib.figure import Figure

    with curve.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for name in list(rows[0])[2:]:
        axes.plot([int(row["step"]) for row in rows], [float(row[name]) for row in rows], label=name)
    axes.set(xlabel="step", yscale="log")
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    figure.savefig(curve.with_suffix(".png"))


@torch.no_grad()
def write_strip(
    path: Path, denoise: Denoise, sigmas: Float[Tensor, " n"], autoencoder: CompactAutoencoder, batch: Batch
) -> None:
    """Sample ``batch``; write its true frames, and below them the painted ones, as PNG.

    Args:
        denoise: guided, told about ``batch``.
    """
    noise = torch.randn(batch.target.shape, generator=torch.Generator().manual_seed(7)).to(batch.target)
    latents = euler(denoise, noise, sigmas.to(noise)).flatten(0, 1)
    true = batch.pictures.flatten(0, 1)
    mask = torch.nn.functional.interpolate(batch.told.mask.flatten(0, 1), size=true.shape[-2:])
    reference = autoencoder.decode_linear(batch.identity.flatten(0, 1))
    reference = reference.repeat_interleave(batch.target.shape[1], dim=0)
    around = Surroundings(reference, true * (1 - mask), mask)
    painted = lay_over(*autoencoder.decode_working(latents, around), reference, true.shape[-1])
    painted = painted * mask + true * (1 - mask)
    both = rearrange([true, painted], "two n c h w -> (two h) (n w) c").clamp(-1, 1)
    picture = ((both + 1) * 127.5).round().byte().cpu().numpy()
    cv2.imwrite(str(path), np.ascontiguousarray(picture[..., ::-1]))

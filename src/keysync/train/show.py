"""What a person looks at while a stage is trained: what it paints so far."""

from __future__ import annotations

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

"""A small network that reads the lips' gap and the mouth's width off latents.

It is trained on true frames and then stands still: while a stage is trained, what it reads off the estimate
must be what it reads off the target. Half a millimetre between the lips is next to nothing for a squared
error of latents and everything for whoever watches.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from keysync.diffusion.compact_autoencoder import CompactAutoencoder
from keysync.train.dataset import Batches, PreparedClip

SCALES = (0.06, 0.07)  # deviations of gap and width in eye distances: each then counts alike
_BATCH, _RATE = 48, 2e-3


class Judge(nn.Module):
    """Latents of single frames to (gap, width), each over its scale."""

    def __init__(self, channels: int, cells: int, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1, stride=2),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1, stride=2),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(width * (-(-cells // 4)) ** 2, 64),
            nn.SiLU(),
            nn.Linear(64, 2),
        )

    def forward(self, latents: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 2"]:
        """Read them."""
        read: Tensor = self.layers(latents)
        return read


def train_judge(
    autoencoder: CompactAutoencoder, clips: list[PreparedClip], steps: int, seed: int
) -> tuple[Judge, float]:
    """The judge, not trainable any more, and how well it reads: r of the gap in the last fifth of the steps.

    Faces differ in how open a closed mouth looks, so a part of the error is none of the judge's.
    """
    torch.manual_seed(seed)
    device = autoencoder.device
    scales = torch.tensor(SCALES, device=device)
    judge = Judge(autoencoder.channels, clips[0].masks.shape[1]).to(device)
    optimiser = torch.optim.AdamW(judge.parameters(), _RATE, weight_decay=0.02)
    read, true = [], []
    for step in range(steps):
        batch = Batches(clips, autoencoder, np.random.default_rng([seed, step])).draw(
            _BATCH, 1, windows=False
        )
        wanted = batch.lips[:, 0] / scales
        told = judge(batch.target[:, 0] + 0.1 * torch.randn(batch.target[:, 0].shape).to(device))
        for group in optimiser.param_groups:
            group["lr"] = _RATE * min(1.0, (step + 1) / 30) * (1 - 0.97 * step / steps)
        loss = F.smooth_l1_loss(told, wanted)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if step >= 0.8 * steps:
            read.append(told[:, 0].detach())
            true.append(wanted[:, 0])
    r = float(torch.corrcoef(torch.stack([torch.cat(read), torch.cat(true)]))[0, 1])
    return judge.eval().requires_grad_(False), r

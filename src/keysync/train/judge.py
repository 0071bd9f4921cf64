"""A small network that reads the lips' gap and the mouth's width off latents.

It is trained on true frames and then stands still: while a stage, or the decoder on paintings, is trained,
what it reads off the estimate must be what it reads off the target. Half a millimetre between the lips is
next to nothing for a squared error of latents and everything for whoever watches.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from keysync.diffusion.compact_autoencoder import CompactAutoencoder
from keysync.parallel import in_order
from keysync.train.dataset import Batch, Batches, PreparedClip

SCALES = (0.19, 0.24)  # cm; about how much speech moves gap and width, so that each counts alike
_SEGMENTS, _FRAMES, _RATE = 12, 4, 2e-3
_STRANGERS = 0.1  # weight of the error that is the same in all of a person's frames
_SPOILT = 0.1  # noise up to that deviation: estimates are not as clean as true frames


class Judge(nn.Module):
    """Latents of single frames to (gap, width), each over its scale."""

    def __init__(self, channels: int, cells: int, width: int = 96) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1, stride=2),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1, stride=2),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(width * (-(-cells // 4)) ** 2, 128),
            nn.SiLU(),
            nn.Linear(128, 2),
        )

    def forward(self, latents: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 2"]:
        """Read them."""
        read: Tensor = self.layers(latents)
        return read


def train_judge(
    autoencoder: CompactAutoencoder, clips: list[PreparedClip], steps: int, seed: int
) -> tuple[Judge, tuple[float, float]]:
    """The judge, not trainable any more, and how well it reads.

    Faces differ in how wide a mouth at rest is; what counts is how much it moves. So several frames of a
    person are read at a time, and what is wrong with all of them alike counts little.

    Returns:
        judge, and Pearson's r of gap and width within a person's frames in the last fifth of the steps.
    """
    torch.manual_seed(seed)
    device = autoencoder.device
    scales = torch.tensor(SCALES, device=device)
    judge = Judge(autoencoder.channels, clips[0].masks.shape[1]).to(device)
    optimiser = torch.optim.AdamW(judge.parameters(), _RATE, weight_decay=0.05)
    read, true = [], []

    def draw(step: int) -> Batch:
        return Batches(clips, autoencoder, np.random.default_rng([seed, step])).draw(
            _SEGMENTS, _FRAMES, windows=False
        )

    for step, batch in enumerate(in_order(draw, range(steps), lend=False)):
        wanted = batch.lips / scales
        noise = _SPOILT * torch.rand(()) * torch.randn(batch.target.shape)
        told = judge((batch.target + noise.to(device)).flatten(0, 1)).view_as(wanted)
        moved, moves = (lips - lips.mean(dim=1, keepdim=True) for lips in (told, wanted))
        for group in optimiser.param_groups:
            group["lr"] = _RATE * min(1.0, (step + 1) / 50) * (1 - 0.97 * step / steps)
        loss = F.smooth_l1_loss(moved, moves) + _STRANGERS * F.smooth_l1_loss(told, wanted)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if step >= int(0.8 * steps):
            read.append(moved.detach().flatten(0, 1))
            true.append(moves.flatten(0, 1))
    found = [
        float(torch.corrcoef(pair)[0, 1])
        for pair in torch.stack([torch.cat(read), torch.cat(true)]).unbind(2)
    ]
    return judge.eval().requires_grad_(False), (found[0], found[1])

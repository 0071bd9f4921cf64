"""Stage two: the frames between two keyframes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from keysync.diffusion.condition import Condition
from keysync.generate.stage import Prepared, Stage, draw_noise


def interpolate(
    prepared: Prepared,
    windows: list[tuple[int, int]],
    keyframes: Float[Tensor, "k c h w"],
    stage: Stage,
    seed: int,
) -> Float[Tensor, "s t c h w"]:
    """Latents of every frame of S = K - 1 neighbouring windows; the ends are the keyframes themselves."""
    parts = [prepared.at(range(first, last + 1)) for first, last in windows]
    told = Condition(
        audio=torch.stack([p.audio for p in parts]),
        reference=torch.stack([keyframes[:-1], keyframes[1:]], dim=1),
        kept=torch.stack([p.latents for p in parts]),
        mask=torch.stack([p.masks for p in parts]),
    )
    # One draw per window, named by the window's place in the clip: batches of any size give the same film.
    shape = told.kept.shape[1:]
    noise = torch.stack([draw_noise(shape, seed, "windows", prepared.first + first) for first, _ in windows])
    latents = stage.sample(noise, told)
    latents[:, 0], latents[:, -1] = keyframes[:-1], keyframes[1:]
    return latents

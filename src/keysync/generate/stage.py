"""What both stages share: their inputs, their sampler settings, their noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import torch
from jaxtyping import Float
from torch import Tensor

from keysync.diffusion.condition import Condition
from keysync.diffusion.denoiser import Denoiser
from keysync.diffusion.guidance import SplitGuidance
from keysync.diffusion.sampler import euler


@dataclass(frozen=True, slots=True)
class Prepared:
    """A stretch of frames as one stage sees it; frame 0 of the tensors is frame ``first`` of the clip."""

    first: int
    latents: Float[Tensor, "n c h w"]  # of the input video
    masks: Float[Tensor, "n 1 h w"]  # 1 = repaint
    audio: Float[Tensor, "n s d"]  # tokens around each frame's time

    def __len__(self) -> int:
        return self.latents.shape[0]

    def at(self, positions: Sequence[int]) -> Prepared:
        """The frames at ``positions`` (counted from ``first``); past the end, the last frame again."""
        index = torch.tensor([min(p, len(self) - 1) for p in positions])
        return Prepared(self.first, self.latents[index], self.masks[index], self.audio[index])


@dataclass(frozen=True, slots=True)
class Stage:
    """A denoiser and how to sample from it."""

    denoiser: Denoiser
    guidance: SplitGuidance
    sigmas: Float[Tensor, " steps"]  # falling, trailing 0 included
    rows: int = 2  # segments per network call: memory against speed, never the result

    @torch.no_grad()
    def sample(self, noise: Float[Tensor, "b t c h w"], told: Condition) -> Float[Tensor, "b t c h w"]:
        """Denoise, ``rows`` segments per network call."""
        guided = self.guidance.wrap(self.denoiser, told, self.rows)
        return euler(guided, noise.to(told.kept), self.sigmas.to(told.kept))


def draw_noise(shape: Sequence[int], seed: int, stage: str, place: int) -> Float[Tensor, ...]:
    """Standard normal noise that depends on the seed and the place in the clip, and on nothing else.

    Drawn on the CPU, so that a seed means the same film on every device.
    """
    digest = sha256(f"{seed} {stage} {place}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randn(tuple(shape), generator=generator)

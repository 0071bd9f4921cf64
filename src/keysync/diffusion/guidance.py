"""How strongly the sound and the reference picture pull."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from keysync.diffusion.condition import Condition
from keysync.diffusion.denoiser import Denoiser
from keysync.diffusion.sampler import Denoise


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitGuidance:
    """Two strengths; 1 means as the network says, above 1 exaggerates what that source changes.

    D = D1 + reference * (D2 - D1) + audio * (D3 - D2), where D1 is told nothing, D2 the reference,
    D3 the reference and the sound.
    """

    audio: float
    reference: float

    @property
    def weights(self) -> tuple[float, float, float]:
        """The same formula as shares of D1, D2 and D3."""
        return 1 - self.reference, self.reference - self.audio, self.audio

    def wrap(self, denoiser: Denoiser, told: Condition, rows: int | None = None) -> Denoise:
        """A guided denoiser of the segments in ``told``.

        Each part is a network call of its own, left out if its weight is 0.

        Args:
            rows: segments per network call, all if None: memory against speed, never the result.
        """
        silent = told.without_audio()
        parts = [
            (weight, part)
            for weight, part in zip(self.weights, (silent.without_reference(), silent, told), strict=True)
            if weight != 0
        ]
        segments = told.kept.shape[0]
        batches = [slice(i, i + (rows or segments)) for i in range(0, segments, rows or segments)]

        def denoise(x: Float[Tensor, "b t c h w"], sigma: Float[Tensor, ""]) -> Float[Tensor, "b t c h w"]:
            total = torch.zeros_like(x)
            for batch in batches:
                for weight, part in parts:
                    total[batch] += weight * denoiser.denoise(x[batch], sigma, part.select(batch))
            return total

        return denoise

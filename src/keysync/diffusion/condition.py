"""What a network is told about the frames it repaints, as one value."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Condition:
    """Everything a network is told about B segments of T frames.

    ``hear`` and ``look`` switch a source off for guidance. They are flags, not zeroed fields, because what
    a network was trained to see instead is its own affair: the full networks put zeros behind their
    audio projection, where a zeroed input would leave its bias.
    """

    audio: Float[Tensor, "b t tokens dim"]  # encoder tokens of every frame
    reference: Float[Tensor, "b k c h w"]  # scaled latents: k=1 the identity frame, k=2 start and end
    kept: Float[Tensor, "b t c h w"]  # scaled latents of the input video
    mask: Float[Tensor, "b t 1 h w"]  # 1 = repaint, 0 = keep
    hear: bool = True
    look: bool = True

    def without_audio(self) -> Condition:
        """The same segments, unheard."""
        return replace(self, hear=False)

    def without_reference(self) -> Condition:
        """The same segments, without the reference picture."""
        return replace(self, look=False)

    def select(self, segments: slice) -> Condition:
        """Some of the segments."""
        return replace(
            self,
            audio=self.audio[segments],
            reference=self.reference[segments],
            kept=self.kept[segments],
            mask=self.mask[segments],
        )

"""The network that tells a face from what is before it.

It sees the aligned crop and a clean picture of the same person beside it, and answers for every pixel
how surely it is *not face*: not which thing, so things that were never drawn are found too. The clean
picture is what lets beards, glasses and shadows belong to the person; where none is known, it is blank.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from keysync.errors import ConfigError

SIDE = 128  # pixels of the crop that it sees


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmenterConfig:
    """Channels at the crop's full side; then at half of it, at a quarter, and so on."""

    fine: int = 8
    widths: tuple[int, ...] = (20, 36, 64, 96)

    def __post_init__(self) -> None:
        if not self.widths or min(self.fine, *self.widths) < 1:
            raise ConfigError(f"fine is {self.fine}, widths is {self.widths}; all must be 1 or more")


class _Conv(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_Conv(width, width), nn.Conv2d(width, width, 3, 1, 1, bias=False))
        self.norm = nn.BatchNorm2d(width)
        nn.init.zeros_(self.norm.weight)  # it begins as nothing, so that many in a row can be learnt

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return F.relu(x + self.norm(self.body(x)))


class Segmenter(nn.Module):
    """A U-Net on the crop, the clean picture and where that is known.

    It works at half the crop's side, with the four pixels of a cell as channels. Only two thin layers see
    the full side: they set edges, and find the strokes of letters.
    """

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.config = config
        first, fine = config.widths[0], config.fine
        self.fine = _Conv(3 + 3 + 1, fine)
        self.enter = _Conv(4 * (3 + 3 + 1) + 2, first)  # crop, clean picture, known; place
        pairs = list(pairwise(config.widths))
        self.down = nn.ModuleList(nn.Sequential(_Conv(a, b, 2), _Residual(b), _Residual(b)) for a, b in pairs)
        self.middle = _Residual(config.widths[-1])
        self.narrow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in reversed(pairs))
        self.up = nn.ModuleList(_Conv(a, a) for a, _ in reversed(pairs))
        self.leave = nn.Conv2d(first, 4 * fine, 1)
        self.answer = nn.Sequential(_Conv(2 * fine, fine), nn.Conv2d(fine, 1, 1))

    def forward(
        self,
        crops: Float[Tensor, "b 3 h w"],
        clean: Float[Tensor, "b 3 h w"],
        known: Float[Tensor, "b 1 h w"],
    ) -> Float[Tensor, "b 1 h w"]:
        """Logits of "not face".

        Args:
            crops: RGB, 0 to 1; ``clean`` likewise, used where ``known`` is 1 and not where it is 0.
        """
        pictures = torch.cat([crops - 0.5, (clean - 0.5) * known, known], dim=1)
        seen = F.pixel_unshuffle(pictures, 2)
        line = torch.linspace(-1, 1, seen.shape[-1], device=crops.device, dtype=crops.dtype)
        place = torch.stack([line.expand(len(line), -1), line[:, None].expand(-1, len(line))])
        x = self.enter(torch.cat([seen, place.expand(len(crops), -1, -1, -1)], dim=1))
        skips = [x]
        for level in self.down:
            x = level(x)
            skips.append(x)
        x = self.middle(skips.pop())
        for narrow, level in zip(self.narrow, self.up, strict=True):
            skip = skips.pop()
            x = F.interpolate(narrow(x), size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = level(x + skip)
        both = torch.cat([F.pixel_shuffle(self.leave(x), 2), self.fine(pictures)], dim=1)
        return cast(Tensor, self.answer(both))

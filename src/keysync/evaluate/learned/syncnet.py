"""SyncNet: five frames of a face and the sound beside them -> two vectors that are near when in sync.

Names of modules are those of the published checkpoint.

Source: Chung and Zisserman 2016, "Out of time: automated lip sync in the wild".
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

FRAMES = 5  # of picture in one window
SIDE = 224  # pixels
SOUND = 20  # steps of 10 ms in one window
_BATCH = 16  # windows at once: the first maps are large


class SyncNet(nn.Module):
    """The two-stream network; ``shrink`` divides every width, 1 is the published size."""

    def __init__(self, shrink: int = 1) -> None:
        super().__init__()
        a, b, c, d, e, out = (width // shrink for width in (64, 192, 256, 384, 512, 1024))
        f = 96 // shrink
        self.netcnnaud = nn.Sequential(
            *_flat(1, a, 3, padding=1),
            nn.MaxPool2d(1, 1),
            *_flat(a, b, 3, padding=1),
            nn.MaxPool2d(3, (1, 2)),
            *_flat(b, d, 3, padding=1),
            *_flat(d, c, 3, padding=1),
            *_flat(c, c, 3, padding=1),
            nn.MaxPool2d(3, 2),
            *_flat(c, e, (5, 4)),
        )
        self.netfcaud = _head(e, out)
        self.netcnnlip = nn.Sequential(
            *_deep(3, f, (FRAMES, 7, 7), stride=2),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_deep(f, c, (1, 5, 5), stride=2, padding=1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_deep(c, c, (1, 3, 3), padding=1),
            *_deep(c, c, (1, 3, 3), padding=1),
            *_deep(c, c, (1, 3, 3), padding=1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_deep(c, e, (1, 6, 6)),
        )
        self.netfclip = _head(e, out)

    def lips(self, frames: Float[Tensor, "frame 3 224 224"]) -> Float[Tensor, "frame-4 dim"]:
        """One vector for every five frames in a row; BGR, 0 to 255."""
        # The convolutions over time are not padded, so a stretch gives all its windows in one pass.
        starts = range(0, len(frames) - FRAMES + 1, _BATCH)
        stretches = (frames[start : start + _BATCH + FRAMES - 1] for start in starts)
        maps = [self.netcnnlip(rearrange(part, "t c h w -> 1 c t h w")) for part in stretches]
        out: Tensor = self.netfclip(rearrange(torch.cat(maps, dim=2), "1 c t 1 1 -> t c"))
        return out

    def sounds(self, cepstrum: Float[Tensor, "13 step"], windows: int) -> Float[Tensor, "{windows} dim"]:
        """One vector for every 200 ms of sound, the first at 0 ms, then every 40 ms."""
        cut = cepstrum.unfold(1, SOUND, 4)[:, :windows]
        out: Tensor = self.netfcaud(self.netcnnaud(rearrange(cut, "c n t -> n 1 c t")).flatten(1))
        return out


def _flat(before: int, after: int, kernel: int | tuple[int, int], padding: int = 0) -> list[nn.Module]:
    return [nn.Conv2d(before, after, kernel, padding=padding), nn.BatchNorm2d(after), nn.ReLU()]


def _deep(
    before: int, after: int, kernel: tuple[int, int, int], stride: int = 1, padding: int = 0
) -> list[nn.Module]:
    conv = nn.Conv3d(before, after, kernel, (1, stride, stride), (0, padding, padding))
    return [conv, nn.BatchNorm3d(after), nn.ReLU()]


def _head(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, out))

"""I3D: short clips -> the 400 action scores that FVD compares.

Names of modules are those of the published PyTorch files.

Source: Carreira and Zisserman 2017, arXiv:1705.07750.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 224  # pixels
ACTIONS = 400  # of Kinetics
_MIXED = {
    "3b": (192, (64, 96, 128, 16, 32, 32)),
    "3c": (256, (128, 128, 192, 32, 96, 64)),
    "4b": (480, (192, 96, 208, 16, 48, 64)),
    "4c": (512, (160, 112, 224, 24, 64, 64)),
    "4d": (512, (128, 128, 256, 24, 64, 64)),
    "4e": (512, (112, 144, 288, 32, 64, 64)),
    "4f": (528, (256, 160, 320, 32, 128, 128)),
    "5b": (832, (256, 160, 320, 32, 128, 128)),
    "5c": (832, (384, 192, 384, 48, 128, 128)),
}
_POOL_BEFORE = {"3b": ((1, 3, 3), (1, 2, 2)), "4b": ((3, 3, 3), (2, 2, 2)), "5b": ((2, 2, 2), (2, 2, 2))}


class I3d(nn.Module):
    """The RGB network; ``shrink`` divides every width but the scores and must divide 8."""

    def __init__(self, shrink: int = 1) -> None:
        super().__init__()
        s = shrink
        self.Conv3d_1a_7x7 = _Unit(3, 64 // s, 7, stride=2)
        self.Conv3d_2b_1x1 = _Unit(64 // s, 64 // s, 1)
        self.Conv3d_2c_3x3 = _Unit(64 // s, 192 // s, 3)
        for name, (before, widths) in _MIXED.items():
            setattr(self, f"Mixed_{name}", _Mixed(before // s, tuple(width // s for width in widths)))
        self.logits = _Scores(1024 // s)

    def forward(self, x: Float[Tensor, "n 3 t 224 224"]) -> Float[Tensor, "n 400"]:
        """Scores before the softmax, mean over time; RGB from -1 to 1, 9 frames or more."""
        x = _pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x))
        for name in _MIXED:
            if name in _POOL_BEFORE:
                x = _pool(x, *_POOL_BEFORE[name])
            x = getattr(self, f"Mixed_{name}")(x)
        scores: Tensor = self.logits(F.avg_pool3d(x, (2, 7, 7), stride=1))
        return scores.mean(dim=(2, 3, 4))


class _Unit(nn.Module):
    def __init__(self, before: int, after: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(before, after, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(after, eps=0.001)
        self._kernel, self._stride = (kernel,) * 3, (stride,) * 3

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv3d(_pad(x, self._kernel, self._stride))))


class _Mixed(nn.Module):
    def __init__(self, before: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.b0 = _Unit(before, widths[0], 1)
        self.b1a = _Unit(before, widths[1], 1)
        self.b1b = _Unit(widths[1], widths[2], 3)
        self.b2a = _Unit(before, widths[3], 1)
        self.b2b = _Unit(widths[3], widths[4], 3)
        self.b3b = _Unit(before, widths[5], 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = _pool(x, (3, 3, 3), (1, 1, 1))
        parts = [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)]
        return torch.cat(parts, dim=1)


class _Scores(nn.Module):
    def __init__(self, before: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(before, ACTIONS, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv3d(x)
        return out


def _pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    # Every pooled map comes out of a ReLU, so padding with zeros is the same as not counting it.
    return F.max_pool3d(_pad(x, kernel, stride), kernel, stride)


def _pad(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zeros so that the output has ceil(size / stride) places, the odd one at the end ("SAME")."""
    sides: list[int] = []
    for size, width, step in zip(x.shape[2:], kernel, stride, strict=True):
        missing = max(0, width - (step if size % step == 0 else size % step))
        sides = [missing // 2, missing - missing // 2, *sides]  # F.pad counts from the last axis
    return F.pad(x, sides)

"""Inception-v3 as FID uses it: pictures -> 2048 features.

Names of modules are torchvision's, those of the published file. Where the FID variant differs from
torchvision's network is said at each place.

Source: Szegedy et al. 2016, arXiv:1512.00567; the variant, Heusel et al. 2017, arXiv:1706.08500, in the
PyTorch port by Seitzer (pytorch-fid).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 299  # pixels


class Inception(nn.Module):
    """Up to the pooled features; ``shrink`` divides every width and must divide 16."""

    def __init__(self, shrink: int = 1) -> None:
        super().__init__()
        s = shrink
        self.Conv2d_1a_3x3 = _Conv(3, 32 // s, 3, stride=2)
        self.Conv2d_2a_3x3 = _Conv(32 // s, 32 // s, 3)
        self.Conv2d_2b_3x3 = _Conv(32 // s, 64 // s, 3, padding=1)
        self.Conv2d_3b_1x1 = _Conv(64 // s, 80 // s, 1)
        self.Conv2d_4a_3x3 = _Conv(80 // s, 192 // s, 3)
        self.Mixed_5b = _MixedA(192 // s, 32 // s, s)
        self.Mixed_5c = _MixedA(256 // s, 64 // s, s)
        self.Mixed_5d = _MixedA(288 // s, 64 // s, s)
        self.Mixed_6a = _MixedB(288 // s, s)
        self.Mixed_6b = _MixedC(768 // s, 128 // s, s)
        self.Mixed_6c = _MixedC(768 // s, 160 // s, s)
        self.Mixed_6d = _MixedC(768 // s, 160 // s, s)
        self.Mixed_6e = _MixedC(768 // s, 192 // s, s)
        self.Mixed_7a = _MixedD(768 // s, s)
        self.Mixed_7b = _MixedE(1280 // s, s, largest=False)
        self.Mixed_7c = _MixedE(2048 // s, s, largest=True)
        self.dim = 2048 // s

    def forward(self, x: Float[Tensor, "n 3 299 299"]) -> Float[Tensor, "n dim"]:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, 3, 2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = F.max_pool2d(x, 3, 2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean(dim=(2, 3))


class _Conv(nn.Module):
    def __init__(
        self,
        before: int,
        after: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


def _wide(before: int, after: int, size: int) -> _Conv:
    return _Conv(before, after, (1, size), padding=(0, size // 2))


def _tall(before: int, after: int, size: int) -> _Conv:
    return _Conv(before, after, (size, 1), padding=(size // 2, 0))


def _mean_pool(x: Tensor) -> Tensor:
    # FID variant: the zeros beyond the border do not count.
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class _MixedA(nn.Module):
    def __init__(self, before: int, pooled: int, s: int) -> None:
        super().__init__()
        self.branch1x1 = _Conv(before, 64 // s, 1)
        self.branch5x5_1 = _Conv(before, 48 // s, 1)
        self.branch5x5_2 = _Conv(48 // s, 64 // s, 5, padding=2)
        self.branch3x3dbl_1 = _Conv(before, 64 // s, 1)
        self.branch3x3dbl_2 = _Conv(64 // s, 96 // s, 3, padding=1)
        self.branch3x3dbl_3 = _Conv(96 // s, 96 // s, 3, padding=1)
        self.branch_pool = _Conv(before, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(_mean_pool(x))], dim=1)


class _MixedB(nn.Module):
    def __init__(self, before: int, s: int) -> None:
        super().__init__()
        self.branch3x3 = _Conv(before, 384 // s, 3, stride=2)
        self.branch3x3dbl_1 = _Conv(before, 64 // s, 1)
        self.branch3x3dbl_2 = _Conv(64 // s, 96 // s, 3, padding=1)
        self.branch3x3dbl_3 = _Conv(96 // s, 96 // s, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, 2)], dim=1)


class _MixedC(nn.Module):
    def __init__(self, before: int, inner: int, s: int) -> None:
        super().__init__()
        out = 192 // s
        self.branch1x1 = _Conv(before, out, 1)
        self.branch7x7_1 = _Conv(before, inner, 1)
        self.branch7x7_2 = _wide(inner, inner, 7)
        self.branch7x7_3 = _tall(inner, out, 7)
        self.branch7x7dbl_1 = _Conv(before, inner, 1)
        self.branch7x7dbl_2 = _tall(inner, inner, 7)
        self.branch7x7dbl_3 = _wide(inner, inner, 7)
        self.branch7x7dbl_4 = _tall(inner, inner, 7)
        self.branch7x7dbl_5 = _wide(inner, out, 7)
        self.branch_pool = _Conv(before, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), single, double, self.branch_pool(_mean_pool(x))], dim=1)


class _MixedD(nn.Module):
    def __init__(self, before: int, s: int) -> None:
        super().__init__()
        inner = 192 // s
        self.branch3x3_1 = _Conv(before, inner, 1)
        self.branch3x3_2 = _Conv(inner, 320 // s, 3, stride=2)
        self.branch7x7x3_1 = _Conv(before, inner, 1)
        self.branch7x7x3_2 = _wide(inner, inner, 7)
        self.branch7x7x3_3 = _tall(inner, inner, 7)
        self.branch7x7x3_4 = _Conv(inner, inner, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return torch.cat([three, self.branch7x7x3_4(seven), F.max_pool2d(x, 3, 2)], dim=1)


class _MixedE(nn.Module):
    def __init__(self, before: int, s: int, *, largest: bool) -> None:
        super().__init__()
        inner = 384 // s
        self.branch1x1 = _Conv(before, 320 // s, 1)
        self.branch3x3_1 = _Conv(before, inner, 1)
        self.branch3x3_2a = _wide(inner, inner, 3)
        self.branch3x3_2b = _tall(inner, inner, 3)
        self.branch3x3dbl_1 = _Conv(before, 448 // s, 1)
        self.branch3x3dbl_2 = _Conv(448 // s, inner, 3, padding=1)
        self.branch3x3dbl_3a = _wide(inner, inner, 3)
        self.branch3x3dbl_3b = _tall(inner, inner, 3)
        self.branch_pool = _Conv(before, 192 // s, 1)
        # FID variant: the very last block pools the largest value, not the mean.
        self._largest = largest

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, 1, 1) if self._largest else _mean_pool(x)
        parts = [self.branch1x1(x), self.branch3x3_2a(single), self.branch3x3_2b(single)]
        parts += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.branch_pool(pooled)]
        return torch.cat(parts, dim=1)

"""LPIPS: do two pictures look alike to a network that knows objects?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from keysync.evaluate.learned.metric import ClipMetric, check_pair, device_of, to_unit
from keysync.evaluate.learned.weights import WeightFile

BACKBONE = WeightFile(
    "alexnet-owt-7be5be79.pth",
    "download.pytorch.org/models",
    "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
)
HEADS = WeightFile(
    "alex.pth",
    "github.com/richzhang/PerceptualSimilarity, folder lpips/weights/v0.1",
    "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
)

_WIDTHS = (64, 192, 384, 256, 256)
_TAPS = (1, 4, 7, 9, 11)  # layers of AlexNet whose output is compared: after every ReLU
_BATCH = 16  # frames at once


class AlexNet(nn.Module):
    """The convolutions of AlexNet as torchvision names them; ``shrink`` divides every width.

    Source: Krizhevsky 2014, arXiv:1404.5997.
    """

    def __init__(self, shrink: int = 1) -> None:
        super().__init__()
        a, b, c, d, e = (width // shrink for width in _WIDTHS)
        layers = (
            *(nn.Conv2d(3, a, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(b, c, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(c, d, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(d, e, 3, padding=1), nn.ReLU()),
        )
        self.features = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> list[Tensor]:
        taps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in _TAPS:
                taps.append(x)
        return taps


class LinearHeads(nn.Module):
    """One weight for every channel of the five layers, under the names of the published file (v0.1)."""

    def __init__(self, shrink: int = 1) -> None:
        super().__init__()
        for index, width in enumerate(_WIDTHS):
            head = nn.Module()
            # The published heads drop channels while they are trained, so the convolution is number 1.
            head.model = nn.Sequential(nn.Identity(), nn.Conv2d(width // shrink, 1, 1, bias=False))
            setattr(self, f"lin{index}", head)

    def forward(self, differences: list[Tensor]) -> Float[Tensor, " n"]:
        means = [
            getattr(self, f"lin{index}").model(squared).mean(dim=(1, 2, 3))
            for index, squared in enumerate(differences)
        ]
        return torch.stack(means).sum(dim=0)


class Lpips(ClipMetric):
    """Learned perceptual distance, version 0.1 with AlexNet; 0 for identical frames, lower is better.

    Mean over the frames of a clip, at the size in which they come, then over clips.

    Source: Zhang et al. 2018, arXiv:1801.03924, equation 1.
    """

    files: ClassVar[tuple[WeightFile, ...]] = (BACKBONE, HEADS)
    higher_is_better: ClassVar[bool] = False

    def __init__(self, backbone: AlexNet, heads: LinearHeads) -> None:
        super().__init__()
        self._backbone = backbone
        self._heads = heads

    @staticmethod
    def build() -> tuple[AlexNet, LinearHeads]:
        """The networks at the size of the published files."""
        return AlexNet(), LinearHeads()

    @classmethod
    def load(cls, device: str) -> Lpips:
        backbone, heads = cls.build()
        loaded = BACKBONE.load(backbone, unused=("classifier.",)), HEADS.load(heads)
        return cls(loaded[0].to(device), loaded[1].to(device))

    @torch.no_grad()
    def add(
        self,
        pred: UInt8[np.ndarray, "t h w 3"],
        ref: UInt8[np.ndarray, "u h w 3"],
        speech: Float32[np.ndarray, " n"] | None,  # noqa: ARG002
        mouth: Float32[np.ndarray, "v 68 2"] | None,  # noqa: ARG002
    ) -> float:
        check_pair(pred, ref)
        distances = []
        for start in range(0, len(pred), _BATCH):
            seen, wanted = (self._features(frames[start : start + _BATCH]) for frames in (pred, ref))
            squares = [(a - b).square() for a, b in zip(seen, wanted, strict=True)]
            distances.append(self._heads(squares))
        return self._keep(float(torch.cat(distances).mean()))

    def _features(self, frames: UInt8[np.ndarray, "n h w 3"]) -> list[Tensor]:
        """Unit vectors across the channels, for every layer and place."""
        x = 2 * to_unit(frames, device_of(self._backbone)) - 1
        shift = torch.tensor([-0.030, -0.088, -0.188]).to(x)[:, None, None]
        spread = torch.tensor([0.458, 0.448, 0.450]).to(x)[:, None, None]
        return [F.normalize(tap, dim=1, eps=1e-10) for tap in self._backbone((x - shift) / spread)]

"""The compact autoencoder: linear to latents; a small network back that also looks at the person.

Encoding is one strided convolution whose filters are the principal components of face patches, so it
costs next to nothing and needs no training. 32 numbers per 16x16 patch say where lips, teeth and skin
are, not what they look like: that the decoder takes from a reference frame of the same person, whose
pixels it moves to where the latents want them, and from the part of the frame that is kept. Latents are
standardised per channel, which puts every channel on the scale the diffusion mathematics expects
(deviation 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from keysync.diffusion.autoencoder import Surroundings

_FOLD = 4  # working pixels on a side that the network sees as one
_MOVE = 1 / 16  # of the crop's side: how far an output of 1 moves the reference's pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactAutoencoderConfig:
    channels: int = 32
    patch: int = 16  # pixels of the working picture per latent cell
    shrink: int = 2  # crop pixels per pixel of the working picture
    widths: tuple[int, int] = (64, 128)  # of the decoder at 1/4 and 1/8 of the working picture


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.conv2.weight *= 0.1  # near the identity at the start: no normalisation layers needed

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return torch.add(x, self.conv2(F.silu(self.conv1(F.silu(x)))))


class CompactAutoencoder(nn.Module):
    """Pixels to standardised latents and back; see ``Autoencoder`` for the contract."""

    latent_mean: Tensor
    latent_deviation: Tensor
    softness = 0.7  # of lips and teeth, on footage and on drawn people (docs/lessons.md)

    def __init__(self, config: CompactAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.channels
        self.factor = config.patch * config.shrink
        low, high = config.widths
        self.components = nn.Parameter(torch.zeros(config.channels, 3, config.patch, config.patch))
        self.register_buffer("latent_mean", torch.zeros(config.channels))
        self.register_buffer("latent_deviation", torch.ones(config.channels))
        # In: the linear picture, the reference, what is kept, the mask.
        self.enter = nn.Conv2d(10 * _FOLD**2, low, 1)
        self.fine_in = nn.Sequential(_Residual(low), _Residual(low))
        self.down = nn.Conv2d(4 * low, high, 1)
        self.coarse = nn.Sequential(_Residual(high), _Residual(high))
        self.up = nn.Conv2d(high, 4 * low, 1)
        self.fine_out = nn.Sequential(_Residual(low), nn.SiLU())
        # Out: a correction, and how much of the reference to copy; and from where.
        self.paint = nn.Conv2d(low, 4 * _FOLD**2, 3, padding=1)
        self.move = nn.Conv2d(low, 2, 3, padding=1)
        for layer in (self.paint, self.move):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.latent_mean.device

    def shrink(self, images: Float[Tensor, "n c H W"]) -> Float[Tensor, "n c h w"]:
        """Crop to working picture: area mean."""
        step = self.config.shrink
        # Four times as fast as ``avg_pool2d`` on a CPU.
        parts = [images[..., row::step, column::step] for row in range(step) for column in range(step)]
        return sum(parts[1:], parts[0]) / step**2

    def encode_working(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c y x"]:
        """Working pictures in -1..1 to standardised latents."""
        z = F.conv2d(pictures, self.components, stride=self.config.patch)
        return (z - self.latent_mean[:, None, None]) / self.latent_deviation[:, None, None]

    def decode_linear(self, latents: Float[Tensor, "n c y x"]) -> Float[Tensor, "n 3 h w"]:
        """Standardised latents to working pictures by the components alone, about -1..1, not clipped."""
        z = latents * self.latent_deviation[:, None, None] + self.latent_mean[:, None, None]
        # What ``conv_transpose2d`` does, in a tenth of its time on a CPU.
        patches = torch.einsum("ncyx,cdpq->ndypxq", z, self.components)
        return patches.flatten(4, 5).flatten(2, 3)

    def decode_working(
        self, latents: Float[Tensor, "n c y x"], around: Surroundings
    ) -> tuple[Float[Tensor, "n 3 h w"], Float[Tensor, "n 1 h w"], Float[Tensor, "n 2 v u"]]:
        """What to paint, how much of the moved reference to lay over it, and how far to move it.

        Args:
            around: of working size.
        Returns:
            the paint, already weakened where the reference covers it; the cover, 0..1; the way back from
            each place to the reference's, x and y in sides of the crop, on the coarser grid. ``lay_over``
            puts them together.
        """
        linear = self.decode_linear(latents)
        seen = torch.cat([linear, around.reference, around.kept, around.mask], dim=1)
        seen = F.pixel_unshuffle(seen.contiguous(memory_format=torch.channels_last), _FOLD)
        fine = self.fine_in(self.enter(seen))
        coarse = self.coarse(self.down(F.pixel_unshuffle(fine, 2)))
        fine = self.fine_out(fine + F.pixel_shuffle(self.up(coarse), 2))
        change = F.pixel_shuffle(self.paint(fine), _FOLD)
        cover = torch.sigmoid(change[:, 3:] - 2)
        return linear * (1 - cover) + change[:, :3], cover, self.move(fine) * _MOVE

    def encode(
        self, images: Float[Tensor, "n 3 H W"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "n c y x"]:
        """Crops in -1..1 to latents. Deterministic: ``generator`` is part of the contract, not used."""
        del generator
        return self.encode_working(self.shrink(images))

    def decode(
        self, latents: Float[Tensor, "n c y x"], around: Surroundings | None = None
    ) -> Float[Tensor, "n 3 H W"]:
        """Latents to crops, about -1..1, by the components alone.

        With ``around`` the network paints where the mask is and one cell further; the rest is ``kept``.
        """
        if around is None or not around.mask.any():
            return self._grow(self.decode_linear(latents))
        cells, pixels = self._reach(around.mask)
        reference, kept, mask = (part[..., *pixels] for part in (around.reference, around.kept, around.mask))
        small = Surroundings(self.shrink(reference), self.shrink(kept), self.shrink(mask))
        paint, cover, way = self.decode_working(latents[..., *cells], small)
        grown = self._grow(torch.cat([paint, cover], dim=1))
        images = around.kept.clone()
        # The reference at the crop's own size: so what shrinking took from it is there again.
        images[..., *pixels] = lay_over(grown[:, :3], grown[:, 3:], way, reference, images.shape[-1])
        return images

    def _reach(self, mask: Float[Tensor, "n 1 H W"]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Rows and columns, in cells and in pixels, that hold the mask and one cell around it.

        The rest of the crop is never shown, and the network is most of the work.
        """
        covered = F.max_pool2d(mask, self.factor).amax(dim=(0, 1)) > 0
        cells = []
        for line in (covered.any(dim=1), covered.any(dim=0)):
            places = line.nonzero()
            cells.append(slice(max(int(places[0]) - 1, 0), min(int(places[-1]) + 2, len(line))))
        rows, columns = cells
        pixels = [slice(self.factor * part.start, self.factor * part.stop) for part in cells]
        return (rows, columns), (pixels[0], pixels[1])

    def _grow(self, pictures: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c H W"]:
        """Working picture to crop, bicubic. By OpenCV, which is many times as fast as PyTorch on a CPU."""
        factor = self.config.shrink
        planes = pictures.flatten(0, 1).cpu().numpy()
        grown = [
            cv2.resize(plane, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC) for plane in planes
        ]
        large = torch.from_numpy(np.stack(grown)).to(pictures)
        return large.view(*pictures.shape[:2], *large.shape[1:])


def lay_over(
    paint: Float[Tensor, "n 3 h w"],
    cover: Float[Tensor, "n 1 h w"],
    way: Float[Tensor, "n 2 v u"],
    reference: Float[Tensor, "n 3 h w"],
    side: int,
) -> Float[Tensor, "n 3 h w"]:
    """The paint, with the moved reference over it.

    Args:
        way: see ``CompactAutoencoder.decode_working``.
        side: of the crop that these pictures are a part of, in their pixels.
    """
    height, width = paint.shape[-2:]
    # Planes: with ``x`` and ``y`` side by side in memory it takes four times as long.
    way = F.interpolate(way.contiguous(), size=(height, width), mode="bilinear", align_corners=False)
    y, x = (
        (torch.arange(n, dtype=paint.dtype, device=paint.device) + 0.5) / n * 2 - 1 for n in (height, width)
    )
    place = torch.stack(
        [x + way[:, 0] * (2 * side / width), y[:, None] + way[:, 1] * (2 * side / height)], dim=-1
    )
    moved = F.grid_sample(reference, place, padding_mode="border", align_corners=False)
    return torch.addcmul(paint, cover, moved)

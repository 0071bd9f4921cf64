"""Does the repainted mouth look right? Aligned crops in, numbers out.

All pictures are crops of one and the same place and size, RGB, 8 bit. ``Areas`` says which pixels are
mouth, border and rest; the pure functions take pictures and areas, ``PictureScores`` adds them up over a
film, one frame at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.image import PeakSignalNoiseRatio

from keysync.errors import InputError
from keysync.mask.region import region

BEST_DB = 100.0  # stands for "identical", where PSNR has no value
_BORDER = 0.035  # of the crop: to either side of the mask's edge
_PLACES = {"mask": "inside", "border": "border", "outside": "outside"}
_EVERY = (
    4  # frames: neighbours are nearly alike, and looking at all of them says the same in four times the time
)
_STILL = 0.1  # levels: a truth that flickers less is a standing picture

Picture = UInt8[np.ndarray, "h w 3"]
Area = Bool[np.ndarray, "h w"]


@dataclass(frozen=True, slots=True)
class Areas:
    """Where a crop is judged."""

    inside: Area  # the mouth's mask without its border
    border: Area
    outside: Area


def areas(landmarks: Float[np.ndarray, "68 2"], size: int) -> Areas:
    """The three parts of a crop, from the landmarks of the true picture in pixels of the crop.

    The mask is the area inside the jaw line: all that speech moves, and no background.
    """
    mask = region("face", landmarks, size)
    if not mask.any():
        raise InputError("the face lies outside the picture; cut this part out")
    reach = 2 * round(_BORDER * size) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    core = cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0).astype(bool)
    wide = cv2.dilate(mask, kernel).astype(bool)
    return Areas(inside=core, border=wide & ~core, outside=~wide)


def psnr_db(pred: Picture, ref: Picture, area: Area) -> float:
    """Peak signal to noise ratio of the pixels in ``area``, dB; higher is better, 100 is identical.

    Misleads: blur is cheap, a sharp mouth a pixel off is dear.
    """
    noise = _Noise()
    noise.add(pred, ref, area)
    return noise.db()


def ssim_map(pred: Picture, ref: Picture) -> Float[np.ndarray, "h w"]:
    """Structural similarity of every pixel, on luma; -1 to 1, 1 is identical.

    Source: Wang et al. 2004. Misleads: flat skin scores high whatever the mouth does.
    """
    pair = [torch.from_numpy(_luma(picture))[None, None] for picture in (pred, ref)]
    full = structural_similarity_index_measure(pair[0], pair[1], data_range=255.0, return_full_image=True)
    assert isinstance(full, tuple)
    return np.asarray(full[1][0, 0].numpy())


def ssim(pred: Picture, ref: Picture, area: Area) -> float:
    """Mean of ``ssim_map`` over ``area``; 1 is identical."""
    return float(ssim_map(pred, ref)[area].mean())


def sharpness(picture: Picture, area: Area) -> float:
    """VL: variance of the Laplacian of luma in ``area``; higher is sharper, 0 is flat.

    Misleads: noise is sharp too, and faces differ, so compare with the true film's only.
    Source: Pech-Pacheco et al. 2000; as VL in Bigata et al. 2025, arXiv:2505.00497.
    """
    return float(cv2.Laplacian(_luma(picture), cv2.CV_32F)[area].var())


def second_difference(before: Picture, here: Picture, after: Picture, area: Area) -> float:
    """Mean size of the second difference over three frames in ``area``, levels; 0 is standing still."""
    first, second, third = (_luma(picture)[area] for picture in (before, here, after))
    return float(np.abs(first - 2 * second + third).mean())


def added_edges(picture: Picture, known: Sequence[Picture], area: Area) -> tuple[float, float]:
    """Gradient of luma in ``area`` that none of ``known`` has, and the strongest that they have.

    Both are means in levels per pixel. Only what is added counts: edges that are lost do not make up for
    new ones, or a blurred border would hide its seam.
    """
    ours, own = _gradient(picture)[area], np.max([_gradient(other)[area] for other in known], axis=0)
    return float(np.maximum(ours - own, 0).mean()), float(own.mean())


class PictureScores:
    """Adds up the pictures of one film, every fourth of them; bounded memory."""

    def __init__(self) -> None:
        self._count = 0
        self._noise: dict[str, _Noise] = {}
        self._ssim: dict[str, list[float]] = {}
        self._sharp: list[float] = []
        self._edges: list[tuple[float, float]] = []
        self._moves: list[tuple[float, float]] = []
        self._last: deque[tuple[Picture, Picture]] = deque(maxlen=3)

    def add(self, pred: Picture, ref: Picture, source: Picture | None, where: Callable[[], Areas]) -> None:
        """The next frame; ``source`` is the untouched picture, if there is one.

        Args:
            where: gives the frame's areas; not asked for each one.
        """
        place = self._count % _EVERY
        self._count += 1
        self._last.append((pred, ref))
        if place == 0:
            self._judge(pred, ref, source, where())
        elif place == 2:
            inside = where().inside
            (ours0, theirs0), (ours1, theirs1), (ours2, theirs2) = self._last
            self._moves.append(
                (
                    second_difference(ours0, ours1, ours2, inside),
                    second_difference(theirs0, theirs1, theirs2, inside),
                )
            )

    def _judge(self, pred: Picture, ref: Picture, source: Picture | None, where: Areas) -> None:
        similar = ssim_map(pred, ref)
        for name in _PLACES.values():
            area = getattr(where, name)
            if not area.any():
                continue
            self._noise.setdefault(name, _Noise()).add(pred, ref, area)
            self._ssim.setdefault(name, []).append(float(similar[area].mean()))
        self._sharp.append(sharpness(pred, where.inside))
        known = [ref] if source is None else [ref, source]  # an edge of either is no seam
        self._edges.append(added_edges(pred, known, where.border))

    def values(self) -> dict[str, float | None]:
        """The film's numbers, by metric name.

        ``mask_psnr_db``, ``border_psnr_db``, ``outside_psnr_db``, and ``_ssim`` of the same places;
        ``vl`` (see ``sharpness``); ``seam``: edges added along the mask's border (see ``added_edges``)
        over those that source and truth have, 0 is no seam, higher is more visible; ``flicker``: second
        difference in the mask over the truth's, 1 is as calm as the truth, above 1 flickers, below 1 is too
        still.
        """
        found: dict[str, float | None] = {}
        for short, name in _PLACES.items():
            found[f"{short}_psnr_db"] = self._noise[name].db() if name in self._noise else None
            found[f"{short}_ssim"] = float(np.mean(self._ssim[name])) if name in self._ssim else None
        found["vl"] = float(np.mean(self._sharp)) if self._sharp else None
        found["seam"] = _ratio(self._edges, 1e-3)
        found["flicker"] = _ratio(self._moves, _STILL)
        return found


def _ratio(pairs: list[tuple[float, float]], floor: float) -> float | None:
    if not pairs:
        return None
    ours, theirs = np.mean(pairs, axis=0).tolist()
    return float(ours / theirs) if theirs > floor else None


class _Noise:
    """PSNR over all pixels that were added."""

    def __init__(self) -> None:
        self._metric = PeakSignalNoiseRatio(data_range=255.0)

    def add(self, pred: Picture, ref: Picture, area: Area) -> None:
        pair = [torch.from_numpy(picture[area].astype(np.float32)) for picture in (pred, ref)]
        self._metric.update(*pair)

    def db(self) -> float:
        return min(float(self._metric.compute()), BEST_DB)


def _gradient(picture: Picture) -> Float[np.ndarray, "h w"]:
    luma = cv2.GaussianBlur(_luma(picture), (0, 0), 1.0)  # a seam is an edge, not grain
    across, down = cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1)
    return np.asarray(cv2.magnitude(across, down) / 8)  # Sobel's kernel weighs 8


def _luma(picture: Picture) -> Float[np.ndarray, "h w"]:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32))

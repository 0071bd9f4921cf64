"""Flat drawings of solid things: a height for every pixel, lit as if it were a solid; exact coverage.

A layer's alpha is the share of each pixel that the thing covers, so what is put in front of a face with
it has a known, soft outline. Lengths are centimetres, x to image right, y down, z towards the viewer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from keysync.synthetic.camera import develop
from keysync.synthetic.skin import linear

_TILE = 160  # texels along a side of a pattern
_PATTERNS = ("plain", "stripes", "checks", "dots", "clouds", "patches", "letters", "weave")

Plane = Float32[np.ndarray, "h w"]
Colour = Float64[np.ndarray, " 3"]


@dataclass(frozen=True, slots=True)
class Lamp:
    """One far lamp and the light from all around."""

    direction: Float64[np.ndarray, " 3"]  # unit, towards the lamp
    colour: Colour
    around: Colour


@dataclass(frozen=True, slots=True)
class Grid:
    """Pixels of a layer: ``left`` and ``top`` are the place of its first pixel from the anchor, in pixels."""

    left: int
    top: int
    width: int
    height: int
    px_per_cm: float

    def cm(self) -> tuple[Plane, Plane]:
        """x and y of every pixel's centre, cm from the anchor."""
        x = (np.arange(self.width, dtype=np.float32) + np.float32(self.left + 0.5)) / np.float32(
            self.px_per_cm
        )
        y = (np.arange(self.height, dtype=np.float32) + np.float32(self.top + 0.5)) / np.float32(
            self.px_per_cm
        )
        across, down = np.meshgrid(x, y)
        return across, down


@dataclass(frozen=True, slots=True)
class Layer:
    """One lit thing: linear light and coverage."""

    grid: Grid
    light: Float32[np.ndarray, "h w 3"]
    alpha: Plane


@dataclass(frozen=True, slots=True)
class Sprite:
    """A finished drawing: sRGB times alpha, and alpha. ``anchor`` is the pixel that goes to its target."""

    rgba: UInt8[np.ndarray, "h w 4"]
    anchor: tuple[float, float]
    px_per_cm: float


def grid_around(low: np.ndarray, high: np.ndarray, px_per_cm: float) -> Grid:
    """The smallest grid that holds a box of cm, with a pixel to spare on each side."""
    left, top = (math.floor(value * px_per_cm) - 2 for value in low)
    right, bottom = (math.ceil(value * px_per_cm) + 2 for value in high)
    return Grid(left, top, right - left, bottom - top, px_per_cm)


def light_up(
    grid: Grid,
    height_cm: Plane,
    albedo: Float32[np.ndarray, "h w 3"],
    lamp: Lamp,
    *,
    gloss: float = 0.1,
    sharpness: float = 20.0,
    skin: float = 0.0,
) -> Float32[np.ndarray, "h w 3"]:
    """Light on a height field: wrapped Lambert, a lobe of gloss, and darkness in its hollows."""
    scale = grid.px_per_cm / 8  # of Sobel's kernel
    across = cv2.Sobel(height_cm, cv2.CV_32F, 1, 0, ksize=3) * np.float32(scale)
    down = cv2.Sobel(height_cm, cv2.CV_32F, 0, 1, ksize=3) * np.float32(scale)
    length = 1 / np.sqrt(1 + across * across + down * down)
    lx, ly, lz = (np.float32(value) for value in lamp.direction)
    facing = (lz - lx * across - ly * down) * length
    half = lamp.direction + np.array([0.0, 0.0, 1.0])
    hx, hy, hz = (np.float32(value) for value in half / np.linalg.norm(half))
    lobe = np.maximum((hz - hx * across - hy * down) * length, 0) ** np.float32(sharpness)
    # What lies below the mean of its surroundings gets less of the light from around.
    sunk = cv2.blur(height_cm, (2 * round(0.45 * grid.px_per_cm) + 1,) * 2) - height_cm
    opened = np.clip(1 - 0.9 * np.maximum(sunk, 0), 0.3, 1)
    lit = np.empty_like(albedo)
    for i, wrap in enumerate((0.1 + 0.3 * skin, 0.1 + 0.05 * skin, 0.1)):
        lamp_light = np.maximum((facing + np.float32(wrap)) / np.float32(1 + wrap), 0)
        light = np.float32(lamp.colour[i]) * lamp_light * (0.4 + 0.6 * opened)
        light += np.float32(lamp.around[i]) * opened * (0.75 - 0.25 * down * length)
        lit[..., i] = albedo[..., i] * light + np.float32(gloss * lamp.colour[i]) * lobe * opened
    return lit


def smooth(rng: np.random.Generator, shape: tuple[int, int], cells: float | int, octaves: int = 3) -> Plane:
    """Smooth noise, about -1 to 1, with ``cells`` bumps along the longer side, and finer ones on top."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        count = cells * 2**octave / max(shape)
        coarse = rng.standard_normal(
            (math.ceil(height * count) + 2, math.ceil(width * count) + 2), np.float32
        )
        total += np.float32(0.5 * 0.5**octave) * cv2.resize(
            coarse, (width, height), interpolation=cv2.INTER_CUBIC
        )
    return total


def dye(rng: np.random.Generator, saturation: float | None = None) -> Colour:
    """Any colour, in linear light."""
    kept = rng.uniform(0, 1) ** 1.3 if saturation is None else saturation
    drawn = rng.uniform(0.02, 0.95, 3)
    return linear(kept * drawn + (1 - kept) * drawn.mean())


def pattern(rng: np.random.Generator, kind: str | None = None) -> Float32[np.ndarray, "160 160 3"]:
    """A tile of colour in linear light that may be repeated."""
    kind = kind or str(rng.choice(_PATTERNS))
    first, second = dye(rng), dye(rng)
    row, column = np.mgrid[0:_TILE, 0:_TILE]
    wide = int(_TILE / rng.choice([2, 4, 8, 16]))
    share = np.zeros((_TILE, _TILE), np.float32)
    if kind == "stripes":
        share = (((column, row, row + column)[rng.integers(3)] // max(wide // 2, 1)) % 2).astype(np.float32)
    elif kind == "checks":
        share = ((column // max(wide // 2, 1)) % 2 + (row // max(wide // 2, 1)) % 2).astype(np.float32) / 2
    elif kind == "dots":
        share = (np.hypot(column % wide - wide / 2, row % wide - wide / 2) < 0.3 * wide).astype(np.float32)
    elif kind == "clouds":
        share = np.clip(0.5 + smooth(rng, (_TILE, _TILE), rng.uniform(2, 9)), 0, 1)
    elif kind == "weave":
        share = np.float32(0.5) + np.float32(0.5) * (np.sin(row * 0.785) * np.sin(column * 0.785)).astype(
            np.float32
        )
    tile = (first * (1 - share[..., None]) + second * share[..., None]).astype(np.float32)
    if kind == "patches":
        centres = rng.uniform(0, _TILE, (int(rng.integers(5, 24)), 2))
        dyes = np.array([dye(rng) for _ in centres], np.float32)
        tile = dyes[
            ((row[..., None] - centres[:, 0]) ** 2 + (column[..., None] - centres[:, 1]) ** 2).argmin(-1)
        ]
    elif kind == "letters":
        ink = np.zeros((_TILE, _TILE), np.uint8)
        for y in range(18, _TILE, int(rng.integers(14, 40))):
            word = "".join(rng.choice(list("ABCDEFGHIKLMNOPRSTUVWXYZ0123456789 "), 14))
            cv2.putText(
                ink, word, (2, y), int(rng.integers(0, 5)), rng.uniform(0.35, 0.9), 255, 1, cv2.LINE_AA
            )
        tile = tile + (second - first).astype(np.float32) * (ink[..., None] / np.float32(255))
    grain = 1 + rng.uniform(0, 0.08) * rng.standard_normal((_TILE, _TILE, 1), np.float32)
    return np.asarray(np.clip(cv2.GaussianBlur(tile, (0, 0), 0.7) * grain, 0.002, 1).astype(np.float32))


def wrap(
    tile: Float32[np.ndarray, "160 160 3"], across_cm: Plane, down_cm: Plane, tile_cm: float
) -> Float32[np.ndarray, "h w 3"]:
    """A tile repeated every ``tile_cm`` over surface coordinates."""
    scale = np.float32(_TILE / tile_cm)
    return np.asarray(
        cv2.remap(tile, across_cm * scale, down_cm * scale, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    )


def outline(points: np.ndarray, px_per_cm: float, bevel_cm: float) -> tuple[Grid, Plane, Plane]:
    """A filled polygon of cm: its grid, coverage (from 4 x 4 samples a pixel) and rounded height."""
    grid = grid_around(points.min(axis=0), points.max(axis=0), px_per_cm)
    fine = 4
    corner = np.array([grid.left, grid.top])
    pixels = np.round(((points * px_per_cm - corner) * fine - 0.5) * 16).astype(np.int32)
    mask = np.zeros((grid.height * fine, grid.width * fine), np.uint8)
    cv2.fillPoly(mask, [pixels], 255, shift=4)
    alpha = cv2.resize(mask, (grid.width, grid.height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    inside = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / np.float32(px_per_cm)
    rest = np.maximum(bevel_cm - inside, 0)
    height = np.sqrt(np.maximum(bevel_cm * bevel_cm - rest * rest, 0)).astype(np.float32)
    return grid, alpha, cv2.GaussianBlur(height, (0, 0), max(0.06 * px_per_cm, 0.6))


def flatten(layers: list[Layer]) -> Sprite:
    """Put layers on top of each other, the first at the back; each darkens what it touches."""
    grids = [layer.grid for layer in layers]
    left, top = min(grid.left for grid in grids), min(grid.top for grid in grids)
    width = max(grid.left + grid.width for grid in grids) - left
    height = max(grid.top + grid.height for grid in grids) - top
    light, alpha = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    for layer in layers:
        grid = layer.grid
        at = np.s_[
            grid.top - top : grid.top - top + grid.height, grid.left - left : grid.left - left + grid.width
        ]
        cover = layer.alpha[..., None]
        near = cv2.GaussianBlur(layer.alpha, (0, 0), max(0.25 * grid.px_per_cm, 0.5))[..., None]
        light[at] = light[at] * (1 - 0.5 * near) * (1 - cover) + layer.light * cover
        alpha[at] = alpha[at] * (1 - layer.alpha) + layer.alpha
    colour = develop(light / np.maximum(alpha, 1e-3)[..., None]) * alpha[..., None]
    rgba = np.concatenate([colour, alpha[..., None]], axis=2)
    return Sprite((rgba * 255 + 0.5).astype(np.uint8), (float(-left), float(-top)), grids[0].px_per_cm)

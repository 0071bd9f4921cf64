"""Hair, beard, clothes and glasses: triangles and textures around a bare head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32, Int64
from scipy.ndimage import gaussian_filter

from keysync.synthetic.head import head_model, smooth_step
from keysync.synthetic.skin import (
    FACE_SIDE,
    Look,
    Texture,
    blurred_noise,
    layered_noise,
    linear,
    tiles,
    volume_noise,
)

_STYLES = ("bald", "buzz", "short", "medium", "long")
_STYLE_CHANCES = {False: (0.06, 0.12, 0.27, 0.25, 0.30), True: (0.02, 0.03, 0.15, 0.25, 0.55)}  # by feminine
_SHELLS = {"bald": 0, "buzz": 3, "short": 5, "medium": 6, "long": 5}
_THICKNESS_CM = {"bald": 0.0, "buzz": 0.25, "short": 0.8, "medium": 2.0, "long": 1.3}
# The hairline: its height (second row) over the depth z of the scalp (first row), from nape to forehead.
_HAIRLINE = (
    (-10, -6, -3, -1, 0.5, 2.2, 3.5, 5.5, 8, 10, 13),
    (-8, -7, -4, 2.5, 4.3, 4.3, 6.0, 8.6, 9.6, 9.8, 9.9),
)
_STRAND_SIDE, _CLOTH_SIDE = 512, 256
_MOUTH_Y = -2.9  # cm, on the mean head

Vertices = Float32[np.ndarray, "n 3"]


@dataclass(frozen=True, slots=True)
class Shell:
    """A copy of part of the head's surface, pushed out along its normals."""

    rows: Int64[np.ndarray, " k"]  # vertices of the head that it copies
    out_cm: Float32[np.ndarray, " k"]
    triangles: Int32[np.ndarray, "t 3"]  # of the k
    uv: Float32[np.ndarray, "k 2"]
    material: str
    layer: int  # 0 is opaque


@dataclass(frozen=True, slots=True)
class Sheet:
    """A grid of points worn on head or body."""

    points: Float32[np.ndarray, "k 3"]
    triangles: Int32[np.ndarray, "t 3"]  # of the k
    uv: Float32[np.ndarray, "k 2"]
    head_share: Float32[np.ndarray, " k"]  # 1 follows the head, 0 the body
    material: str
    layer: int


@dataclass(frozen=True, slots=True)
class Outfit:
    """What one person wears, hair included."""

    shells: tuple[Shell, ...]
    sheets: tuple[Sheet, ...]
    style: str
    glasses: bool


def dress(resting: Vertices, look: Look, rng: np.random.Generator) -> Outfit:
    """Draw hair, beard, clothes and glasses that fit one head."""
    style = str(rng.choice(_STYLES, p=_STYLE_CHANCES[look.feminine]))
    shells = _hair(style, rng) + (_beard(rng) if look.beard else [])
    sheets = [_torso(_breadth(resting), rng)]
    if style == "long":
        sheets += _curtain(resting, rng)
    glasses = bool(rng.random() < 0.18)
    if glasses:
        sheets += _glasses(resting, rng)
    return Outfit(tuple(shells), tuple(sheets), style, glasses)


def tuck_into_collar(resting: Vertices) -> Vertices:
    """Pull the bust inside the collar; at some identities the shoulders would stick out of the clothes."""
    neutral = head_model().neutral
    x, y, z = resting.T
    axis_z = -1.5
    allowed = np.interp(y, [-15, -13, -11.5, -10], [5.7, 5.7, 5.7, 6.0]) * _breadth(resting)
    bust = (neutral[:, 1] < -9.5) & ((neutral[:, 2] < 5) | (neutral[:, 1] < -12))
    shrink = np.where(bust, np.minimum(1, allowed / np.maximum(np.hypot(x, z - axis_z), 0.1)), 1)
    lowered = y - 6 * smooth_step(-14.5, -17, neutral[:, 1])
    return np.stack([x * shrink, lowered, (z - axis_z) * shrink + axis_z], axis=1).astype(np.float32)


def paint_strands(look: Look, rng: np.random.Generator) -> tuple[Texture, Texture]:
    """Textures of hair and beard: their alpha says where strands are and where holes."""
    fine = 6 * blurred_noise(rng, _STRAND_SIDE, 0.8, 22.0)
    locks = 22 * blurred_noise(rng, _STRAND_SIDE, 7.0, 60.0)
    hair = np.zeros((_STRAND_SIDE, _STRAND_SIDE, 8), np.float32)
    hair[..., :3] = look.hair * np.clip(1 + 0.38 * fine + 0.3 * locks, 0.25, 2.2)[..., None]
    hair[..., 4], hair[..., 6] = 0.5 * fine, 0.2 * locks
    hair[..., 7] = np.clip(0.8 + 0.5 * fine, 0, 2)
    beard = hair.copy()
    hair[..., 3] = np.clip(0.5 + 0.7 * (hair[..., 7] - 0.4), 0.15, 1)
    beard[..., 3] = 0.35
    beard[..., 7] = 0.3
    return hair, beard


def paint_cloth(rng: np.random.Generator) -> Texture:
    """Plain, striped either way, or checked."""
    saturation = rng.uniform(0.05, 0.7)

    def dye() -> Float64[np.ndarray, " 3"]:
        drawn = rng.uniform(0.03, 0.95, 3) ** 1.3
        return linear(saturation * drawn + (1 - saturation) * drawn.mean())

    first, second = dye(), dye()
    row, column = np.mgrid[0:_CLOTH_SIDE, 0:_CLOTH_SIDE]
    wide = int(rng.integers(2, 9))
    patterns = (
        np.zeros_like(row),
        row // (10 + wide) % 2,
        column // (8 + wide) % 2,
        (column // (14 + wide) % 2 + row // (14 + wide) % 2) / 2,
    )
    share = patterns[rng.integers(4)][..., None]
    cloth = np.zeros((_CLOTH_SIDE, _CLOTH_SIDE, 8), np.float32)
    weave = 1 + 0.06 * rng.standard_normal((_CLOTH_SIDE, _CLOTH_SIDE, 1))
    cloth[..., :3] = (first * (1 - share) + second * share) * weave
    cloth[..., 3], cloth[..., 7] = 1, 0.15
    cloth[..., 4:7] = 0.08 * rng.standard_normal((_CLOTH_SIDE, _CLOTH_SIDE, 3))
    return cloth


def _breadth(resting: Vertices) -> float:
    """Width of the bust against the mean head's."""
    return float(np.abs(resting[head_model().vertex_part == "head_neck", 0]).max() / 12.4)


def _shell(
    weight: Float[np.ndarray, " n"], out_cm: Float[np.ndarray, " n"], material: str, layer: int
) -> Shell:
    """Copy the triangles of skin whose corners all have some weight."""
    model = head_model()
    skin = np.isin(model.triangle_part, ("face", "head_neck"))
    kept = model.triangles[skin & (weight[model.triangles] > 0.02).all(axis=1)]
    rows, triangles = np.unique(kept, return_inverse=True)
    x, y, z = (model.neutral[rows] - np.array([0, 6, -1])).T
    around, down = np.arctan2(x, z) / (2 * np.pi), np.arctan2(np.hypot(x, z), y) / np.pi
    uv = np.stack([0.98 * around + 0.5, 1 - 0.98 * down], axis=1)
    return Shell(
        rows=rows.astype(np.int64),
        out_cm=out_cm[rows].astype(np.float32),
        triangles=triangles.reshape(-1, 3).astype(np.int32),
        uv=uv.astype(np.float32),
        material=material,
        layer=layer,
    )


def _hair(style: str, rng: np.random.Generator) -> list[Shell]:
    """Copies of the scalp: the first opaque, the outer ones with ever more holes at the rim."""
    model = head_model()
    x, y, z = model.neutral.T.astype(np.float64)
    fringe = 1.2 * np.cos(0.8 * x + rng.uniform(0, 6)) * rng.random()
    corners = rng.uniform(0, 1.2) * np.exp(-(((np.abs(x) - 4) / 1.5) ** 2))
    line = np.interp(z, *_HAIRLINE) + rng.uniform(-0.6, 0.6) + (fringe + corners) * (z > 5)
    line = line + 0.25 * volume_noise(rng, model.neutral, 0.8)
    scalp = np.isin(model.vertex_part, ("face", "head_neck")) & ~model.ears
    weight = smooth_step(-0.1, 0.9, y - line) * scalp
    bulge = 0.45 + 0.55 * smooth_step(0, 12, y - 0.6 * line)
    waves = 1 + 0.28 * layered_noise(rng, model.neutral, 2.6, 2)
    thickness_cm = _THICKNESS_CM[style] * rng.uniform(0.8, 1.3)
    shells = []
    for layer in range(_SHELLS[style]):
        height = (layer + 1) / _SHELLS[style]
        kept = weight > 0.02 + (0.0 if style == "buzz" else 0.35 * height)
        out_cm = 0.06 + thickness_cm * height * bulge * waves * smooth_step(0, 0.8, weight)
        shells.append(_shell(weight * kept, out_cm, "hair", layer))
    return shells


def _beard(rng: np.random.Generator) -> list[Shell]:
    model = head_model()
    column, row = np.clip(model.vertex_uv * (1, -1) + (0, 1), 0, 0.9999).T * FACE_SIDE
    weight = np.where(model.vertex_part == "face", tiles().beard[row.astype(int), column.astype(int)], 0.0)
    # A moustache is painted only: the face mesh takes strands beside the lip for its edge.
    weight = np.where((weight > 0.3) & (model.neutral[:, 1] < _MOUTH_Y), weight, 0.0)
    waves = (1 + 0.3 * layered_noise(rng, model.neutral, 2.6, 2)) * rng.uniform(0.6, 1.3)
    return [_shell(weight, 0.05 + 0.28 * (layer / 3) * waves, "beard", layer) for layer in (1, 2, 3)]


def _sheet(
    points: np.ndarray, uv: np.ndarray, head_share: float | np.ndarray, material: str, layer: int = 0
) -> Sheet:
    """Two triangles per cell of a grid of points."""
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    triangles = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).reshape(-1, 3)
    return Sheet(
        points=points.reshape(-1, 3).astype(np.float32),
        triangles=triangles.astype(np.int32),
        uv=np.broadcast_to(uv, (rows, columns, 2)).reshape(-1, 2).astype(np.float32),
        head_share=np.broadcast_to(head_share, (rows, columns)).reshape(-1).astype(np.float32),
        material=material,
        layer=layer,
    )


def _torso(breadth: float, rng: np.random.Generator) -> Sheet:
    """A turned shape from the collar down, with folds and a neckline."""
    at = [0, 0.03, 0.1, 0.2, 0.35, 0.5, 0.65, 1.0]
    down, around = np.linspace(0, 1, 28)[:, None], np.linspace(-np.pi, np.pi, 49)
    wide = np.interp(down, at, np.array([7.3, 7.6, 8.6, 11.5, 17, 20.5, 22, 23]) * breadth)
    deep = np.interp(down, at, np.array([6.9, 7.2, 7.8, 9, 10.5, 11.5, 12, 12.5]) * breadth)
    height = np.interp(down, at, [-12.2, -12.5, -13.7, -15.5, -18, -22, -28, -60]) - rng.uniform(0, 1.2)
    neckline = rng.choice([2.5, 4, 8, 3]) * np.maximum(np.cos(around), 0) ** 3 * np.exp(-5 * down)
    folds = 2.4 * gaussian_filter(rng.normal(size=(28, 49)), (3, 2))
    x = wide * np.sin(around)
    y = height - neckline + 0.3 * folds * (down > 0.15)
    z = -1.5 + deep * np.cos(around) * (1 + 0.03 * folds)
    uv = np.stack(np.broadcast_arrays(around / (2 * np.pi) + 0.5, 1 - down), -1)
    return _sheet(np.stack([x, y, z], -1), uv, 0.0, "cloth")


def _curtain(resting: Vertices, rng: np.random.Generator) -> list[Sheet]:
    """Long hair behind the ears: three sheets around the back of the head and down."""
    model = head_model()
    scalp = resting[np.isin(model.vertex_part, ("face", "head_neck")) & ~model.ears]
    slices = [scalp[np.abs(scalp[:, 1] - height) < 0.8] for height in range(13)]
    widest, rearmost = [np.abs(part[:, 0]).max() for part in slices], [-part[:, 2].min() for part in slices]
    length_cm, reach, flare = rng.uniform(12, 26), rng.uniform(1.6, 1.95), rng.uniform(0.2, 1.2)
    around, down = np.linspace(np.pi - reach, np.pi + reach, 90), np.linspace(0, 1, 30)[:, None]
    sheets = []
    for layer in range(3):
        waves = 5 * gaussian_filter(rng.normal(size=(30, 90)), (4, 3))
        locks = 2 * gaussian_filter(rng.normal(size=(1, 90)), (0, 2))
        y = 10.5 - 0.3 * layer - down * (length_cm + 7 + 2 * layer)
        over_ears = np.maximum(y, 1.0)  # further down, the hair hangs from there
        out_cm = 1.6 * smooth_step(7, 1, y) + 2 * np.sin(np.pi * np.minimum(1.1 * down, 1)) * flare
        rough = (1 + 0.03 * waves) * (1 + 0.03 * locks)
        wide = (np.interp(over_ears, range(13), widest) + 0.35 + 0.25 * layer + out_cm) * rough
        deep = (np.interp(over_ears, range(13), rearmost) - 0.5 + out_cm) * rough
        points = np.stack([wide * np.sin(around), y + 0.5 * waves, -1 + deep * np.cos(around)], -1)
        uv = np.stack(np.broadcast_arrays(0.882 * around / (2 * np.pi) + 0.05, 1 - 0.95 * down), -1)
        sheets.append(_sheet(points, uv, 1 - 0.6 * smooth_step(0.3, 1, down), "hair", layer))
    return sheets


def _glasses(resting: Vertices, rng: np.random.Generator) -> list[Sheet]:
    """Two rings of one size, a bridge and two arms; no panes."""
    model = head_model()
    eyes = {
        side: resting[model.landmarks[rows]].mean(axis=0)
        for side, rows in ((-1, slice(36, 42)), (1, slice(42, 48)))
    }
    half_wide, half_high = rng.uniform(2.5, 2.9), rng.uniform(1.7, 2.3)
    squareness, tube_cm = rng.uniform(2, 4), rng.uniform(0.10, 0.22)
    ear_x = float(np.abs(resting[model.ears, 0]).min() + 0.3)
    angle, tube = np.linspace(0, 2 * np.pi, 41), np.linspace(0, 2 * np.pi, 7)
    across, up = (np.sign(f) * np.abs(f) ** (2 / squareness) for f in (np.cos(angle), np.sin(angle)))
    uv = np.full(2, 0.5)
    sheets = []
    for side, eye in eyes.items():
        centre = eye + np.array([0.15 * side, -0.25, 1.9])
        bent = -0.15 * (across * side > 0) * np.abs(across)
        ring = centre + np.stack([half_wide * across, half_high * up, bent], 1)
        outward = np.stack([across, up, np.zeros(41)], 1)[:, None]
        forward = np.array([0.0, 0.0, 1.0])
        tubes = np.cos(tube)[:, None] * outward + np.sin(tube)[:, None] * forward
        sheets.append(_sheet(ring[:, None] + tube_cm * tubes, uv, 1.0, "frame"))
        hinge = centre + np.array([side * half_wide, 0.5, 0])
        arm = np.linspace(hinge, np.array([side * ear_x, hinge[1] - 0.3, 0]), 8)
        section = np.stack([0.6 * np.cos(tube), np.sin(tube), np.zeros(7)], 1)
        sheets.append(_sheet(arm[:, None] + tube_cm * section, uv, 1.0, "frame"))
    bridge = np.linspace(
        eyes[-1] + np.array([half_wide - 0.15, 0.2, 1.95]),
        eyes[1] + np.array([0.15 - half_wide, 0.2, 1.95]),
        8,
    )
    bridge = bridge + np.sin(np.linspace(0, np.pi, 8))[:, None] * np.array([0, 0.35, 0.25])
    section = np.stack([np.zeros(7), np.cos(tube), np.sin(tube)], 1)
    sheets.append(_sheet(bridge[:, None] + tube_cm * section, uv, 1.0, "frame"))
    return sheets

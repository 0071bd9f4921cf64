"""Hair, beard, clothes and glasses: extra triangles around a head."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Float64, Int32
from scipy.ndimage import gaussian_filter

from keysync.synthetic.head import BEARD, CLOTH, FACE, FRAME, HAIR, SCALP, head_model, smoothstep
from keysync.synthetic.skin import FACE_SIDE, canvas, cloud

STYLES = ("bald", "buzz", "short", "medium", "long")
_STYLE_CHANCES = {False: (0.06, 0.12, 0.27, 0.25, 0.30), True: (0.02, 0.03, 0.15, 0.25, 0.55)}
_SHELLS = {"bald": 0, "buzz": 3, "short": 5, "medium": 6, "long": 5}
_THICK_CM = {"bald": 0.0, "buzz": 0.25, "short": 0.8, "medium": 2.0, "long": 1.3}
# Height of the hairline over depth: from the neck at the back to the forehead.
_LINE_Z = (-10, -6, -3, -1, 0.5, 2.2, 3.5, 5.5, 8, 10, 13)
_LINE_Y = (-8, -7, -4, 2.5, 4.3, 4.3, 6.0, 8.6, 9.6, 9.8, 9.9)


@dataclass(frozen=True, slots=True)
class Piece:
    """A patch of triangles; indices count from the piece's own first vertex."""

    triangles: Int32[np.ndarray, "t 3"]
    uv: Float32[np.ndarray, "n 2"]
    material: int
    opaque: bool
    shell: bool  # rides on the skin; else a loose sheet


@dataclass(slots=True)
class Outfit:
    """Pieces to append to the head's own triangles.

    Shell vertices ride on head vertices along their normals; loose ones move with head and body.
    """

    base: Float32[np.ndarray, "v 3"]
    pieces: list[Piece] = field(default_factory=list)
    shell_rows: list[Int32[np.ndarray, " n"]] = field(default_factory=list)
    shell_cm: list[Float32[np.ndarray, " n"]] = field(default_factory=list)
    loose: list[Float64[np.ndarray, "n 3"]] = field(default_factory=list)
    loose_with_head: list[Float64[np.ndarray, " n"]] = field(default_factory=list)

    def add_shell(self, weight: np.ndarray, cm: np.ndarray, material: int, *, opaque: bool = False) -> None:
        """A copy of the skin where ``weight`` > 0.02, pushed out by ``cm``."""
        model = head_model()
        covered = (weight[model.triangles] > 0.02).all(axis=1) & np.isin(model.material, (FACE, SCALP))
        triangles = model.triangles[covered]
        rows, local = np.unique(triangles, return_inverse=True)
        around = model.neutral[rows] - [0, 6.0, -1.0]
        turn = np.arctan2(around[:, 0], around[:, 2])
        down = np.arctan2(np.hypot(around[:, 0], around[:, 2]), around[:, 1])
        uv = np.stack([turn / (2 * np.pi) * 0.98 + 0.5, 1 - down / np.pi * 0.98], axis=1).astype(np.float32)
        self.pieces.append(Piece(local.reshape(-1, 3).astype(np.int32), uv, material, opaque, shell=True))
        self.shell_rows.append(rows.astype(np.int32))
        self.shell_cm.append(cm[rows].astype(np.float32))

    def add_sheet(
        self, points: np.ndarray, uv: np.ndarray, material: int, with_head: np.ndarray | float, *, opaque: bool = True
    ) -> None:
        """A grid of points [a b 3] as triangles."""
        a, b = points.shape[:2]
        index = np.arange(a * b).reshape(a, b)
        quads = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], axis=-1).reshape(-1, 4)
        triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
        flat = np.broadcast_to(uv, (a, b, 2)).reshape(-1, 2).astype(np.float32)
        self.pieces.append(Piece(triangles, flat, material, opaque, shell=False))
        self.loose.append(points.reshape(-1, 3))
        self.loose_with_head.append(np.broadcast_to(with_head, (a, b)).reshape(-1).astype(np.float64))


def dress(base: Float32[np.ndarray, "v 3"], feminine: bool, bearded: bool, rng: np.random.Generator) -> Outfit:
    """Clothes always, hair and glasses by chance."""
    outfit = Outfit(base)
    style = str(rng.choice(STYLES, p=_STYLE_CHANCES[feminine]))
    _hair(outfit, style, rng)
    if bearded:
        _beard(outfit, rng)
    _torso(outfit, rng)
    if style == "long":
        _curtain(outfit, rng)
    if rng.random() < 0.18:
        _glasses(outfit, rng)
    return outfit


def _ears() -> np.ndarray:
    u, v = canvas().vertex_uv.T
    return head_model().of_part("face") & ((u < 0.105) | (u > 0.895)) & (v > 0.44) & (v < 0.70)


def _hair(outfit: Outfit, style: str, rng: np.random.Generator) -> None:
    model = head_model()
    x, y, z = model.neutral.T
    line = np.interp(z, _LINE_Z, _LINE_Y) + rng.uniform(-0.6, 0.6)
    temples = rng.uniform(0, 1.2) * np.exp(-(((np.abs(x) - 4) / 1.5) ** 2))
    line += (1.2 * np.cos(x * 0.8 + rng.uniform(0, 6)) * rng.uniform() + temples) * (z > 5)
    line += 0.25 * cloud(rng, model.neutral, 0.8)
    on_head = model.of_part("face") | model.of_part("head_neck")
    weight = smoothstep(-0.1, 0.9, y - line) * ~_ears() * on_head
    thick, shells = _THICK_CM[style] * rng.uniform(0.8, 1.3), _SHELLS[style]
    uneven, bulge = cloud(rng, model.neutral, 2.6, 2), smoothstep(0, 12, y - line * 0.6)
    for i in range(shells):
        share = (i + 1) / shells
        kept = weight * (weight > 0.02 + 0.35 * share * (style != "buzz"))
        cm = 0.06 + thick * share * (0.45 + 0.55 * bulge) * (1 + 0.28 * uneven) * smoothstep(0, 0.8, weight)
        outfit.add_shell(kept, cm, HAIR, opaque=i == 0)


def _beard(outfit: Outfit, rng: np.random.Generator) -> None:
    model, on = head_model(), canvas()
    face = np.flatnonzero(model.of_part("face"))
    at = on.pixels(face).astype(int).clip(0, FACE_SIDE - 1)
    weight = np.zeros(len(model.neutral))
    weight[face] = on.beard[at[:, 1], at[:, 0]]
    weight[weight <= 0.3] = 0
    uneven = cloud(rng, model.neutral, 2.6, 2)
    long = rng.uniform(0.6, 1.3)
    for share in (1 / 3, 2 / 3, 1.0):
        outfit.add_shell(weight, 0.05 + 0.28 * share * (1 + 0.3 * uneven) * long, BEARD)


def _torso(outfit: Outfit, rng: np.random.Generator) -> None:
    wide = collar_scale(outfit.base)
    knots = (0, 0.03, 0.1, 0.2, 0.35, 0.5, 0.65, 1.0)
    down = np.linspace(0, 1, 28)
    turn = np.linspace(-np.pi, np.pi, 49)
    half = np.interp(down, knots, np.array([7.3, 7.6, 8.6, 11.5, 17, 20.5, 22, 23]) * wide)[:, None]
    deep = np.interp(down, knots, (6.9, 7.2, 7.8, 9, 10.5, 11.5, 12, 12.5))[:, None]
    height = np.array([-13.0, -13.2, -14.2, -15.8, -18.0, -22, -28, -60]) - rng.uniform(0, 1.2)
    height = np.interp(down, knots, height)[:, None]
    neckline = rng.choice([2.5, 4, 8, 3]) * np.maximum(np.cos(turn), 0) ** 3 * np.exp(-down * 5)[:, None]
    folds = gaussian_filter(rng.normal(size=(28, 49)), (3, 2)) * 2.4
    points = np.stack(
        [
            half * np.sin(turn),
            height - neckline + folds * 0.3 * (down[:, None] > 0.15),
            -1.5 + deep * np.cos(turn) * (1 + 0.03 * folds),
        ],
        axis=-1,
    )
    uv = np.stack(np.broadcast_arrays((turn / (2 * np.pi) + 0.5)[None], 1 - down[:, None]), axis=-1)
    outfit.add_sheet(points, uv, CLOTH, 0.0)


def collar_scale(base: np.ndarray) -> float:
    """How wide this head is against the mean one: collars follow."""
    return float(np.abs(base[head_model().of_part("head_neck"), 0]).max() / 12.4)


def _curtain(outfit: Outfit, rng: np.random.Generator) -> None:
    """Long hair behind the ears and down the back."""
    model, base = head_model(), outfit.base
    head = (model.of_part("face") | model.of_part("head_neck")) & ~_ears()
    length, spread, flare = rng.uniform(12, 26), rng.uniform(1.6, 1.95), rng.uniform(0.2, 1.2)
    turn, down = np.linspace(np.pi - spread, np.pi + spread, 90), np.linspace(0, 1, 30)
    for layer in range(3):
        waves = gaussian_filter(rng.normal(size=(30, 90)), (4, 3)) * 5
        locks = gaussian_filter(rng.normal(size=(1, 90)), (0, 2)) * 2
        height = 10.5 - layer * 0.3 - down * (length + 7 + 2 * layer)
        at = np.maximum(height, 1.0)
        slices = [base[head & (np.abs(base[:, 1] - level) < 0.8)] for level in range(13)]
        wide = np.interp(at, range(13), [np.abs(s[:, 0]).max() for s in slices])
        deep = np.interp(at, range(13), [-s[:, 2].min() for s in slices])
        out = 1.6 * smoothstep(7, 1, height) + 2.0 * np.sin(np.pi * np.minimum(down * 1.1, 1)) * flare
        ripple = 1 + 0.03 * waves + 0.03 * locks
        points = np.stack(
            [
                (wide + 0.35 + 0.25 * layer + out)[:, None] * ripple * np.sin(turn),
                height[:, None] + waves * 0.5,
                -1.0 + (deep - 0.5 + out)[:, None] * ripple * np.cos(turn),
            ],
            axis=-1,
        )
        uv = np.stack(np.broadcast_arrays((turn / (2 * np.pi) * 0.88 + 0.05)[None], 1 - down[:, None] * 0.95), -1)
        outfit.add_sheet(points, uv, HAIR, (1 - 0.6 * smoothstep(0.3, 1, down))[:, None], opaque=layer == 0)


def _glasses(outfit: Outfit, rng: np.random.Generator) -> None:
    """Two rings of one size, a bridge, two temples: tubes around super-ellipses."""
    base, marks = outfit.base, head_model().landmarks
    half, tall = rng.uniform(2.5, 2.9), rng.uniform(1.7, 2.3)
    power, tube = rng.uniform(2, 4), rng.uniform(0.10, 0.22)
    around, ring = np.linspace(0, 2 * np.pi, 7), np.linspace(0, 2 * np.pi, 41)
    cosine = np.sign(np.cos(ring)) * np.abs(np.cos(ring)) ** (2 / power)
    sine = np.sign(np.sin(ring)) * np.abs(np.sin(ring)) ** (2 / power)
    flat = np.full((1, 1, 2), 0.5)
    ear = np.abs(base[_ears(), 0]).min() + 0.3
    centres = {}
    for side, eye in ((-1, marks[36:42]), (1, marks[42:48])):
        centre = base[eye].mean(axis=0) + [side * 0.15, -0.25, 1.9]
        centres[side] = centre
        outward = np.stack([cosine, sine, 0 * sine], axis=1)
        line = centre + np.stack([half * cosine, tall * sine, -0.15 * np.abs(cosine) * (cosine * side > 0)], 1)
        tubes = np.cos(around)[None, :, None] * outward[:, None] + np.sin(around)[None, :, None] * [0, 0, 1.0]
        outfit.add_sheet(line[:, None] + tube * tubes, flat, FRAME, 1.0)
        start = centre + [side * half, 0.5, 0]
        end = np.array([side * ear, start[1] - 0.3, 0.0])
        line = start + (end - start) * np.linspace(0, 1, 8)[:, None]
        section = np.stack([np.cos(around) * 0.6, np.sin(around), 0 * around], axis=1)
        outfit.add_sheet(line[:, None] + tube * section[None], flat, FRAME, 1.0)
    start, end = centres[-1] + [half - 0.15, 0.2, 0.05], centres[1] + [-half + 0.15, 0.2, 0.05]
    arch = np.sin(np.linspace(0, np.pi, 8))[:, None] * [0, 0.35, 0.25]
    line = start + (end - start) * np.linspace(0, 1, 8)[:, None] + arch
    section = np.stack([0 * around, np.cos(around), np.sin(around)], axis=1)
    outfit.add_sheet(line[:, None] + tube * section[None], flat, FRAME, 1.0)

"""One seed, one person: skin, outfit and the deforming mesh that a scene renders."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32, Float64

from keysync.synthetic.dress import collar_scale, dress
from keysync.synthetic.head import (
    BEARD, EYE, FACE, FRAME, GUM, HAIR, LASH, MOUTH, SCALP, TEETH, head_model, lip_gap_cm, smoothstep, solve_seal,
)  # fmt: skip
from keysync.synthetic.rasterise import normals, shadow_depth
from keysync.synthetic.skin import linear, paint_skin

_PIVOT = np.array([0, -6, -1.5], np.float32)  # the head turns about the top of the neck
_BODY_SHARE = 0.35  # how far the body follows the head's shifts
#                 specular, gloss, skin, interior, bump
_SURFACE = np.array(
    [
        [0.9, 14, 1, 0, 0.10], [0.7, 14, 1, 0, 0.10], [3.0, 160, 0, 0, 0], [1.2, 40, 0.8, 1, 0.05],
        [1.6, 40, 0.8, 1, 0], [1.3, 50, 0.3, 1.15, 0], [0.1, 5, 0, 0, 0], [0.9, 18, 0.1, 0, 0.45],
        [0.2, 6, 0.1, 0, 0.6], [0.4, 12, 0.1, 0, 0.5], [2.0, 60, 0, 0, 0],
    ],
    np.float32,
)  # fmt: skip


class Person:
    """Drawn from ``rng`` alone; about 2 s of work."""

    def __init__(self, rng: np.random.Generator) -> None:
        model = head_model()
        coefficients = np.clip(rng.normal(size=50) * 0.85, -2, 2).astype(np.float32)
        base = (model.neutral + np.tensordot(coefficients, model.identities, 1)).astype(np.float32)
        skin = paint_skin(rng)
        outfit = dress(base, skin.feminine, skin.bearded, rng)
        self._textures(skin, rng)

        heads, shells = len(base), sum(map(len, outfit.shell_rows))
        triangles, uv_index, material, see_through = [model.triangles], [model.uv_index], [model.material], [
            (model.material == LASH).astype(np.uint8)
        ]
        # Vertices are laid out as head, shells, loose sheets; outfit pieces come in any order.
        next_shell, next_loose, next_uv = heads, heads + shells, len(model.uv)
        for piece in outfit.pieces:
            first = next_shell if piece.shell else next_loose
            triangles.append(piece.triangles + first)
            uv_index.append(piece.triangles + next_uv)
            material.append(np.full(len(piece.triangles), piece.material, np.int32))
            ragged = piece.material in (HAIR, BEARD) and not piece.opaque
            see_through.append(np.full(len(piece.triangles), ragged, np.uint8))
            if piece.shell:
                next_shell += len(piece.uv)
            else:
                next_loose += len(piece.uv)
            next_uv += len(piece.uv)
        self.triangles = np.concatenate(triangles).astype(np.int32)
        self.uv_index = np.concatenate(uv_index).astype(np.int32)
        self.uv = np.concatenate([model.tile_uv, *(piece.uv for piece in outfit.pieces)]).astype(np.float32)
        self.material = np.concatenate(material).astype(np.int32)
        self.see_through = np.concatenate(see_through)
        self.cull = np.isin(self.material, (FACE, SCALP)).astype(np.uint8)
        self.casts_no_shadow = np.isin(self.material, (LASH, FRAME, EYE, TEETH, GUM, MOUTH)).astype(np.uint8)
        self._shell_rows = np.concatenate([*outfit.shell_rows, np.zeros(0, np.int32)]).astype(int)
        self._shell_cm = np.concatenate([*outfit.shell_cm, np.zeros(0, np.float32)]).astype(np.float32)
        self._loose = np.concatenate(outfit.loose).astype(np.float32)
        self._loose_with_head = np.concatenate(outfit.loose_with_head).astype(np.float32)[:, None]
        self.base = _inside_collar(base)
        self._with_head = smoothstep(-17, -8, model.neutral[:, 1]).astype(np.float32)[:, None]
        self.seal = solve_seal(self.base)
        self.occlusion = np.ones(0, np.float32)
        rest = self.pose(np.zeros(len(model.shapes), np.float32), np.eye(3), np.zeros(3))
        self.occlusion = self._bake_occlusion(*rest)

    def pose(
        self, weights: Float32[np.ndarray, " s"], turn: Float64[np.ndarray, "3 3"], shift: Float64[np.ndarray, "3"]
    ) -> tuple[Float32[np.ndarray, "n 3"], Float32[np.ndarray, "n 3"]]:
        """Vertices and normals of everything, for an expression, a rotation and a shift in cm."""
        model = head_model()
        turn, shift = turn.astype(np.float32), shift.astype(np.float32)
        body = shift * _BODY_SHARE

        def moved(points: np.ndarray, with_head: np.ndarray) -> np.ndarray:
            turned = (points - _PIVOT) @ turn.T + _PIVOT + shift
            return np.asarray(turned * with_head + (points + body) * (1 - with_head))

        self.expressed = model.express(self.base, weights)
        head = moved(self.expressed, self._with_head).astype(np.float32)
        head_normals = normals(head, model.triangles)
        shells = head[self._shell_rows] + head_normals[self._shell_rows] * self._shell_cm[:, None]
        vertices = np.concatenate([head, shells, moved(self._loose, self._loose_with_head)]).astype(np.float32)
        all_normals = normals(vertices, self.triangles)
        riding = slice(len(head), len(head) + len(shells))
        # Hair shells have ragged edges: their own normals alone would glitter.
        all_normals[riding] = 0.6 * all_normals[riding] + 0.4 * head_normals[self._shell_rows]
        return vertices, all_normals

    def gap_cm(self) -> float:
        """Lip gap of the last expression posed."""
        return lip_gap_cm(self.expressed, head_model().landmarks)

    def _textures(self, skin, rng: np.random.Generator) -> None:  # type: ignore[no-untyped-def]
        def flat(colour: np.ndarray, alpha: float = 1, gloss: float = 1) -> np.ndarray:
            return np.array([[[*colour, alpha, 0, 0, 0, gloss]]], np.float32)

        teeth = np.array([0.80, 0.74, 0.60]) * rng.uniform(0.75, 1.0)
        teeth *= [1, rng.uniform(0.96, 1), rng.uniform(0.88, 1)]
        strands = cv2.GaussianBlur(rng.normal(size=(512, 512)).astype(np.float32), (0, 0), sigmaX=0.8, sigmaY=22) * 6
        locks = cv2.GaussianBlur(rng.normal(size=(512, 512)).astype(np.float32), (0, 0), sigmaX=7, sigmaY=60) * 22
        hair = np.zeros((512, 512, 8), np.float32)
        hair[..., :3] = skin.hair * np.clip(1 + 0.38 * strands + 0.3 * locks, 0.25, 2.2)[..., None]
        hair[..., 4], hair[..., 6] = strands * 0.5, locks * 0.2
        hair[..., 7] = np.clip(0.8 + 0.5 * strands, 0, 2)
        beard = hair.copy()
        hair[..., 3] = np.clip(0.5 + 0.7 * (hair[..., 7] - 0.4), 0.15, 1)
        beard[..., 3], beard[..., 7] = 0.1 + 0.55 * rng.random((512, 512)), 0.3
        frame = rng.choice([0.05, 0.1, 0.4]) * np.array([1, rng.uniform(0.6, 1), rng.uniform(0.4, 1)])
        images = [
            skin.face, skin.scalp, skin.eye, skin.mouth, flat(np.array([0.45, 0.12, 0.12])), flat(teeth),
            flat(np.array([0.015, 0.012, 0.01]), 0.5, 0.1), hair, _cloth(rng), beard, flat(linear(frame), 1, 3),
        ]  # fmt: skip
        sizes = [image.shape[0] * image.shape[1] for image in images]
        self.atlas = np.concatenate([image.reshape(-1, 8) for image in images]).astype(np.float32)
        self.place = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
        self.wide = np.array([image.shape[1] for image in images], np.int32)
        self.high = np.array([image.shape[0] for image in images], np.int32)
        self.surface = _SURFACE.copy()
        self.surface[:2, 0] *= rng.uniform(0.5, 1.5)  # dry to oily skin

    def _bake_occlusion(
        self, vertices: np.ndarray, vertex_normals: np.ndarray, directions: int = 40, side: int = 200
    ) -> Float32[np.ndarray, " n"]:
        """Share of the sky each vertex sees, from shadow maps all around."""
        seen, total = np.zeros(len(vertices)), np.zeros(len(vertices))
        at = np.arange(directions) + 0.5
        down, turn = np.arccos(1 - 2 * at / directions), np.pi * (1 + 5**0.5) * at
        skip = np.isin(self.material, (LASH, FRAME, EYE)).astype(np.uint8)
        for direction in np.stack([np.cos(turn) * np.sin(down), np.cos(down), np.sin(turn) * np.sin(down)], axis=1):
            to_map = light_view(direction, side, 34.0, np.array([0, -6.0, 0]))
            points = (vertices @ to_map[:, :3].T + to_map[:, 3]).astype(np.float32)
            depth = np.full((side, side), -1e9, np.float32)
            shadow_depth(points, self.triangles, skip, depth)
            x, y = points[:, :2].astype(int).clip(0, side - 1).T
            facing = np.maximum(vertex_normals @ direction, 0)
            hidden = np.clip((depth[y, x] - points[:, 2] - 0.35) * 6, -50, 50)
            seen += facing / (1 + np.exp(hidden))
            total += facing
        occlusion = np.clip(0.08 + seen / (total + 1e-6), 0, 1).astype(np.float32)
        model, head = head_model(), occlusion[: len(self.base)]
        for part in ("teeth", "gums_tongue"):
            head[model.of_part(part)] = 1  # depth behind the lips darkens these instead
        for side_name in ("L", "R"):
            eye, socket = model.of_part(f"sclera_{side_name}"), model.of_part(f"eye_socket_{side_name}")
            head[eye] = np.maximum(head[eye], 0.6)
            head[socket] = np.clip(head[socket] * 1.2, 0, 1)
        return occlusion


def light_view(direction: np.ndarray, side: int, reach_cm: float, centre: np.ndarray) -> Float64[np.ndarray, "3 4"]:
    """World to the pixels of a square map seen from ``direction``; the third row is height towards it."""
    ahead = direction / np.linalg.norm(direction)
    up = np.array([0, 1.0, 0]) if abs(ahead[1]) < 0.95 else np.array([1.0, 0, 0])
    right = np.cross(up, ahead)
    right /= np.linalg.norm(right)
    scale = side / (2 * reach_cm)
    view = np.zeros((3, 4))
    view[0, :3], view[1, :3], view[2, :3] = right * scale, -np.cross(ahead, right) * scale, ahead
    view[:2, 3] = side / 2 - view[:2, :3] @ centre
    view[2, 3] = -ahead @ centre
    return view


def _cloth(rng: np.random.Generator) -> Float32[np.ndarray, "256 256 8"]:
    """Plain, stripes across, stripes down, or checks; never loud."""
    dull = rng.uniform(0.05, 0.7)

    def colour(power: float) -> np.ndarray:
        drawn = rng.uniform(0.03, 0.95, 3) ** power
        return linear(drawn * dull + (1 - dull) * drawn.mean())

    one, two, y, x, step = colour(1.3), colour(1.0), *np.mgrid[0:256, 0:256], int(rng.integers(2, 9))
    patterns = (
        np.zeros((256, 256)),
        (y // (10 + step)) % 2,
        (x // (8 + step)) % 2,
        ((x // (14 + step)) % 2 + (y // (14 + step)) % 2) / 2,
    )
    share = patterns[rng.integers(4)][..., None]
    cloth = np.zeros((256, 256, 8), np.float32)
    cloth[..., :3] = (one * (1 - share) + two * share) * (rng.normal(size=(256, 256, 1)) * 0.06 + 1)
    cloth[..., 3], cloth[..., 7] = 1, 0.15
    cloth[..., 4:7] = rng.normal(size=(256, 256, 3)) * 0.08
    return cloth


def _inside_collar(base: Float32[np.ndarray, "v 3"]) -> Float32[np.ndarray, "v 3"]:
    """Keep neck and bust inside the clothes at every identity."""
    neutral = head_model().neutral
    back = -1.5
    radius = np.hypot(base[:, 0], base[:, 2] - back)
    limit = np.interp(base[:, 1], (-15, -13, -11.5, -10), (6.2, 6.3, 6.6, 7.6)) * collar_scale(base)
    low = (neutral[:, 1] < -9.5) & ((neutral[:, 2] < 5) | (neutral[:, 1] < -12))
    shrink = np.where(low, np.minimum(1, limit / np.maximum(radius, 0.1)), 1)
    sunk = base[:, 1] - 6 * smoothstep(-14.5, -17, neutral[:, 1])
    return np.stack([base[:, 0] * shrink, sunk, (base[:, 2] - back) * shrink + back], axis=1).astype(np.float32)

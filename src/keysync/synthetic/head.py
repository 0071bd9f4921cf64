"""The morphable head: identity and expression weights to vertices.

Source: ICT Face Model Light, Li et al. 2020, "Learning Formation of Physically-Based Face Attributes";
see ``headmodel/README.md``. Lengths are centimetres, x to the subject's left, y up, z to the camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int32, UInt8

from keysync.synthetic.rasterise import deform

FACE, SCALP, EYE, MOUTH, GUM, TEETH, LASH, HAIR, CLOTH, BEARD, FRAME = range(11)  # materials
_MATERIAL = {
    "face": FACE, "head_neck": SCALP, "eye_socket_L": SCALP, "eye_socket_R": SCALP, "mouth_socket": MOUTH,
    "gums_tongue": GUM, "teeth": TEETH, "sclera_L": EYE, "sclera_R": EYE, "lashes_L": LASH, "lashes_R": LASH,
}  # fmt: skip
INNER_LIPS = ((61, 67), (62, 66), (63, 65))  # upper and lower landmark of three pairs


@dataclass(frozen=True, slots=True)
class HeadModel:
    """What is common to all heads."""

    neutral: Float32[np.ndarray, "v 3"]
    identities: Float32[np.ndarray, "50 v 3"]
    triangles: Int32[np.ndarray, "t 3"]
    uv_index: Int32[np.ndarray, "t 3"]
    uv: Float32[np.ndarray, "u 2"]  # as stored: the integer part of u is the tile
    material: Int32[np.ndarray, " t"]
    part: UInt8[np.ndarray, " v"]
    part_names: tuple[str, ...]
    landmarks: Int32[np.ndarray, " 68"]
    shapes: tuple[str, ...]  # expression names: 55 ARKit shapes, tongueUp, tongueOut
    rows: Int32[np.ndarray, " r"]  # sparse offsets, see ``rasterise.deform``
    offsets: Float32[np.ndarray, "r 3"]
    starts: Int32[np.ndarray, " s"]

    @property
    def tile_uv(self) -> Float32[np.ndarray, "u 2"]:
        """Texture coordinates inside their own tile."""
        wrapped = self.uv.copy()
        wrapped[:, 0] -= np.floor(self.uv[:, 0] - 1e-6)
        return wrapped

    def of_part(self, name: str) -> np.ndarray:
        """Which vertices belong to a part."""
        return self.part == self.part_names.index(name)

    def weights(self, named: dict[str, float]) -> Float32[np.ndarray, " s"]:
        """Expression weights by name as one row."""
        row = np.zeros(len(self.shapes), np.float32)
        for name, weight in named.items():
            row[self.shapes.index(name)] = weight
        return row

    def express(
        self, base: Float32[np.ndarray, "v 3"], weights: Float32[np.ndarray, " s"]
    ) -> Float32[np.ndarray, "v 3"]:
        """``base`` with an expression."""
        out = np.empty_like(base)
        deform(base, self.rows, self.offsets, self.starts, weights, out)
        return out


@cache
def head_model() -> HeadModel:
    """Load and trim the model once; iris, tear and blend meshes are left out (we paint the iris)."""
    with np.load(Path(__file__).parent / "headmodel" / "ict_face_light.npz", allow_pickle=False) as stored:
        data = {name: stored[name] for name in stored.files}
    names = tuple(str(n) for n in data["part_names"])
    drawn = [names.index(n) for n in _MATERIAL]
    first = data["tri"][:, 0].astype(int)
    lower_lashes = ((first >= 25693) & (first <= 26034)) | ((first >= 26377) & (first <= 26718))
    keep = np.isin(data["tri_part"], drawn) & ~lower_lashes
    material = np.array([_MATERIAL[names[p]] for p in data["tri_part"][keep]], np.int32)
    neutral = data["neutral"].astype(np.float32)
    part = data["vert_part"]

    modes = [*data["ex_modes"].astype(np.float32), *_tongue(neutral, part == names.index("gums_tongue"))]
    rows = [np.flatnonzero(np.abs(mode).max(axis=1) > 1e-3) for mode in modes]
    starts = np.concatenate([[0], np.cumsum([len(r) for r in rows])])
    return HeadModel(
        neutral=neutral,
        identities=data["id_modes"].astype(np.float32),
        triangles=data["tri"][keep].astype(np.int32),
        uv_index=data["tri_uv"][keep].astype(np.int32),
        uv=data["uv"].astype(np.float32),
        material=material,
        part=part,
        part_names=names,
        landmarks=data["landmarks68"].astype(np.int32),
        shapes=(*(str(n) for n in data["ex_names"]), "tongueUp", "tongueOut"),
        rows=np.concatenate(rows).astype(np.int32),
        offsets=np.concatenate([mode[r] for mode, r in zip(modes, rows, strict=True)]).astype(np.float32),
        starts=starts.astype(np.int32),
    )


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 at ``low``, 1 at ``high``, level at both ends."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _tongue(neutral: np.ndarray, tongue: np.ndarray) -> list[np.ndarray]:
    """The model has no tongue shapes; these two lift its tip and put it between the teeth."""
    x, y, z = neutral.T
    body = tongue * smoothstep(2.3, 1.5, np.abs(x)) * smoothstep(9.9, 8.8, z)
    body = body * smoothstep(-4.9, -3.9, y) * smoothstep(-2.2, -2.9, y)
    tip = body * smoothstep(5.0, 8.8, z)
    up, out = np.zeros_like(neutral), np.zeros_like(neutral)
    up[:, 1], up[:, 2] = tip * 0.75, tip * 0.35
    out[:, 1], out[:, 2] = tip * 0.35, tip * 1.1
    return [up.astype(np.float32), out.astype(np.float32)]


def lip_gap_cm(vertices: Float32[np.ndarray, "v 3"], landmarks: Int32[np.ndarray, " 68"]) -> float:
    """Mean vertical distance of the inner lips; negative when they overlap."""
    return float(np.mean([vertices[landmarks[a], 1] - vertices[landmarks[b], 1] for a, b in INNER_LIPS]))


def solve_seal(base: Float32[np.ndarray, "v 3"]) -> float:
    """Extra ``mouthClose`` that makes this identity's lips meet, by scan: neutral lips rest up to 2.5 mm apart."""
    model = head_model()

    def gap(extra: float) -> float:
        pressed = {"mouthPress_L": 0.22, "mouthPress_R": 0.22, "mouthRollLower": 0.08, "mouthRollUpper": 0.08}
        weights = model.weights({"jawOpen": 0.05, "mouthClose": 0.05 + extra, **pressed})
        return abs(lip_gap_cm(model.express(base, weights), model.landmarks))

    return float(min(np.linspace(-0.04, 0.08, 49), key=gap))


def rotation(pitch: float, yaw: float, roll: float) -> Float64[np.ndarray, "3 3"]:
    """Rotation matrix for degrees of pitch, then yaw, then roll."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.radians([pitch, yaw, roll])), np.sin(np.radians([pitch, yaw, roll]))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)

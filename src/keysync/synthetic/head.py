"""The head model: identity coefficients and expression weights in, vertices and mouth measures out.

Lengths are centimetres; x to the subject's left (image right), y up, z towards the camera.

Source: ICT Face Model Light (MIT), Li et al. 2020; see ``headmodel/README.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64

_LEFT_OUT = ("iris", "lacrimal", "eyeblend", "eyeocc")  # the sclera encloses the iris; the others need glass
_LOWER_LASHES = ((25693, 26034), (26377, 26718))  # first and last vertex; they look like dirt
_TONGUE_SHAPES = ("tongueUp", "tongueOut")  # made by hand: the model has none
_INNER_LIP_PAIRS = ((61, 67), (62, 66), (63, 65))  # landmarks above one another
_MOUTH_CORNERS = (60, 64)
_CLOSED_GAP_CM = -0.01  # a touch of overlap: at 0.03 teeth shine through
PIVOT = np.array([0.0, -6.0, -1.5], np.float32)  # the head turns about the top of the neck

Vertices = Float32[np.ndarray, "n 3"]


@dataclass(frozen=True, slots=True)
class HeadModel:
    """What all heads share. ``n`` vertices, ``t`` triangles, ``u`` texture coordinates."""

    neutral: Vertices
    identity_modes: Float32[np.ndarray, "50 n 3"]
    expressions: dict[
        str, tuple[Int64[np.ndarray, " k"], Float32[np.ndarray, "k 3"]]
    ]  # rows moved, by how much
    triangles: Int32[np.ndarray, "t 3"]
    triangle_uv: Int32[np.ndarray, "t 3"]
    triangle_part: np.ndarray  # t names
    vertex_part: np.ndarray  # n names
    uv: Float32[np.ndarray, "u 2"]  # 0 to 1 within the tile of the part
    vertex_uv: Float32[np.ndarray, "n 2"]
    ears: Bool[np.ndarray, " n"]
    landmarks: Int64[np.ndarray, " 68"]

    @property
    def names(self) -> tuple[str, ...]:
        """Expressions in the order of every weight vector: 55 ARKit shapes, tongueUp, tongueOut."""
        return tuple(self.expressions)


@cache
def head_model() -> HeadModel:
    """Load the model once per process."""
    resource = files("keysync.synthetic") / "headmodel" / "ict_face_light.npz"
    with as_file(resource) as path, np.load(path) as stored:
        data = {name: stored[name] for name in stored.files if not name.startswith("jaw_")}
    parts = data["part_names"]
    triangle_part = parts[data["tri_part"]]
    kept = ~np.isin(data["tri_part"], [i for i, part in enumerate(parts) if str(part).startswith(_LEFT_OUT)])
    for first, last in _LOWER_LASHES:
        kept &= ~((data["tri"][:, 0] >= first) & (data["tri"][:, 0] <= last))
    triangles = data["tri"][kept].astype(np.int32)
    triangle_uv = data["tri_uv"][kept].astype(np.int32)

    neutral = data["neutral"].astype(np.float32)
    uv = data["uv"].astype(np.float32)
    uv[:, 0] -= np.floor(uv[:, 0] - 1e-6)
    vertex_uv = np.zeros((len(neutral), 2), np.float32)
    vertex_uv[triangles.ravel()] = uv[triangle_uv.ravel()]
    vertex_part = parts[data["vert_part"]]
    beside = (vertex_uv[:, 0] < 0.105) | (vertex_uv[:, 0] > 0.895)
    ears = (vertex_part == "face") & beside & (vertex_uv[:, 1] > 0.44) & (vertex_uv[:, 1] < 0.70)

    offsets = dict(zip((str(name) for name in data["ex_names"]), data["ex_modes"], strict=True))
    offsets |= dict(zip(_TONGUE_SHAPES, _tongue_offsets(neutral, vertex_part), strict=True))
    expressions = {}
    for name, offset in offsets.items():
        rows = np.flatnonzero(np.abs(offset).max(axis=1) > 1e-3)  # moving only these keeps a frame at 3 ms
        expressions[name] = (rows, offset[rows].astype(np.float32))
    return HeadModel(
        neutral=neutral,
        identity_modes=data["id_modes"].astype(np.float32),
        expressions=expressions,
        triangles=triangles,
        triangle_uv=triangle_uv,
        triangle_part=triangle_part[kept],
        vertex_part=vertex_part,
        uv=uv,
        vertex_uv=vertex_uv,
        ears=ears,
        landmarks=data["landmarks68"].astype(np.int64),
    )


def smooth_step(
    start: float | int, end: float | int, x: Float32[np.ndarray, " *shape"] | Float64[np.ndarray, " *shape"]
) -> np.ndarray:
    """0 up to ``start``, 1 from ``end`` on, smooth between; ``start`` may be the larger."""
    t = np.clip((x - start) / (end - start), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))


def draw_shape(rng: np.random.Generator) -> Vertices:
    """The resting head of a random identity: a little less spread than the scans had, and no extremes."""
    model = head_model()
    coefficients = np.clip(rng.normal(0.0, 0.85, len(model.identity_modes)), -2.0, 2.0).astype(np.float32)
    return np.asarray(model.neutral + np.tensordot(coefficients, model.identity_modes, 1))


def express(resting: Vertices, weights: Float32[np.ndarray, " 57"]) -> Vertices:
    """Move a resting head's face; ``weights`` in the order of ``HeadModel.names``."""
    moved = resting.copy()
    for weight, (rows, offset) in zip(weights, head_model().expressions.values(), strict=True):
        if abs(weight) > 1e-4:
            moved[rows] += weight * offset
    return moved


def weight_vector(weights: dict[str, float]) -> Float32[np.ndarray, " 57"]:
    """Named weights as a vector, the others 0; an unknown name is a ``KeyError``."""
    index = {name: place for place, name in enumerate(head_model().names)}
    vector = np.zeros(len(index), np.float32)
    for name, weight in weights.items():
        vector[index[name]] = weight
    return vector


def lip_gap(vertices: Vertices) -> float:
    """Mean height of the opening between the inner lips, cm; negative where they overlap.

    Only the height: the pairs lie on either side of the contact line, so in 3D they never meet.
    """
    points = vertices[head_model().landmarks]
    return float(np.mean([points[above, 1] - points[below, 1] for above, below in _INNER_LIP_PAIRS]))


def mouth_width(vertices: Vertices) -> float:
    """Distance of the inner mouth corners, cm."""
    right, left = vertices[head_model().landmarks[list(_MOUTH_CORNERS)]]
    return float(np.linalg.norm(left - right))


def lip_depth(vertices: Vertices) -> float:
    """z of the middle of the inner lips, cm: how far they stand out."""
    return float(vertices[head_model().landmarks[[62, 66]], 2].mean())


def seal_lips(
    resting: Vertices, weights: Float32[np.ndarray, "t 57"], closure: Float32[np.ndarray, " t"]
) -> Float32[np.ndarray, "t 57"]:
    """Change ``mouthClose`` by up to 0.08 so that this head's lips meet wherever ``closure`` is 1.

    Neutral lips of random identities lie -0.7 to +2.5 mm apart, and a smile parts closed lips too. The
    gap is linear in the weights, so what is missing to each closure is known exactly.
    """
    model = head_model()
    rest = lip_gap(resting)
    slopes = np.array(
        [lip_gap(express(resting, unit)) - rest for unit in np.eye(len(model.names), dtype=np.float32)],
        np.float32,
    )
    close = model.names.index("mouthClose")
    missing = (_CLOSED_GAP_CM - rest - weights @ slopes) / slopes[close]
    sealed = weights.copy()
    sealed[:, close] = np.maximum(sealed[:, close] + closure * np.clip(missing, -0.08, 0.08), 0.0)
    return sealed


def rotation(degrees: Float32[np.ndarray, " 3"] | Float64[np.ndarray, " 3"]) -> Float32[np.ndarray, "3 3"]:
    """Pitch (down is positive), yaw (to image right), roll, applied in this order."""
    (cp, cy, cr), (sp, sy, sr) = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(roll @ yaw @ pitch, np.float32)


def _tongue_offsets(neutral: Vertices, vertex_part: np.ndarray) -> tuple[Vertices, Vertices]:
    """Offsets of the tongue's tip: up to the teeth ridge, and out between the teeth."""
    x, y, z = neutral.T
    tongue = (vertex_part == "gums_tongue") * smooth_step(2.3, 1.5, np.abs(x)) * smooth_step(9.9, 8.8, z)
    tongue = tongue * smooth_step(-4.9, -3.9, y) * smooth_step(-2.2, -2.9, y)
    tip = (tongue * smooth_step(5.0, 8.8, z))[:, None]
    up = tip * np.array([0.0, 0.75, 0.35])
    out = tip * np.array([0.0, 0.35, 1.1])
    return up.astype(np.float32), out.astype(np.float32)

"""One person's skin, lips, brows, stubble and eyes, painted in texture space.

Everything is painted from positions on the neutral head (baked into the texture once), so seams vanish
and every identity shares the code. Textures have the channels of ``light.CHANNELS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from jaxtyping import Float32, Float64
from scipy.interpolate import splev, splprep
from scipy.ndimage import distance_transform_edt, map_coordinates

from keysync.synthetic.head import head_model, smoothstep
from keysync.synthetic.rasterise import bake

FACE_SIDE, SCALP_SIDE, EYE_SIDE = 1024, 512, 256
TONES = ("f0d0b8", "e8c0a0", "dfb090", "d6a480", "c89270", "b88058", "a06c46", "885636", "6e4429", "553320", "42281a")
_IRISES = ("5b3a1e", "3b2412", "7a5a2e", "4f6b3a", "5f7f95", "86a0b0", "6b7b6b", "2e1c10")
_IRIS_CHANCES = (0.27, 0.22, 0.12, 0.07, 0.1, 0.07, 0.07, 0.08)
_HAIR = (
    (0.03, 0.025, 0.02), (0.07, 0.045, 0.03), (0.14, 0.08, 0.045), (0.28, 0.17, 0.08),
    (0.5, 0.36, 0.18), (0.32, 0.11, 0.05), (0.45, 0.45, 0.45), (0.15, 0.15, 0.15),
)  # fmt: skip
_HAIR_CHANCES = np.array([0.27, 0.22, 0.17, 0.1, 0.08, 0.05, 0.06, 0.05])

Image = Float32[np.ndarray, "h w c"]
Mask = Float32[np.ndarray, "h w"]


def linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB 0..1 to linear light."""
    srgb = np.asarray(srgb, dtype=np.float64)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def from_hex(code: str) -> Float64[np.ndarray, "3"]:
    return np.array([int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)])


def cloud(rng: np.random.Generator, positions: np.ndarray, scale_cm: float, octaves: int = 1) -> np.ndarray:
    """Smooth 3D noise at ``positions`` [... 3], about unit deviation for one octave."""
    total = np.zeros(positions.shape[:-1])
    for octave in range(octaves):
        grid = rng.normal(size=(48, 48, 48)).astype(np.float32)
        at = np.moveaxis(positions / (scale_cm / 2**octave), -1, 0) % 47
        total += map_coordinates(grid, at, order=1, mode="wrap") * 0.5**octave
    return total


@dataclass(frozen=True, slots=True)
class Canvas:
    """The neutral head unrolled: a position for every texel, and where features lie."""

    face: Float32[np.ndarray, "1024 1024 3"]
    scalp: Float32[np.ndarray, "512 512 3"]
    eye: Float32[np.ndarray, "256 256 3"]
    vertex_uv: Float32[np.ndarray, "v 2"]
    lips: Mask  # 1 on the lips
    beard: Mask  # 1 where a beard may grow

    def pixels(self, vertices: np.ndarray) -> Float64[np.ndarray, "n 2"]:
        """Where vertices of the face part lie on the face texture."""
        uv = self.vertex_uv[vertices].astype(np.float64)
        return np.stack([uv[:, 0] * FACE_SIDE, (1 - uv[:, 1]) * FACE_SIDE], axis=1)


@cache
def canvas() -> Canvas:
    model = head_model()

    def unroll(parts: tuple[str, ...], tile: float, side: int) -> np.ndarray:
        chosen = np.isin(model.part[model.triangles[:, 0]], [model.part_names.index(p) for p in parts])
        positions, filled = np.zeros((side, side, 3), np.float32), np.zeros((side, side), np.uint8)
        bake(model.uv, model.uv_index[chosen], model.triangles[chosen], model.neutral, tile, positions, filled)
        nearest = distance_transform_edt(filled == 0, return_distances=False, return_indices=True)
        return positions[nearest[0], nearest[1]]

    vertex_uv = np.zeros((len(model.neutral), 2), np.float32)
    vertex_uv[model.triangles.ravel()] = model.tile_uv[model.uv_index.ravel()]
    face = unroll(("face",), 0.0, FACE_SIDE)
    scalp = unroll(("head_neck", "eye_socket_L", "eye_socket_R", "mouth_socket"), 1.0, SCALP_SIDE)
    eye = unroll(("sclera_L",), 0.0, EYE_SIDE)

    uv = vertex_uv[model.landmarks[48:60]].astype(np.float64)
    outline = np.stack([uv[:, 0] * FACE_SIDE, (1 - uv[:, 1]) * FACE_SIDE], axis=1)
    spline, _ = splprep(np.vstack([outline, outline[:1]]).T, s=0, per=1)
    smooth = np.stack(splev(np.linspace(0, 1, 200), spline), axis=1)
    lips = np.zeros((FACE_SIDE, FACE_SIDE), np.uint8)
    cv2.fillPoly(lips, [np.round(smooth * 16).astype(np.int32)], 255, shift=4, lineType=cv2.LINE_AA)
    lip_mask = cv2.GaussianBlur(lips.astype(np.float32) / 255, (0, 0), 2.5)

    x, y, z = np.moveaxis(face, -1, 0)
    jaw = smoothstep(-2.6, -4.2, y - 0.28 * np.maximum(np.abs(x) - 3, 0)) * smoothstep(-11.5, -8.8, y)
    moustache = np.exp(-(((y + 1.95) / 0.55) ** 2)) * smoothstep(3.2, 2.4, np.abs(x))
    beard = np.maximum(jaw * smoothstep(1.5, 4, z), moustache) * (1 - np.clip(lip_mask * 1.6, 0, 1))
    beard *= 1 - 0.6 * np.exp(-((x / 1.4) ** 2) - ((y + 4.75) / 0.35) ** 2)
    return Canvas(face, scalp, eye, vertex_uv, lip_mask, np.clip(beard, 0, 1).astype(np.float32))


@dataclass(frozen=True, slots=True)
class Skin:
    """Textures and colours of one person; colours are linear light."""

    face: Image
    scalp: Image
    mouth: Image
    eye: Image
    colour: Float64[np.ndarray, "3"]
    hair: Float64[np.ndarray, "3"]
    feminine: bool
    bearded: bool


def paint_skin(rng: np.random.Generator) -> Skin:
    """Draw everything that ``Skin`` holds."""
    on = canvas()
    tone_at = rng.uniform(0, len(TONES) - 1.01)
    low = int(tone_at)
    tone = from_hex(TONES[low]) * (1 - tone_at + low) + from_hex(TONES[low + 1]) * (tone_at - low)
    tint = np.array([1.0, rng.uniform(0.90, 0.97), rng.uniform(0.84, 0.95)])
    colour = linear(np.clip(tone * rng.uniform(0.93, 1.03) * tint, 0, 1))
    feminine = bool(rng.random() < 0.5)
    redness, hollow = rng.uniform(0.3, 1.4), rng.uniform(0.3, 1.2)
    noise_seed = int(rng.integers(2**31))

    def skin(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        same = np.random.default_rng(noise_seed)  # one skin over both textures
        broad, fine = cloud(same, positions, 3.0, 3)[..., None], cloud(same, positions, 0.35, 2)[..., None]
        x, y, z = np.moveaxis(positions, -1, 0)

        def spot(cx: float, cy: float, sx: float, sy: float) -> np.ndarray:
            return np.exp(-(((np.abs(x) - cx) / sx) ** 2) - ((y - cy) / sy) ** 2) * smoothstep(2, 6, z)

        red = 0.55 * spot(4.5, 0.2, 2.2, 1.8) + 0.5 * spot(0, 0.8, 1.2, 1.5) * smoothstep(10, 12, z)
        red = (red + 0.35 * spot(0, -6.8, 1.8, 0.9))[..., None] * redness
        dark = spot(3.1, 3.2, 1.9, 1.0)[..., None] * hollow
        painted = colour * (1 + 0.07 * broad + 0.045 * fine) * (1 + red * [0.10, -0.14, -0.10])
        return np.clip(painted * (1 - dark * [0.16, 0.24, 0.20]), 0.003, 1), broad[..., 0]

    face, scalp = _blank(FACE_SIDE), _blank(SCALP_SIDE)
    face[..., :3], broad = skin(on.face)
    scalp[..., :3], _ = skin(on.scalp)
    face[..., 7], scalp[..., 7] = np.clip(0.6 + 0.4 * broad, 0.2, 1), 0.4
    for texture, strength in ((face, 2.2), (scalp, 2.0)):
        for channel in (4, 5, 6):
            grain = rng.normal(size=texture.shape[:2]).astype(np.float32)
            texture[..., channel] = cv2.GaussianBlur(grain, (0, 0), 1.0) * strength

    lip_colour = _paint_lips(face, colour, feminine, rng)
    _paint_marks(face, rng)
    chances = _HAIR_CHANCES.copy()
    if tone_at >= 4 and rng.random() > 0.15:
        chances[2:6] *= 0.05  # fair hair on dark skin is rare
    hair = np.array(_HAIR[rng.choice(len(_HAIR), p=chances / chances.sum())]) * rng.uniform(0.8, 1.2)
    _paint_brows(face, hair, colour, rng)
    if feminine and rng.random() < 0.5:
        x, y, z = np.moveaxis(on.face, -1, 0)
        lid = np.exp(-(((np.abs(x) - 3.1) / 1.7) ** 2) - ((y - 4.2) / 0.55) ** 2) * smoothstep(5, 7, z)
        _mix(face, lid * rng.uniform(0.2, 0.6), linear(rng.uniform(0.15, 0.6, 3)) * colour.mean() * 2)
    bearded = False
    if not feminine and rng.random() < 0.6:
        strength = rng.uniform(0.2, 0.9)
        hairs = cv2.GaussianBlur(rng.normal(size=on.beard.shape).astype(np.float32), (0, 0), 0.9) * 2.4
        cover = on.beard * strength * np.clip(0.55 + 0.5 * hairs, 0, 1) * 0.75
        _mix(face, cover, np.minimum(hair * 0.8 + 0.02, colour * 0.6))
        bearded = bool(strength > 0.7)

    mouth = scalp.copy()
    outside = smoothstep(9.4, 10.5, on.scalp[..., 2])[..., None]
    mouth[..., :3] = lip_colour * 0.9 * outside + (1 - outside) * np.array([0.22, 0.035, 0.03])
    mouth[..., 4:7] *= 0.2
    mouth[..., 7] = 1.2
    return Skin(face, scalp, mouth, _paint_eye(rng), colour, hair, feminine, bearded)


def _blank(side: int) -> Image:
    texture = np.zeros((side, side, 8), np.float32)
    texture[..., 3] = 1
    return texture


def _mix(texture: Image, cover: np.ndarray, colour: np.ndarray) -> None:
    cover = cover[..., None]
    texture[..., :3] = texture[..., :3] * (1 - cover) + cover * colour


def _paint_lips(
    face: Image, colour: np.ndarray, feminine: bool, rng: np.random.Generator
) -> Float64[np.ndarray, "3"]:
    lips = canvas().lips
    own = colour * [1.0, 0.58, 0.55] * rng.uniform(0.75, 1.02) + np.array([0.05, 0, 0.005]) * rng.uniform()
    strength = rng.uniform(0.6, 0.95)
    if feminine and rng.random() < 0.5:
        stick = [rng.uniform(0.45, 0.85), rng.uniform(0.08, 0.35), rng.uniform(0.15, 0.40)]
        own, strength = linear(np.array(stick)) * 0.8 + 0.2 * own, 0.85
    lines = cv2.GaussianBlur(rng.normal(size=lips.shape).astype(np.float32), (0, 0), sigmaX=0.8, sigmaY=5) * 5
    _mix(face, lips * strength, own * (1 + 0.05 * lines[..., None]))
    face[..., 7] = face[..., 7] * (1 - lips) + lips * rng.uniform(1.0, 2.6)
    face[..., 4:7] *= 1 - 0.5 * lips[..., None]
    return np.asarray(own)


def _paint_marks(face: Image, rng: np.random.Generator) -> None:
    """Freckles and moles."""
    lips = canvas().lips
    if rng.random() < 0.35:
        spots = np.zeros(lips.shape, np.float32)
        for _ in range(rng.integers(80, 400)):
            x, y = rng.normal(0.5, 0.16) * FACE_SIDE, rng.normal(0.46, 0.08) * FACE_SIDE
            radius, dark = rng.uniform(0.8, 2.4), float(rng.uniform(0.2, 0.6))
            cv2.circle(spots, (int(x * 8), int(y * 8)), int(radius * 8), dark, -1, cv2.LINE_AA, 3)
        spots = cv2.GaussianBlur(spots, (0, 0), 0.8) * (1 - lips)
        face[..., :3] *= 1 - spots[..., None] * np.array([0.35, 0.5, 0.6], np.float32)
    for _ in range(rng.integers(0, 4)):
        spot = np.zeros(lips.shape, np.float32)
        centre = (int(rng.uniform(0.2, 0.8) * FACE_SIDE), int(rng.uniform(0.25, 0.75) * FACE_SIDE))
        cv2.circle(spot, centre, int(rng.uniform(2, 4)), 1.0, -1, cv2.LINE_AA)
        face[..., :3] *= 1 - (cv2.GaussianBlur(spot, (0, 0), 1) * 0.6 * (1 - lips))[..., None]


def _paint_brows(face: Image, hair: np.ndarray, colour: np.ndarray, rng: np.random.Generator) -> None:
    """Single strokes along the brow landmarks, over a soft base."""
    on, marks = canvas(), head_model().landmarks
    strokes = np.zeros((FACE_SIDE, FACE_SIDE), np.float32)
    thick, count = rng.uniform(0.7, 1.4), int(rng.uniform(450, 900))
    for side in (marks[17:22], marks[26:21:-1]):
        spline, _ = splprep(on.pixels(side).T, s=0, k=3)
        along = rng.beta(1.1, 1.0, count)
        points = np.stack(splev(along, spline), axis=1)
        ahead = np.stack(splev(along, spline, der=1), axis=1)
        ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
        width = (5 + 11 * np.sin(np.pi * np.minimum(along * 0.6 + 0.35, 1))) * thick
        points[:, 1] += rng.uniform(-1, 0.6, count) * width - 2
        lengths = rng.uniform(8, 17, count)
        stroke = np.stack([-ahead[:, 0] * np.cos(0.5), -ahead[:, 1] - 0.55 * along], axis=1) * lengths[:, None]
        dark = rng.uniform(0.4, 1, count)
        for start, end, value in zip(points * 8, (points + stroke) * 8, dark, strict=True):
            cv2.line(strokes, (int(start[0]), int(start[1])), (int(end[0]), int(end[1])), float(value), 1, cv2.LINE_AA, 3)
    base = cv2.GaussianBlur(strokes, (0, 0), 4) * 0.35
    brows = np.clip(cv2.GaussianBlur(strokes, (0, 0), 0.8) * 1.25 + base, 0, 1) * rng.uniform(0.7, 1)
    _mix(face, brows, np.minimum(hair * 0.7, colour * 0.5))
    face[..., 7] *= 1 - 0.7 * brows


def _paint_eye(rng: np.random.Generator) -> Image:
    """Iris and pupil on the white of the eye."""
    model, positions = head_model(), canvas().eye
    ball = model.neutral[model.of_part("sclera_L")]
    front = ball[np.argmax(ball[:, 2])]
    x, y = positions[..., 0] - front[0], positions[..., 1] - front[1]
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    colour = linear(from_hex(str(rng.choice(_IRISES, p=_IRIS_CHANCES))))
    iris_cm, pupil_cm = rng.uniform(0.56, 0.62), rng.uniform(0.18, 0.28)
    fibres = np.cos(angle * rng.integers(30, 60) + 3 * np.sin(angle * 7)) * 0.18 + np.cos(angle * 17) * 0.1
    iris = colour * (1 + fibres[..., None]) * (0.65 + 0.7 * smoothstep(pupil_cm, iris_cm * 0.7, radius)[..., None])
    rim = smoothstep(iris_cm - 0.14, iris_cm, radius)[..., None]
    # Whites are 0.55: real ones of 0.78 glow on dark skin.
    white = np.array([0.56, 0.52, 0.49]) * (1 - 0.12 * smoothstep(0.8, 1.6, radius)[..., None] * [0.2, 1, 1])
    inside = smoothstep(iris_cm + 0.05, iris_cm - 0.05, radius)[..., None]
    painted = white * (1 - inside) + inside * iris * (1 - 0.6 * rim)
    inside = smoothstep(pupil_cm + 0.025, pupil_cm - 0.025, radius)[..., None]
    painted = painted * (1 - inside) + inside * 0.004
    painted[positions[..., 2] <= 8.3] = 0.7
    eye = _blank(EYE_SIDE)
    eye[..., :3], eye[..., 7] = painted, 1
    return eye

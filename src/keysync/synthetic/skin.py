"""Paints a person's skin, lips, brows, stubble and eyes into textures.

Noise and colours are functions of the *position* a texel has on the neutral head: seams vanish, and
every identity shares this code. Textures have 8 channels, see ``rasterise.Atlas``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from jaxtyping import Float32, Float64
from scipy.interpolate import splev, splprep
from scipy.ndimage import distance_transform_edt, map_coordinates

from keysync.synthetic.head import head_model, smooth_step
from keysync.synthetic.rasterise import bake

FACE_SIDE, HEAD_SIDE, EYE_SIDE = 1024, 512, 256  # texels
_NOISE_CELLS = 48
_TONES = ("f0d0b8", "e8c0a0", "dfb090", "d6a480", "c89270", "b88058", "a06c46", "885636", "6e4429", "553320")
_DARKEST = "42281a"
# Linear colour of hair, and how often: black, dark brown, brown, light brown, blond, red, grey, dark grey.
_HAIR = np.array(
    [
        (0.03, 0.025, 0.02),
        (0.07, 0.045, 0.03),
        (0.14, 0.08, 0.045),
        (0.28, 0.17, 0.08),
        (0.5, 0.36, 0.18),
        (0.32, 0.11, 0.05),
        (0.45, 0.45, 0.45),
        (0.15, 0.15, 0.15),
    ]
)
_HAIR_CHANCES = np.array([0.27, 0.22, 0.17, 0.10, 0.08, 0.05, 0.06, 0.05])
_IRISES = ("5b3a1e", "3b2412", "7a5a2e", "4f6b3a", "5f7f95", "86a0b0", "6b7b6b", "2e1c10")
_IRIS_CHANCES = (0.27, 0.22, 0.12, 0.07, 0.10, 0.07, 0.07, 0.08)

Texture = Float32[np.ndarray, "_ _ 8"]
Mask = Float32[np.ndarray, "_ _"]
Colour = Float64[np.ndarray, " 3"]  # linear unless it says sRGB


@dataclass(frozen=True, slots=True)
class Look:
    """What a person's parts must agree on."""

    feminine: bool
    tone: Colour  # skin, sRGB
    skin: Colour
    hair: Colour
    lips: Colour
    lip_strength: float
    stubble: float  # 0 to 0.9
    beard: bool


@dataclass(frozen=True, slots=True)
class Tiles:
    """Neutral position of every texel, and areas of the face tile."""

    face: Float32[np.ndarray, "1024 1024 3"]
    head: Float32[np.ndarray, "512 512 3"]
    eye: Float32[np.ndarray, "256 256 3"]
    lips: Float32[np.ndarray, "1024 1024"]
    beard: Float32[np.ndarray, "1024 1024"]


def linear(srgb: Float64[np.ndarray, " *shape"]) -> Float64[np.ndarray, " *shape"]:
    """sRGB to linear light."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def hex_colour(text: str) -> Colour:
    """sRGB ``rrggbb`` as numbers 0 to 1."""
    return np.array([int(text[i : i + 2], 16) / 255 for i in (0, 2, 4)])


def volume_noise(
    rng: np.random.Generator, points: Float32[np.ndarray, "*shape 3"], cell_cm: float
) -> np.ndarray:
    """Smooth noise in space, standard deviation up to 1, features of ``cell_cm``."""
    values = rng.standard_normal((_NOISE_CELLS,) * 3, dtype=np.float32)
    grid = np.moveaxis(points / np.float32(cell_cm), -1, 0)
    return np.asarray(map_coordinates(values, grid, order=1, mode="grid-wrap"))


def layered_noise(
    rng: np.random.Generator, points: Float32[np.ndarray, "*shape 3"], cell_cm: float, octaves: int
) -> np.ndarray:
    """Noise with finer and weaker noise on top, each half of the one before."""
    layers = [volume_noise(rng, points, cell_cm / 2**i) * np.float32(0.5**i) for i in range(octaves)]
    return np.asarray(sum(layers))


def blurred_noise(rng: np.random.Generator, side: int, across: float, down: float | None = None) -> Mask:
    """White noise on a square, blurred; strands where ``down`` is much larger than ``across``."""
    white = rng.standard_normal((side, side), dtype=np.float32)
    return np.asarray(cv2.GaussianBlur(white, (0, 0), sigmaX=across, sigmaY=down or across))


def draw_look(rng: np.random.Generator) -> Look:
    """Draw a person's colours; tones are uniform along the ramp from light to dark."""
    tones = np.array([hex_colour(text) for text in (*_TONES, _DARKEST)])
    place = rng.uniform(0.5, len(tones) - 1.01)
    below, share = int(place), place - int(place)
    hue = np.array([1.0, rng.uniform(0.90, 0.97), rng.uniform(0.84, 0.95)])
    tone = np.clip(
        (tones[below] * (1 - share) + tones[below + 1] * share) * rng.uniform(0.93, 1.03) * hue, 0, 1
    )
    skin = linear(tone)
    feminine = bool(rng.random() < 0.5)

    chances = _HAIR_CHANCES.copy()
    if not (place < 4 or rng.random() < 0.15):
        chances[2:6] *= 0.05
    hair = _HAIR[rng.choice(len(_HAIR), p=chances / chances.sum())] * rng.uniform(0.8, 1.2)

    natural = skin * np.array([1.0, 0.58, 0.55]) * rng.uniform(0.75, 1.02)
    natural = natural + np.array([0.05, 0.0, 0.005]) * rng.random()
    lipstick = linear(np.array([rng.uniform(0.45, 0.85), rng.uniform(0.08, 0.35), rng.uniform(0.15, 0.40)]))
    painted = feminine and rng.random() < 0.5
    stubble = float(rng.uniform(0.2, 0.9)) if not feminine and rng.random() < 0.6 else 0.0
    return Look(
        feminine=feminine,
        tone=tone,
        skin=skin,
        hair=hair,
        lips=0.8 * lipstick + 0.2 * natural if painted else natural,
        lip_strength=0.85 if painted else float(rng.uniform(0.6, 0.95)),
        stubble=stubble,
        beard=stubble > 0.62,
    )


@cache
def tiles() -> Tiles:
    """Bake positions and areas once per process (about half a second)."""
    face = _positions(("face",), FACE_SIDE)
    lips = _lip_area()
    x, y, z = np.moveaxis(face, -1, 0)
    beside = np.abs(x)
    jaw = smooth_step(-2.6, -4.2, y - 0.28 * np.maximum(beside - 3, 0)) * smooth_step(-11.5, -8.8, y)
    moustache = np.minimum(1.3 * np.exp(-(((y + 1.85) / 0.5) ** 2)), 1) * smooth_step(3.2, 2.4, beside)
    beard = np.maximum(jaw * smooth_step(1.5, 4.0, z), moustache) * (1 - np.clip(1.6 * lips, 0, 1))
    beard = beard * (
        1 - 0.6 * np.exp(-((beside / 1.4) ** 2) - ((y + 4.75) / 0.35) ** 2)
    )  # bare below the lip
    return Tiles(
        face=face,
        head=_positions(("head_neck", "eye_socket_L", "eye_socket_R", "mouth_socket"), HEAD_SIDE),
        eye=_positions(("sclera_L",), EYE_SIDE),
        lips=lips,
        beard=np.clip(beard, 0, 1).astype(np.float32),
    )


def paint_skin(look: Look, rng: np.random.Generator) -> tuple[Texture, Texture]:
    """Face and head textures of one person."""
    base = tiles()
    face, head = _blank(FACE_SIDE), _blank(HEAD_SIDE)
    redness, hollows = rng.uniform(0.3, 1.4), rng.uniform(0.3, 1.2)
    noise_seed = rng.integers(2**63)  # both tiles draw from the same noise, or the neck would show a seam
    face[..., :3], mottle = _complexion(
        base.face, look.skin, redness, hollows, np.random.default_rng(noise_seed)
    )
    head[..., :3], _ = _complexion(base.head, look.skin, redness, hollows, np.random.default_rng(noise_seed))
    face[..., 7], head[..., 7] = np.clip(0.6 + 0.4 * mottle, 0.2, 1), 0.4
    for i in (4, 5, 6):
        face[..., i] = 2.2 * blurred_noise(rng, FACE_SIDE, 1.0)
        head[..., i] = 2.0 * blurred_noise(rng, HEAD_SIDE, 1.0)
    _paint_lips(face, look, rng)
    _paint_spots(face, rng)
    _paint_brows(face, look, rng)
    if look.feminine and rng.random() < 0.5:
        _paint_lids(face, look, rng)
    if look.stubble > 0:
        grain = np.clip(0.55 + 1.2 * blurred_noise(rng, FACE_SIDE, 0.9), 0, 1)
        if look.beard:  # no bare skin shows between its strands
            grain = 1.1 + 0.15 * grain
        _mix(
            face,
            0.75 * look.stubble * base.beard * grain,
            np.minimum(0.8 * look.hair + 0.02, 0.6 * look.skin),
        )
    return face, head


def paint_mouth(look: Look, head: Texture) -> Texture:
    """The lining of the mouth, in the layout of the head tile: lip colour in front, dark red behind."""
    lining = head.copy()
    front = smooth_step(9.4, 10.5, tiles().head[..., 2])[..., None]
    lining[..., :3] = 0.9 * look.lips * front + (1 - front) * np.array([0.22, 0.035, 0.03])
    lining[..., 4:7] *= 0.2
    lining[..., 7] = 1.2
    return lining


def paint_eye(rng: np.random.Generator) -> Texture:
    """White, iris and pupil on the sclera mesh; one texture serves both eyes."""
    model, position = head_model(), tiles().eye
    sclera = model.neutral[model.vertex_part == "sclera_L"]
    apex = sclera[np.argmax(sclera[:, 2])]
    across, up = position[..., 0] - apex[0], position[..., 1] - apex[1]
    radius, angle = np.hypot(across, up), np.arctan2(up, across)
    iris_cm, pupil_cm = rng.uniform(0.56, 0.62), rng.uniform(0.18, 0.28)
    colour = linear(hex_colour(str(rng.choice(_IRISES, p=_IRIS_CHANCES))))
    fibres = 0.18 * np.cos(angle * rng.integers(30, 60) + 3 * np.sin(7 * angle)) + 0.1 * np.cos(17 * angle)
    iris = (
        colour
        * (1 + fibres[..., None])
        * (0.65 + 0.7 * smooth_step(pupil_cm, 0.7 * iris_cm, radius)[..., None])
    )
    iris = iris * (1 - 0.6 * smooth_step(iris_cm - 0.14, iris_cm, radius)[..., None])

    eye = _blank(EYE_SIDE)
    # An albedo above 0.56 makes the whites glow on dark skin.
    eye[..., :3] = np.array([0.56, 0.52, 0.49]) * (
        1 - 0.12 * smooth_step(0.8, 1.6, radius)[..., None] * np.array([0.2, 1, 1])
    )
    _mix(eye, smooth_step(iris_cm + 0.05, iris_cm - 0.05, radius), iris)
    _mix(eye, smooth_step(pupil_cm + 0.025, pupil_cm - 0.025, radius), np.full(3, 0.004))
    eye[position[..., 2] <= 8.3, :3] = 0.7  # the back of the ball
    eye[..., 7] = 1.0
    return eye


def flat_texture(colour: Colour, alpha: float = 1.0, gloss: float = 1.0) -> Texture:
    """One texel."""
    return np.array([[[*colour, alpha, 0, 0, 0, gloss]]], np.float32)


def _blank(side: int) -> Texture:
    texture = np.zeros((side, side, 8), np.float32)
    texture[..., 3] = 1
    return texture


def _mix(texture: Texture, share: np.ndarray, colour: np.ndarray) -> None:
    """Lay a colour, or a picture, over a texture in place."""
    share = share[..., None]
    texture[..., :3] = texture[..., :3] * (1 - share) + share * colour


def _positions(parts: tuple[str, ...], side: int) -> Float32[np.ndarray, "side side 3"]:
    model = head_model()
    chosen = np.isin(model.triangle_part, parts)
    baked, covered = np.zeros((side, side, 3), np.float32), np.zeros((side, side), np.uint8)
    bake(model.uv, model.triangle_uv[chosen], model.triangles[chosen], model.neutral, baked, covered)
    # Texels outside take the nearest one inside: lookups at the border mix with them.
    nearest = distance_transform_edt(covered == 0, return_distances=False, return_indices=True)
    return np.asarray(baked[nearest[0], nearest[1]])


def _face_texels(landmarks: slice) -> Float64[np.ndarray, "k 2"]:
    model = head_model()
    uv = model.vertex_uv[model.landmarks[landmarks]].astype(np.float64)
    return np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1) * FACE_SIDE


def _lip_area() -> Mask:
    outline = _face_texels(slice(48, 60))
    spline, _ = splprep(np.vstack([outline, outline[:1]]).T, s=0, per=1)
    points = np.stack(splev(np.linspace(0, 1, 200), spline), axis=1)
    area = np.zeros((FACE_SIDE, FACE_SIDE), np.uint8)
    cv2.fillPoly(area, [np.round(points * 16).astype(np.int32)], (255,), lineType=cv2.LINE_AA, shift=4)
    return np.asarray(cv2.GaussianBlur(area.astype(np.float32) / 255, (0, 0), 2.5))


def _complexion(
    position: Float32[np.ndarray, "h w 3"],
    skin: Colour,
    redness: float,
    hollows: float,
    rng: np.random.Generator,
) -> tuple[Float32[np.ndarray, "h w 3"], Mask]:
    """Skin colour at every texel, and the coarse part of its noise."""
    coarse, fine = layered_noise(rng, position, 3.0, 3), layered_noise(rng, position, 0.35, 2)
    x, y, z = np.moveaxis(position, -1, 0)

    def spot(x_cm: float, y_cm: float, wide_cm: float, high_cm: float) -> np.ndarray:
        shape = np.exp(-(((np.abs(x) - x_cm) / wide_cm) ** 2) - ((y - y_cm) / high_cm) ** 2)
        return np.asarray(shape * smooth_step(2, 6, z))

    cheeks, nose, chin = spot(4.5, 0.2, 2.2, 1.8), spot(0.0, 0.8, 1.2, 1.5), spot(0.0, -6.8, 1.8, 0.9)
    red = redness * (0.55 * cheeks + 0.5 * nose * smooth_step(10, 12, z) + 0.35 * chin)
    colour = skin * (1 + 0.07 * coarse + 0.045 * fine)[..., None]
    colour *= 1 + red[..., None] * np.array([0.10, -0.14, -0.10])
    colour *= 1 - hollows * spot(3.1, 3.2, 1.9, 1.0)[..., None] * np.array([0.16, 0.24, 0.20])
    return np.clip(colour, 0.003, 1).astype(np.float32), coarse.astype(np.float32)


def _paint_lips(face: Texture, look: Look, rng: np.random.Generator) -> None:
    area = tiles().lips
    lines = 1 + 0.25 * blurred_noise(rng, FACE_SIDE, 0.8, 5.0)
    _mix(face, area * look.lip_strength, look.lips * lines[..., None])
    face[..., 7] = face[..., 7] * (1 - area) + area * rng.uniform(1.0, 2.6)
    face[..., 4:7] *= 1 - 0.5 * area[..., None]


def _paint_spots(face: Texture, rng: np.random.Generator) -> None:
    """Freckles on 35 % of people, and up to three moles; never on the lips."""
    skin = 1 - tiles().lips
    if rng.random() < 0.35:
        freckles = np.zeros((FACE_SIDE, FACE_SIDE), np.float32)
        for _ in range(rng.integers(80, 400)):
            centre = rng.normal((0.5, 0.46), (0.16, 0.08)) * FACE_SIDE * 8
            radius, strength = int(rng.uniform(0.8, 2.4) * 8), float(rng.uniform(0.2, 0.6))
            cv2.circle(freckles, (int(centre[0]), int(centre[1])), radius, (strength,), -1, cv2.LINE_AA, 3)
        freckles = cv2.GaussianBlur(freckles, (0, 0), 0.8) * skin
        face[..., :3] *= 1 - freckles[..., None] * np.array([0.35, 0.5, 0.6])
    for _ in range(rng.integers(0, 4)):
        mole = np.zeros((FACE_SIDE, FACE_SIDE), np.float32)
        centre = rng.uniform((0.2, 0.25), (0.8, 0.75)) * FACE_SIDE
        cv2.circle(mole, (int(centre[0]), int(centre[1])), int(rng.uniform(2, 4)), (1.0,), -1, cv2.LINE_AA)
        face[..., :3] *= 1 - (0.6 * cv2.GaussianBlur(mole, (0, 0), 1) * skin)[..., None]


def _paint_brows(face: Texture, look: Look, rng: np.random.Generator) -> None:
    """Hairs along landmarks 17-21 and 22-26, leaning outwards, on a soft base."""
    hairs = np.zeros((FACE_SIDE, FACE_SIDE), np.float32)
    thickness, count = rng.uniform(0.7, 1.4), int(rng.uniform(450, 900))
    for landmarks in (slice(17, 22), slice(26, 21, -1)):  # each from its outer end to its inner
        spline, _ = splprep(_face_texels(landmarks).T, s=0, k=3)
        for along in rng.beta(1.1, 1.0, count):
            start, direction = np.array(splev(along, spline)), np.array(splev(along, spline, der=1))
            direction /= np.linalg.norm(direction)
            spread = (5 + 11 * math.sin(math.pi * min(0.6 * along + 0.35, 1))) * thickness
            start = start + np.array([0, spread * rng.uniform(-1, 0.6) - 2])
            hair = np.array([-0.88 * direction[0], -direction[1] - 0.55 * along]) * rng.uniform(8, 17)
            tip = start + hair
            cv2.line(
                hairs,
                (int(start[0] * 8), int(start[1] * 8)),
                (int(tip[0] * 8), int(tip[1] * 8)),
                (float(rng.uniform(0.4, 1)),),
                1,
                cv2.LINE_AA,
                3,
            )
    soft = 1.25 * cv2.GaussianBlur(hairs, (0, 0), 0.8) + 0.35 * cv2.GaussianBlur(hairs, (0, 0), 4)
    area = np.clip(soft, 0, 1) * rng.uniform(0.7, 1)
    _mix(face, area, np.minimum(0.7 * look.hair, 0.5 * look.skin))
    face[..., 7] *= 1 - 0.7 * area


def _paint_lids(face: Texture, look: Look, rng: np.random.Generator) -> None:
    x, y, z = np.moveaxis(tiles().face, -1, 0)
    area = np.exp(-(((np.abs(x) - 3.1) / 1.7) ** 2) - ((y - 4.2) / 0.55) ** 2) * smooth_step(5, 7, z)
    shadow = linear(rng.uniform(0.15, 0.6, 3)) * look.skin.mean() * 2
    _mix(face, area * rng.uniform(0.2, 0.6), shadow)

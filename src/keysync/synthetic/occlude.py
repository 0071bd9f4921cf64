"""What comes between camera and mouth: a drawing, a path, and an exact alpha for every frame.

    frames, alpha = occlude(frames, mouths, face_sizes, np.random.default_rng([split, kind, index]))

works on any footage: drawn heads, augmented crops, real frames. The same generator gives the same bytes.
Everything is done at the size of the frame: a drawing is moved, turned, smeared along its motion and put
over the picture times (1 - alpha), so ``alpha`` is what was used, not an estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from keysync.errors import ConfigError
from keysync.synthetic.props import PROPS, any_skin
from keysync.synthetic.surface import Lamp, Sprite, flatten

KINDS = tuple(PROPS)
_CHANCES = {"hand": 3.0, "microphone": 1.5, "thing": 2.0}  # against 1 of every other kind
FACE_CM = 13.5  # what a face's size measures on the mean head
_FINEST_PX_PER_CM = 18.0  # a finer drawing would cost more than it shows
_MOVES = ("visit", "stay", "enter", "leave", "pass", "again")
_AWAY_CM = 24.0  # from the mouth: outside, whatever the drawing
_SMEARS = 6  # most copies that make up one blurred motion


@dataclass(frozen=True, slots=True)
class Occluder:
    """One drawing and how it moves, in cm of the face it comes before."""

    kind: str
    sprite: Sprite
    corners: Float64[np.ndarray, "k 4"]  # time in s, x and y in cm from the mouth, turn in radians
    follows: float  # share of the mouth's own motion that it makes too
    trembles: Float64[np.ndarray, "3 4"]  # per x, y, turn: two amplitudes (cm, radians), two rates (rad/s)
    shutter_s: float
    blur_cm: float
    shadow: Float64[np.ndarray, " 4"]  # x and y in cm, softness in cm, darkness 0 to 1
    gain: Float64[np.ndarray, " 3"]
    grain: float

    def at(self, time_s: float) -> tuple[float, float, float]:
        """x, y (cm from the mouth) and turn (radians) at a time; starts and stops are smooth."""
        times = self.corners[:, 0]
        leg = int(np.clip(np.searchsorted(times, time_s) - 1, 0, len(times) - 2))
        share = float(np.clip((time_s - times[leg]) / (times[leg + 1] - times[leg]), 0, 1))
        share = share**3 * (10 - 15 * share + 6 * share * share)  # least jerk: Flash and Hogan 1985
        place = self.corners[leg, 1:] * (1 - share) + self.corners[leg + 1, 1:] * share
        first, second, slow, fast = self.trembles.T
        place = place + first * np.sin(slow * time_s) + second * np.sin(fast * time_s + 1.0)
        return float(place[0]), float(place[1]), float(place[2])


@dataclass(frozen=True, slots=True)
class Overlay:
    """What one frame gets: colour times alpha (sRGB, 0 to 1), alpha, and the shadow that is cast on it."""

    colour: Float32[np.ndarray, "h w 3"]
    alpha: UInt8[np.ndarray, "h w"]
    shadow: Float32[np.ndarray, "h w"]  # 1: unshaded

    def over(self, picture: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
        """Lay over an sRGB picture, 0 to 1."""
        through = self.shadow * (1 - self.alpha.astype(np.float32) / 255)
        return np.asarray(picture * through[..., None] + self.colour, np.float32)


def draw_lamp(rng: np.random.Generator) -> Lamp:
    """A lamp somewhere above and beside."""
    side, height = rng.uniform(-1.2, 1.2), rng.uniform(0.0, 1.1)
    direction = np.array(
        [math.sin(side) * math.cos(height), -math.sin(height), math.cos(side) * math.cos(height)]
    )
    warm = np.array([1, 0, -1]) * rng.uniform(-0.12, 0.12)
    strength = rng.uniform(0.5, 1.1)
    return Lamp(direction, (1 + warm) * strength, np.full(3, rng.uniform(0.2, 0.55)))


def draw_occluder(
    rng: np.random.Generator,
    seconds: float,
    px_per_cm: float,
    *,
    kinds: tuple[str, ...] = KINDS,
    lamp: Lamp | None = None,
    skin: Float64[np.ndarray, " 3"] | None = None,
) -> Occluder:
    """Draw what comes before a face, and its way through ``seconds``.

    Args:
        px_per_cm: how large the face is in the frame; the drawing is made for it.
        kinds: of ``KINDS``, to draw from.
        lamp: the scene's, if it is known.
        skin: linear; the person's, used for half of the hands.
    Raises:
        ConfigError: an unknown kind.
    """
    # Every part has a generator of its own, so what is drawn does not depend on what it is lit by.
    unknown = [kind for kind in kinds if kind not in PROPS]
    if unknown or not kinds:
        raise ConfigError(
            f"no occluder is called {', '.join(unknown) or 'nothing'}; take some of {', '.join(KINDS)}"
        )
    kind_rng, draw_rng, path_rng, light_rng = rng.spawn(4)
    chances = np.array([_CHANCES.get(kind, 1.0) for kind in kinds])
    kind = str(kind_rng.choice(kinds, p=chances / chances.sum()))
    own_lamp = draw_lamp(light_rng)
    somebody = any_skin(kind_rng)
    whose = skin if skin is not None and kind_rng.random() < 0.5 else somebody
    lamp = lamp or own_lamp
    fine = min(px_per_cm, _FINEST_PX_PER_CM)
    sprite = flatten(PROPS[kind](draw_rng, lamp, fine, whose))
    still = kind in ("caption",)
    soft = float(light_rng.uniform(0.3, 1.6))
    away = lamp.direction[:2] / max(float(lamp.direction[2]), 0.3)
    height_cm = light_rng.uniform(0.3, 2.5)
    return Occluder(
        kind=kind,
        sprite=sprite,
        corners=_caption_path(path_rng, seconds) if still else _path(path_rng, seconds, kind),
        follows=0.0 if still else float(path_rng.uniform(0.0, 1.0)),
        trembles=np.zeros((3, 4)) if still else _trembles(path_rng),
        shutter_s=float(light_rng.uniform(0.002, 0.025)),
        blur_cm=0.0 if still else float(light_rng.choice([0.0, 0.02, 0.05, 0.12])),
        shadow=np.array([*(-away * height_cm), soft, 0.0 if still else light_rng.uniform(0.0, 0.5)]),
        gain=np.ones(3) if still else light_rng.uniform(0.75, 1.2) * light_rng.uniform(0.94, 1.06, 3),
        grain=0.0 if still else float(light_rng.uniform(0.0, 0.02)),
    )


def overlay(
    occluder: Occluder,
    time_s: float,
    mouth: Float32[np.ndarray, " 2"] | Float64[np.ndarray, " 2"],
    origin: Float32[np.ndarray, " 2"] | Float64[np.ndarray, " 2"],
    face_size: float,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> Overlay:
    """Place an occluder over one frame.

    Args:
        mouth: its middle in this frame, pixels; ``origin``: the same in the clip's first frame.
        face_size: longer side of the box around the 68 landmarks, pixels.
        size: width and height of the frame.
        rng: for the grain.
    """
    width, height = size
    px_per_cm = face_size / FACE_CM
    middle = np.asarray(origin, np.float64) * (1 - occluder.follows) + np.asarray(mouth) * occluder.follows
    sprite, scale = occluder.sprite, px_per_cm / occluder.sprite.px_per_cm

    def matrix(at_s: float) -> Float64[np.ndarray, "2 3"]:
        x, y, turn = occluder.at(at_s)
        cos, sin = scale * math.cos(turn), scale * math.sin(turn)
        rotate = np.array([[cos, -sin], [sin, cos]])
        # Places are to pixels' corners, warps to their centres: half a pixel each way.
        shift = middle + px_per_cm * np.array([x, y]) - rotate @ np.array(sprite.anchor)
        return np.column_stack([rotate, shift + rotate @ (0.5, 0.5) - 0.5])

    rows, columns = sprite.rgba.shape[:2]
    corners = np.array([[0, 0, 1], [columns, 0, 1], [0, rows, 1], [columns, rows, 1]], np.float64).T
    ends = [matrix(time_s - occluder.shutter_s / 2), matrix(time_s + occluder.shutter_s / 2)]
    seen = np.concatenate([end @ corners for end in ends], axis=1)
    moved_px = float(np.abs(ends[1] @ corners - ends[0] @ corners).max())
    soft_px = occluder.blur_cm * px_per_cm
    margin = 2 + math.ceil(3 * soft_px)
    left, top = np.clip(np.floor(seen.min(axis=1)) - margin, 0, size).astype(int)
    right, bottom = np.clip(np.ceil(seen.max(axis=1)) + margin, 0, size).astype(int)
    colour, alpha = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.uint8)
    if left >= right or top >= bottom:
        return Overlay(colour, alpha, np.ones((height, width), np.float32))
    copies = int(np.clip(math.ceil(moved_px / 1.5), 1, _SMEARS))
    total: np.ndarray | None = None
    for share in (np.arange(copies) + 0.5) / copies - 0.5:
        place = matrix(time_s + float(share) * occluder.shutter_s)
        place[:, 2] -= left, top
        way = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
        warped = cv2.warpAffine(sprite.rgba, place, (int(right - left), int(bottom - top)), flags=way)
        if copies == 1:
            total = warped
            break
        total = warped.astype(np.float32) if total is None else total + warped
    assert total is not None
    rgba = np.asarray(total, np.float32) * np.float32(1 / (255 * copies))
    if soft_px > 0.3:
        rgba = cv2.GaussianBlur(rgba, (0, 0), soft_px)
    levels = (rgba[..., 3] * 255 + 0.5).astype(np.uint8)
    exact = levels.astype(np.float32)[..., None] / 255
    part = rgba[..., :3] * occluder.gain.astype(np.float32)
    if occluder.grain > 0:
        part += np.float32(occluder.grain) * exact * rng.standard_normal(levels.shape, np.float32)[..., None]
    colour[top:bottom, left:right] = np.clip(part, 0, exact)
    alpha[top:bottom, left:right] = levels
    return Overlay(colour, alpha, _shadow(alpha, occluder.shadow, middle, px_per_cm))


def occlude(
    frames: UInt8[np.ndarray, "t h w 3"],
    mouths: Float32[np.ndarray, "t 2"] | Float64[np.ndarray, "t 2"],
    face_sizes: Float32[np.ndarray, " t"] | Float64[np.ndarray, " t"],
    rng: np.random.Generator,
    *,
    fps: Fraction | float | int = 25,
    kinds: tuple[str, ...] = KINDS,
) -> tuple[UInt8[np.ndarray, "t h w 3"], UInt8[np.ndarray, "t h w"]]:
    """Draw one occluder and put it over any frames, lit about as brightly as the face it covers.

    Args:
        frames: sRGB; not changed.
        mouths: middle of landmarks 48-67 in every frame, pixels.
        face_sizes: longer side of the box around all 68 landmarks, pixels.
        rng: everything random comes from it.
        kinds: of ``KINDS``, to draw from.
    Returns:
        frames and the occluder's alpha, 0 to 255.
    Raises:
        ConfigError: an unknown kind.
    """
    px_per_cm = float(np.median(face_sizes)) / FACE_CM
    occluder = draw_occluder(rng, len(frames) / float(fps), px_per_cm, kinds=kinds)
    bright = _brightness(frames[0], mouths[0], float(face_sizes[0]))
    if occluder.kind != "caption":
        occluder.gain[:] *= bright
    covered, alphas = np.empty_like(frames), np.empty(frames.shape[:3], np.uint8)
    size = (frames.shape[2], frames.shape[1])
    for index, frame in enumerate(frames):
        laid = overlay(
            occluder, index / float(fps), mouths[index], mouths[0], float(face_sizes[index]), size, rng
        )
        covered[index] = frame
        rows, columns = np.flatnonzero((laid.shadow < 1).any(1) | laid.alpha.any(1)), slice(None)
        if len(rows):
            band = np.s_[rows[0] : rows[-1] + 1, columns]
            part = Overlay(laid.colour[band], laid.alpha[band], laid.shadow[band])
            covered[index][band] = (part.over(frame[band].astype(np.float32) / 255) * 255 + 0.5).astype(
                np.uint8
            )
        alphas[index] = laid.alpha
    return covered, alphas


def mouth_and_size(
    landmarks68: Float32[np.ndarray, "t 68 2"],
) -> tuple[Float32[np.ndarray, "t 2"], Float32[np.ndarray, " t"]]:
    """What ``occlude`` asks for, from landmarks."""
    mouths = landmarks68[:, 48:68].mean(axis=1)
    return mouths.astype(np.float32), np.ptp(landmarks68, axis=1).max(axis=1).astype(np.float32)


def _brightness(frame: UInt8[np.ndarray, "h w 3"], mouth: np.ndarray, face_size: float) -> float:
    """How brightly the face is lit, against one lit as ours are."""
    x, y, reach = *np.asarray(mouth, float), face_size * 0.45
    rows, columns = (slice(max(round(c - reach), 0), max(round(c + reach), 1)) for c in (y, x))
    part = frame[rows, columns]
    return float(np.clip(np.percentile(part[::4, ::4], 90) / 215, 0.45, 1.1)) if part.size else 1.0


def _shadow(
    alpha: UInt8[np.ndarray, "h w"], shadow: Float64[np.ndarray, " 4"], middle: np.ndarray, px_per_cm: float
) -> Float32[np.ndarray, "h w"]:
    """The drawing's soft shadow, away from the lamp; it fades beyond the face, which is what catches it."""
    height, width = alpha.shape
    if shadow[3] <= 0.02:
        return np.ones((height, width), np.float32)
    coarse = 4
    small = cv2.resize(
        alpha, (max(width // coarse, 1), max(height // coarse, 1)), interpolation=cv2.INTER_AREA
    )
    x, y = shadow[:2] * px_per_cm / coarse
    moved = cv2.warpAffine(small, np.array([[1, 0, x], [0, 1, y]]), (small.shape[1], small.shape[0]))
    soft = cv2.GaussianBlur(moved.astype(np.float32) / 255, (0, 0), max(shadow[2] * px_per_cm / coarse, 0.5))
    down, across = np.mgrid[0 : small.shape[0], 0 : small.shape[1]].astype(np.float32) * coarse
    reach = ((across - middle[0]) ** 2 + 0.7 * (down - middle[1] + 3 * px_per_cm) ** 2) / (
        8.5 * px_per_cm
    ) ** 2
    dark = np.float32(shadow[3]) * soft * np.clip(1.4 - reach, 0, 1).astype(np.float32)
    return np.asarray(1 - cv2.resize(dark, (width, height), interpolation=cv2.INTER_LINEAR))


def _trembles(rng: np.random.Generator) -> Float64[np.ndarray, "3 4"]:
    amplitude = np.stack([rng.uniform(0, 0.5, 3), rng.uniform(0, 0.05, 3)], 1) * np.array([[1], [1], [0.12]])
    return np.concatenate([amplitude, np.stack([rng.uniform(1, 4, 3), rng.uniform(15, 40, 3)], 1)], 1)


def _caption_path(rng: np.random.Generator, seconds: float) -> Float64[np.ndarray, "k 4"]:
    """Captions stand still in the picture, about the chin; they come and go between two frames."""
    x, y = rng.normal(0, 1.5), rng.uniform(-2, 6.0)
    start, end = rng.uniform(-0.6, 0.4) * seconds, rng.uniform(0.6, 1.5) * seconds
    step, far = 1e-3, 1e3
    times = [start - step, start, max(end, start + 0.2), max(end, start + 0.2) + step]
    return np.array([[t, far * hidden + x, y, 0.0] for t, hidden in zip(times, (1, 0, 0, 1), strict=True)])


def _path(rng: np.random.Generator, seconds: float, kind: str) -> Float64[np.ndarray, "k 4"]:
    """Corners of a way: in from a side, to the mouth or past it, out again."""
    lean = rng.uniform(-0.35, 0.35) if kind == "scarf" else float(rng.normal(0, 0.6))
    target = rng.random()
    spread = 0.8 if target < 0.25 else 2.6 if target < 0.85 else 5.5  # full cover, part of it, beside it
    hold = rng.normal((0, 0.8), spread)
    # The drawing hangs down from its anchor and is turned by its lean, so it comes from there.
    outside = _AWAY_CM * np.array([-math.sin(lean), math.cos(lean)])
    outside = outside + rng.normal(0, 4, 2)
    lean_out = lean + rng.normal(0, 0.3)
    move = str(rng.choice(_MOVES, p=(0.35, 0.25, 0.13, 0.12, 0.07, 0.08)))
    drift = hold + rng.normal(0, 0.7, 2)

    def corner(time_s: float, place: np.ndarray, turn: float) -> tuple[float, float, float, float]:
        return (time_s, float(place[0]), float(place[1]), turn)

    rise = rng.uniform(0.3, 0.9)
    first = rng.uniform(-0.1, 0.35) * seconds
    stay = max(rng.uniform(0.5, 2.0), 0.1)
    lean_end = lean + rng.normal(0, 0.15)
    inside = [corner(first + rise, hold, lean), corner(first + rise + stay, drift, lean_end)]
    gone = corner(first + 2 * rise + stay, outside, lean_out)
    if move == "stay":
        return np.array(
            [
                corner(-1.0, hold, lean),
                corner(seconds * 0.5, drift, lean_end),
                corner(seconds + 1, hold, lean),
            ]
        )
    if move == "enter":
        return np.array([corner(first, outside, lean_out), inside[0], corner(seconds + 1, drift, lean_end)])
    if move == "leave":
        out = rng.uniform(0.3, 0.9) * seconds
        return np.array(
            [corner(-1.0, hold, lean), corner(out, drift, lean_end), corner(out + rise, outside, lean_out)]
        )
    if move == "pass":
        other = np.array([-outside[0] + rng.normal(0, 6), outside[1]]) * (1, 0.6)
        across = np.array([math.copysign(_AWAY_CM, rng.normal()), rng.normal(3, 3)])
        middle = first + rise
        return np.array(
            [
                corner(first, across, lean),
                corner(middle, hold, lean),
                corner(middle + rise, -across + other * 0.1, lean),
            ]
        )
    way = [corner(first, outside, lean_out), *inside, gone]
    if move == "again":
        later = gone[0] + rng.uniform(0.2, 0.8)
        way += [
            corner(later, outside, lean_out),
            corner(later + rise, drift, lean),
            corner(later + rise + stay, hold, lean),
            corner(later + 2 * rise + stay, outside, lean_out),
        ]
    return np.array(way)

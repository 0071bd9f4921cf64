"""A hand of jointed, tapered capsules: palm, four fingers, a thumb, and an arm that leaves the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import cv2
import numpy as np
from jaxtyping import Float32, Float64

from keysync.synthetic.rasterise import compiled
from keysync.synthetic.surface import Grid, Lamp, Layer, grid_around, light_up, pattern, smooth, wrap

GESTURES = ("open", "relaxed", "fist", "point", "two", "pinch", "flat", "any")

# x from the middle of the palm and y from the wrist (up is negative), cm; a right hand seen from its back.
_KNUCKLES = np.array([[-2.7, -8.9], [-0.9, -9.4], [0.9, -9.0], [2.6, -8.0]])
_SEGMENTS_CM = np.array([[4.3, 2.6, 2.0], [4.8, 3.0, 2.1], [4.4, 2.8, 2.1], [3.4, 2.0, 1.9]])
_RADII_CM = np.array([0.98, 0.88, 0.78, 0.60])
_REACH_CM = 26.0  # of the arm: further than a picture reaches
_ARM, _SLEEVE, _PALM = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Hand:
    """One hand's lasting features; its gesture is given when drawn."""

    skin: Float64[np.ndarray, " 3"]  # linear
    girth: float
    palm_side: bool  # the viewer sees the palm
    left: bool
    nail: Float64[np.ndarray, " 3"]
    sleeve_from_cm: float  # below the wrist; beyond the arm's end: bare
    seed: int


@dataclass(frozen=True, slots=True)
class Gesture:
    """Angles of the joints, radians."""

    spread: Float64[np.ndarray, " 4"]
    bend: Float64[np.ndarray, "4 3"]
    thumb: Float64[np.ndarray, " 3"]  # out, bend, bend
    turn: Float64[np.ndarray, " 3"]  # of the whole hand: about x, y, then in the picture

    def towards(self, other: Gesture, share: float) -> Gesture:
        """A gesture between two."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__slots__)
        return Gesture(*((1 - share) * mine + share * theirs for mine, theirs in pairs))


def draw_hand(rng: np.random.Generator, skin: Float64[np.ndarray, " 3"]) -> Hand:
    """Draw a hand in a given skin."""
    natural = np.clip(skin * (1.12, 0.92, 0.92) + 0.06, 0, 1)
    polish = rng.uniform(0, 0.7, 3) * (1.0, 0.5, 0.6)
    return Hand(
        skin=skin,
        girth=float(rng.uniform(0.82, 1.2)),
        palm_side=bool(rng.random() < 0.4),
        left=bool(rng.random() < 0.5),
        nail=polish if rng.random() < 0.25 else natural,
        sleeve_from_cm=float(rng.uniform(0.5, 14) if rng.random() < 0.6 else _REACH_CM),
        seed=int(rng.integers(2**31)),
    )


def draw_gesture(rng: np.random.Generator, kind: str | None = None, loose: float = 1.0) -> Gesture:
    """Draw a gesture of a kind, or of any."""
    kind = kind or str(rng.choice(GESTURES))
    fan = np.array([-1.0, -0.3, 0.35, 1.0])
    spread, bend = fan * rng.uniform(0.0, 0.28), rng.uniform(0.02, 0.3, (4, 3))
    curled = rng.uniform((1.2, 1.4, 0.7), (1.6, 1.8, 1.2), (4, 3))
    thumb = np.array([rng.uniform(0.3, 1.0), rng.uniform(-0.1, 0.4), rng.uniform(0, 0.5)])
    if kind == "relaxed":
        bend = rng.uniform(0.25, 0.65, (4, 3))
    elif kind == "flat":
        spread, bend = fan * 0.02, rng.uniform(0.0, 0.1, (4, 3))
    elif kind == "pinch":
        bend[:2] = rng.uniform(0.5, 0.9, (2, 3))
        bend[2:] = rng.uniform(0.5, 1.2, (2, 3))
    elif kind == "any":
        bend = rng.uniform(0.0, 1.5, (4, 1)) * rng.uniform(0.6, 1.1, (4, 3))
    elif kind in ("fist", "point", "two"):
        straight = {"fist": 0, "point": 1, "two": 2}[kind]
        bend = np.where(np.arange(4)[:, None] < straight, bend, curled)
        spread *= 0.3
        thumb = np.array([rng.uniform(0.1, 0.4), rng.uniform(0.4, 0.9), rng.uniform(0.3, 0.8)])
    turn = np.clip(rng.normal(0, (0.3, 0.4, 0.0)), -0.8, 0.8) * loose
    return Gesture(spread, bend, thumb, turn)


def hand_layer(hand: Hand, gesture: Gesture, lamp: Lamp, px_per_cm: float, anchor: str) -> Layer:
    """Draw a hand with its anchor (``"tip"``, ``"fingers"``, ``"palm"``) at the origin, arm running down."""
    bones = _bones(hand, gesture)
    part = bones[:, 9]
    origin = {
        "tip": bones[part == 12, 3:5][0],  # of the first finger
        "fingers": bones[part == 21, 0:2][0],  # the middle joint of the second
        "palm": bones[part == _PALM, 3:5].mean(axis=0) * 0.6,
    }[anchor]
    bones = bones.copy()
    bones[:, 0:2] -= origin
    bones[:, 3:5] -= origin
    reach = bones[:, 6:8].max(axis=1)
    low = np.minimum(bones[:, 0:2], bones[:, 3:5]) - reach[:, None]
    high = np.maximum(bones[:, 0:2], bones[:, 3:5]) + reach[:, None]
    grid = grid_around(low.min(axis=0), high.max(axis=0), px_per_cm)
    shape = (grid.height, grid.width)
    outside, height = np.full(shape, 1e3, np.float32), np.full(shape, -1e3, np.float32)
    owner = np.full(shape, -1, np.int32)
    along, aside = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    _carve(bones.astype(np.float32), grid.left, grid.top, px_per_cm, outside, height, owner, along, aside)
    alpha = np.clip(0.5 - outside * np.float32(px_per_cm), 0, 1)
    height = np.maximum(height, np.float32(-6))
    return Layer(grid, _paint(hand, bones, grid, height, owner, along, aside, lamp), alpha)


def _bones(hand: Hand, gesture: Gesture) -> Float64[np.ndarray, "b 13"]:
    """Capsules: both ends (x, y, z, x, y, z), radii, softness, part, and the unit normal of the hand's back.

    Parts: 0 arm, 1 sleeve, 2 palm, then 10 * finger + segment with fingers from 1, thumb 5.
    """
    face = -1.0 if hand.palm_side else 1.0  # where fingers bend to: away from the viewer, or to them
    rows: list[tuple[np.ndarray, np.ndarray, float, float, float, int, np.ndarray]] = []
    back = np.array([0.0, 0.0, face])
    g = hand.girth
    lift = np.array([0.0, 0.0, 0.35 * face])
    for place, knuckle in enumerate(_KNUCKLES):
        wrist = np.array([0.55 * knuckle[0], -0.6, 0.0])
        rows.append((wrist, np.array([*knuckle, 0.0]), 1.25 * g, (1.1 - 0.05 * place) * g, 0.9, _PALM, back))
    for finger, knuckle in enumerate(_KNUCKLES):
        at, angle = np.array([*knuckle, 0.0]) + lift * 0.2, 0.0
        for segment in range(3):
            angle += gesture.bend[finger, segment]
            lean = gesture.spread[finger] * np.cos(angle)
            forward = np.array(
                [np.sin(lean) * np.cos(angle), -np.cos(lean) * np.cos(angle), -face * np.sin(angle)]
            )
            normal = np.array([0.0, np.sin(angle) * -1.0, face * np.cos(angle)])
            end = at + forward * _SEGMENTS_CM[finger, segment]
            r = _RADII_CM[segment : segment + 2] * g * (0.88 if finger == 3 else 1.0)
            rows.append((at, end, r[0], r[1], 0.22, 10 * (finger + 1) + segment, normal))
            at = end
    out, first, second = gesture.thumb
    at = np.array([-2.0, -2.2, -0.3 * face])
    for segment, (length, turn, bend) in enumerate(
        ((4.3, out, 0.1), (3.2, 0.75 * out, first), (2.6, 0.6 * out, second))
    ):
        dip = bend * 0.8
        forward = np.array([-np.sin(turn + 0.1), -np.cos(turn + 0.1), -face * np.sin(dip)])
        end = at + forward / np.linalg.norm(forward) * length
        r = np.array([1.45, 1.08, 0.95, 0.72])[segment : segment + 2] * g
        normal = np.array([-0.75, 0.2, 0.63 * face])
        rows.append((at, end, r[0], r[1], 0.7 if segment == 0 else 0.25, 50 + segment, normal))
        at = end
    a, b, _ = gesture.turn
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    matrix = about_y @ about_x
    # The arm is not turned: it is what ties the hand to the edge of the picture.
    cut = min(hand.sleeve_from_cm, _REACH_CM)
    below = np.array([0.0, 1.0, -0.1])
    arm = [
        (np.array([0.0, -1.2, 0.0]), below * (cut + 1.0), 2.3 * g, (2.5 + 0.06 * cut) * g, 1.2, _ARM, back)
    ]
    if cut < _REACH_CM:
        wide = (2.7 + 0.06 * cut) * g
        arm.append(
            (below * (cut + wide), below * _REACH_CM, wide + 0.5, (4.6 + 0.02 * cut) * g, 0.1, _SLEEVE, back)
        )
    bones = np.array(
        [(*p, *q, ra, rb, soft, part, *n) for p, q, ra, rb, soft, part, n in arm]
        + [
            (*(matrix @ p), *(matrix @ q), ra, rb, soft, part, *(matrix @ n))
            for p, q, ra, rb, soft, part, n in rows
        ]
    )
    # Seen from its back a right hand has its thumb at image left; palms and left hands mirror that.
    if hand.left != hand.palm_side:
        bones[:, [0, 3, 10]] *= -1
    return bones


@compiled
@no_type_check
def _carve(bones, left, top, px_per_cm, outside, height, owner, along, aside):
    """Smooth union of capsules: distance and height (cm), highest capsule, place along and across it."""
    rows, columns = outside.shape
    for b in range(bones.shape[0]):
        ax, ay, az = bones[b, 0], bones[b, 1], bones[b, 2]
        bx, by, bz = bones[b, 3], bones[b, 4], bones[b, 5]
        ra, rb, soft = bones[b, 6], bones[b, 7], bones[b, 8]
        reach = max(ra, rb) + soft + 0.2
        first_row = max(int((min(ay, by) - reach) * px_per_cm) - top, 0)
        last_row = min(int((max(ay, by) + reach) * px_per_cm) - top + 1, rows)
        first_column = max(int((min(ax, bx) - reach) * px_per_cm) - left, 0)
        last_column = min(int((max(ax, bx) + reach) * px_per_cm) - left + 1, columns)
        dx, dy = bx - ax, by - ay
        length = dx * dx + dy * dy + 1e-6
        root = length**0.5
        for row in range(first_row, last_row):
            y = (row + top + 0.5) / px_per_cm - ay
            for column in range(first_column, last_column):
                x = (column + left + 0.5) / px_per_cm - ax
                t = min(max((x * dx + y * dy) / length, 0.0), 1.0)
                ox, oy = x - t * dx, y - t * dy
                away = (ox * ox + oy * oy) ** 0.5
                r = ra + t * (rb - ra)
                distance = away - r
                if distance > soft + 0.2:
                    continue
                rise = az + t * (bz - az)
                rise += (r * r - away * away) ** 0.5 if away < 0.98 * r else 0.2 * r - 4.0 * (away - 0.98 * r)
                if rise > height[row, column]:
                    owner[row, column] = b
                    along[row, column] = t
                    aside[row, column] = (x * dy - y * dx) / root / r
                near = outside[row, column]
                mixed = max(soft - abs(distance - near), 0.0)
                outside[row, column] = min(distance, near) - mixed * mixed / (4 * soft)
                old = height[row, column]
                mixed = max(soft - abs(rise - old), 0.0)
                height[row, column] = max(rise, old) + mixed * mixed / (4 * soft)


def _paint(
    hand: Hand,
    bones: Float64[np.ndarray, "b 13"],
    grid: Grid,
    height: Float32[np.ndarray, "h w"],
    owner: np.ndarray,
    along: Float32[np.ndarray, "h w"],
    aside: Float32[np.ndarray, "h w"],
    lamp: Lamp,
) -> Float32[np.ndarray, "h w 3"]:
    """Skin that is redder at tips and knuckles, creases at the joints, nails, a sleeve; then light."""
    rng = np.random.default_rng(hand.seed)  # the same skin in every gesture
    shape = (grid.height, grid.width)
    part = bones[np.maximum(owner, 0), 9].astype(np.int16)
    length = np.linalg.norm(bones[:, 3:6] - bones[:, 0:3], axis=1).astype(np.float32)[np.maximum(owner, 0)]
    digit, segment = part // 10, part % 10
    finger = digit > 0
    mottled = 1 + 0.10 * smooth(rng, shape, max(shape) / grid.px_per_cm / 3.0, 3)
    pores = 1 + 0.03 * rng.standard_normal(shape, np.float32)
    tip = finger & (segment == 2)
    red = np.where(tip, 0.5 * along, 0) + np.where(finger, 0.35 * np.exp(-((along * length / 0.6) ** 2)), 0)
    red = cv2.GaussianBlur(red.astype(np.float32), (0, 0), max(0.2 * grid.px_per_cm, 0.5))
    near_joint = np.minimum(along, 1 - along) * length
    creases = np.zeros(shape, np.float32)
    if grid.px_per_cm > 5:
        for at_cm, strength in ((0.0, 1.0), (0.16, 0.6), (0.32, 0.35)):
            creases += np.float32(strength) * np.exp(-(((near_joint - at_cm) / 0.05) ** 2))
        creases *= finger & ~(tip & (along > 0.5))
    tone = hand.skin * ((1.10, 0.98, 0.95) if hand.palm_side else (1.0, 1.0, 1.0))
    if hand.palm_side:  # palms are lighter, the more so on dark skin
        tone = tone + 0.35 * np.maximum(0.35 - tone, 0)
    albedo = (tone * (mottled * pores)[..., None]).astype(np.float32)
    albedo *= 1 + red[..., None] * np.array([0.10, -0.22, -0.18], np.float32)
    albedo *= 1 - 0.28 * creases[..., None]
    height = height - 0.02 * creases + 0.012 * smooth(rng, shape, max(shape) / grid.px_per_cm * 2.0, 2)

    # The nail lies where the back of the last segment looks at the viewer.
    normals = bones[np.maximum(owner, 0), 10:13]
    straight = bones[np.maximum(owner, 0)]
    dx, dy = straight[..., 3] - straight[..., 0], straight[..., 4] - straight[..., 1]
    side = (normals[..., 0] * dy - normals[..., 1] * dx) / np.maximum(np.hypot(dx, dy), 1e-3)
    reach_cm = length * along
    centre = length - 0.45
    shape_of_nail = ((reach_cm - centre) / 0.68) ** 4 + ((aside - 0.8 * side) / 0.62) ** 2
    shown = tip & (normals[..., 2] > 0.25)
    nail = np.clip((1 - shape_of_nail) * 4, 0, 1) * shown
    rim = np.exp(-(((shape_of_nail - 1.05) / 0.2) ** 2)) * shown
    edge = nail * (reach_cm > centre + 0.42)
    share = (0.85 * nail)[..., None]
    albedo = albedo * (1 - share) + share * hand.nail.astype(np.float32)
    albedo = albedo * (1 - 0.35 * rim[..., None]) + 0.25 * edge[..., None]
    sleeve = part == _SLEEVE
    if sleeve.any():
        x, y = grid.cm()
        cloth = wrap(pattern(rng), x, y, float(rng.uniform(4, 12)))
        albedo = np.where(sleeve[..., None], cloth, albedo)
        folds = smooth(rng, shape, max(shape) / grid.px_per_cm / 4, 2)
        height = height + np.where(sleeve, 0.35 * folds, 0)
    albedo = np.clip(albedo, 0.002, 0.95).astype(np.float32)
    lit = light_up(grid, height.astype(np.float32), albedo, lamp, gloss=0.05, sharpness=14.0, skin=1.0)
    return np.asarray(lit + (0.10 * nail[..., None] * lit).astype(np.float32), np.float32)

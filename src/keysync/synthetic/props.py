"""Things that come in front of a mouth, one seed -> one drawing; the part that covers is at the anchor."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float64
from scipy.ndimage import gaussian_filter1d

from keysync.synthetic.hand import draw_gesture, draw_hand, hand_layer
from keysync.synthetic.skin import draw_look, linear
from keysync.synthetic.surface import (
    Grid,
    Lamp,
    Layer,
    dye,
    light_up,
    outline,
    pattern,
    smooth,
    wrap,
)

Colour = Float64[np.ndarray, " 3"]
Draw = Callable[[np.random.Generator, Lamp, float, Colour], list[Layer]]


def microphone(rng: np.random.Generator, lamp: Lamp, px_per_cm: float, skin: Colour) -> list[Layer]:
    """A head of wire mesh or foam on a body; held, or on a stand."""
    head_cm, body_cm = rng.uniform(2.0, 3.4), rng.uniform(1.0, 1.9)
    metal = dye(rng, rng.uniform(0, 0.4)) if rng.random() < 0.5 else np.full(3, rng.uniform(0.01, 0.08))
    body = _turned(
        rng, lamp, px_per_cm,
        [0.0, head_cm, 12.0, 30.0], [0.8 * head_cm, 1.15 * body_cm, body_cm, 0.85 * body_cm],
        metal, gloss=0.3,
    )  # fmt: skip
    foam = rng.random() < 0.4
    long = rng.uniform(0.9, 1.6)
    turn = np.linspace(0, 2 * np.pi, 72)
    grid, alpha, _ = outline(np.stack([np.cos(turn), long * np.sin(turn)], 1) * head_cm, px_per_cm, 1.0)
    x, y = grid.cm()
    height = np.sqrt(np.maximum(head_cm**2 - x**2 - (y / long) ** 2, 0)).astype(np.float32)
    around, down = np.arcsin(np.clip(x / head_cm, -1, 1)), np.arcsin(np.clip(y / (long * head_cm), -1, 1))
    if foam:
        relief = smooth(rng, x.shape, 90, 1) * 0.12
        albedo = np.broadcast_to(dye(rng, rng.uniform(0, 1)) * 0.5, (*x.shape, 3)) * (1 + relief[..., None])
    else:
        cells = rng.uniform(18, 34)
        relief = np.sin(cells * around) * np.sin(cells * down)
        band = np.abs(y) < 0.12 * head_cm
        albedo = (0.25 + 0.2 * relief)[..., None] * (metal * 0.3 + 0.35) * np.where(band, 1.6, 1.0)[..., None]
    head = light_up(
        grid, height + (0.04 * relief).astype(np.float32),
        np.clip(albedo, 0.005, 0.9).astype(np.float32), lamp,
        gloss=0.0 if foam else 0.25, sharpness=30.0,
    )  # fmt: skip
    layers = [body, Layer(grid, head, alpha)]
    if rng.random() < 0.65:
        layers += _holding(rng, lamp, px_per_cm, skin, rng.uniform(9, 14))
    return layers


def cup(rng: np.random.Generator, lamp: Lamp, px_per_cm: float, skin: Colour) -> list[Layer]:
    """A mug, a paper cup, a glass or a bottle, tilted by its path; in a hand, mostly."""
    wide, tall = rng.uniform(3.2, 4.8), rng.uniform(7, 13)
    kind = rng.choice(["mug", "paper", "bottle"])
    profile = {
        "mug": ([-1.0, 0.0, tall], [wide, wide, 0.95 * wide]),
        "paper": ([-1.0, 0.0, tall], [wide, wide, 0.7 * wide]),
        "bottle": ([-2.0, 3.0, 5.5, 20.0], [1.3, 1.4, 3.4, 3.4]),
    }[str(kind)]
    layers = [_turned(rng, lamp, px_per_cm, *profile, None, gloss=rng.uniform(0.05, 0.5))]
    if kind == "mug":
        side, turn = rng.choice([-1, 1]), np.linspace(0, 2 * np.pi, 40)
        ring = np.concatenate(
            [
                np.stack([np.cos(turn), 1.3 * np.sin(turn)], 1) * 2.6,
                np.stack([np.cos(turn), 1.3 * np.sin(turn)], 1)[::-1] * 1.7,
            ]
        )
        grid, alpha, height = outline(ring + np.array([side * (wide + 0.9), 0.45 * tall]), px_per_cm, 0.5)
        albedo = np.broadcast_to(dye(rng), (*alpha.shape, 3)).astype(np.float32)
        layers.insert(0, Layer(grid, light_up(grid, height, albedo, lamp, gloss=0.3), alpha))
    if kind == "paper" and rng.random() < 0.6:
        layers.insert(
            0, _stick(rng, lamp, px_per_cm, np.array([0.3, 4.0]), np.array([rng.uniform(-2, 2), -9.0]), 0.35)
        )
    if rng.random() < 0.75:
        layers += _holding(rng, lamp, px_per_cm, skin, rng.uniform(3, 6))
    return layers


def straw(rng: np.random.Generator, lamp: Lamp, px_per_cm: float, skin: Colour) -> list[Layer]:
    """A straw, pen, spoon handle, cigarette or lollipop with its end at the anchor; in a hand, mostly."""
    angle, length = rng.uniform(-0.6, 0.6), rng.uniform(8, 22)
    end = length * np.array([np.sin(angle), np.cos(angle)])
    layers = [_stick(rng, lamp, px_per_cm, np.array([0.0, -0.5]), end, rng.uniform(0.25, 0.75))]
    if rng.random() < 0.3:
        layers.append(_lump(rng, lamp, px_per_cm, rng.uniform(1.0, 2.4), 0.08))
    if rng.random() < 0.7:
        layers += _holding(rng, lamp, px_per_cm, skin, 0.6 * length)
    return layers


def phone(rng: np.random.Generator, lamp: Lamp, px_per_cm: float, skin: Colour) -> list[Layer]:
    """A phone, book, card or box: a rounded rectangle with a back of any pattern and a lens or two."""
    half = np.array([rng.uniform(3.2, 8.0), rng.uniform(4, 9)])
    grid, alpha, height = outline(_rounded(half, rng.uniform(0.1, 1.3)), px_per_cm, 0.3)
    x, y = grid.cm()
    plain = rng.random() < 0.5
    albedo = wrap(pattern(rng, "plain" if plain else None), x, y, rng.uniform(6, 18))
    for _ in range(int(rng.integers(0, 4))):
        centre = rng.uniform(-0.75, -0.3, 2) * half
        albedo[np.hypot(x - centre[0], y - centre[1]) < rng.uniform(0.4, 0.8)] = 0.01
    gloss = light_up(grid, height, albedo, lamp, gloss=0.12, sharpness=6.0)
    layers = [Layer(grid, gloss, alpha)]
    if rng.random() < 0.8:
        layers += _holding(rng, lamp, px_per_cm, skin, 0.7 * half[1])
    return layers


def paper(rng: np.random.Generator, lamp: Lamp, px_per_cm: float, skin: Colour) -> list[Layer]:
    """A sheet, napkin or tissue: any outline with some corners, creased; written on, at times."""
    corners = int(rng.integers(4, 9))
    turn = np.sort(
        rng.uniform(0, 2 * np.pi, corners) * 0.15 + np.linspace(0, 2 * np.pi, corners, endpoint=False)
    )
    reach = rng.uniform(4, 11, 2) * rng.uniform(0.75, 1.15, (corners, 1))
    grid, alpha, _ = outline(np.stack([np.cos(turn), np.sin(turn)], 1) * reach, px_per_cm, 0.1)
    x, y = grid.cm()
    shape = alpha.shape
    cells = max(shape) / px_per_cm / rng.uniform(2, 7)
    height = rng.uniform(0.1, 1.6) * np.abs(smooth(rng, shape, cells, 3))  # the fold of |noise| is a crease
    albedo = np.full((*shape, 3), rng.uniform(0.5, 0.9), np.float32)
    if rng.random() < 0.5:
        albedo = wrap(pattern(rng, str(rng.choice(["letters", "plain", "checks"]))), x, y, rng.uniform(5, 14))
    layers = [Layer(grid, light_up(grid, height.astype(np.float32), albedo, lamp, gloss=0.02), alpha)]
    if rng.random() < 0.7:
        layers += _holding(rng, lamp, px_per_cm, skin, 0.8 * float(reach.mean()))
    return layers


def food(rng: np.random.Generator, lamp: Lamp, px_per_cm: float, skin: Colour) -> list[Layer]:
    """An apple, bun, ice cream or bar: one lump or a stack of them; in a hand, mostly."""
    size = rng.uniform(2.2, 5.0)
    layers = [_lump(rng, lamp, px_per_cm, size, rng.uniform(0.04, 0.15))]
    if rng.random() < 0.45:  # layers of a sandwich or a burger
        for down in np.arange(1, rng.integers(2, 5)):
            half = np.array([size * rng.uniform(0.85, 1.15), rng.uniform(0.4, 0.9)])
            slab = _rounded(half, 0.4) + np.array([0.0, 1.1 * down])
            layers.append(_slab(rng, lamp, px_per_cm, _ragged(rng, slab, 0.12)))
    elif rng.random() < 0.4:  # a cone
        cone = np.array([[-0.85 * size, 0.4], [0.85 * size, 0.4], [0.0, 3.4 * size]])
        layers.insert(0, _slab(rng, lamp, px_per_cm, cone))
    if rng.random() < 0.75:
        layers += _holding(rng, lamp, px_per_cm, skin, rng.uniform(3, 5.5))
    return layers


def scarf(rng: np.random.Generator, lamp: Lamp, px_per_cm: float, skin: Colour) -> list[Layer]:  # noqa: ARG001
    """Cloth drawn up over chin or mouth, or a mask: folds that run across, and an upper hem."""
    wide, tall = rng.uniform(8, 13), rng.uniform(9, 16)
    x = np.linspace(-wide, wide, 40)
    sag = rng.uniform(-0.02, 0.03) * x**2 + 0.35 * np.sin(x * rng.uniform(0.2, 0.9) + rng.uniform(0, 6))
    hem = np.stack([x, sag - rng.uniform(0, 2.5)], 1)
    grid, alpha, _ = outline(np.concatenate([hem, [[wide, tall], [-wide, tall]]]), px_per_cm, 0.4)
    across, down = grid.cm()
    bend = 0.8 * smooth(rng, alpha.shape, 3, 2)
    drawn = down + bend - rng.uniform(-0.04, 0.04) * across**2
    folds = np.sin(drawn * rng.uniform(0.8, 3.2)) * rng.uniform(0.1, 0.45) + 0.3 * smooth(
        rng, alpha.shape, 8, 3
    )
    round_head = np.sqrt(np.maximum(wide**2 * 1.3 - across**2, 0.1)) * 0.8
    albedo = wrap(pattern(rng), across + bend, drawn, rng.uniform(3, 14))
    height = (folds + round_head).astype(np.float32)
    return [Layer(grid, light_up(grid, height, albedo, lamp, gloss=0.03), alpha)]


def hand(rng: np.random.Generator, lamp: Lamp, px_per_cm: float, skin: Colour) -> list[Layer]:
    """A bare hand in any gesture, now and then with the other one beside it."""
    layers = []
    for _ in range(1 if rng.random() < 0.9 else 2):
        drawn = draw_hand(rng, skin)
        anchor = str(rng.choice(["tip", "fingers", "palm"]))
        layers.append(hand_layer(drawn, draw_gesture(rng), lamp, px_per_cm, anchor))
    return layers


def thing(rng: np.random.Generator, lamp: Lamp, px_per_cm: float, skin: Colour) -> list[Layer]:
    """Nothing with a name: a blob or a polygon in any pattern or skin-like colour, any relief."""
    corners = int(rng.integers(3, 10))
    turn = np.sort(rng.uniform(0, 2 * np.pi, corners))
    points = (
        np.stack([np.cos(turn), np.sin(turn)], 1)
        * rng.uniform(1.5, 7, 2)
        * rng.uniform(0.5, 1.1, (corners, 1))
    )
    if rng.random() < 0.6:
        points = _rounded_polygon(rng)
    grid, alpha, height = outline(points, px_per_cm, rng.uniform(0.1, 3.0))
    x, y = grid.cm()
    if rng.random() < 0.2:
        albedo = np.broadcast_to(skin, (*alpha.shape, 3)) * (1 + 0.1 * smooth(rng, alpha.shape, 6))[..., None]
    else:
        albedo = wrap(pattern(rng), x, y, rng.uniform(2, 16))
    height = height + rng.uniform(0, 0.4) * smooth(rng, alpha.shape, rng.uniform(3, 20))
    albedo = np.clip(albedo, 0.003, 0.95).astype(np.float32)
    lit = light_up(
        grid, height.astype(np.float32), albedo, lamp, gloss=rng.uniform(0, 0.4), sharpness=rng.uniform(5, 50)
    )
    layers = [Layer(grid, lit, alpha)]
    if rng.random() < 0.2:
        layers += _holding(rng, lamp, px_per_cm, skin, rng.uniform(2, 5))
    return layers


def caption(rng: np.random.Generator, lamp: Lamp, px_per_cm: float, skin: Colour) -> list[Layer]:  # noqa: ARG001
    """Lines of letters, with an outline or on a box, lit by nothing."""
    lines = int(rng.integers(1, 4))
    words = [
        "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPRSTUVW"), rng.integers(2, 9)))
        for _ in range(12)
    ]
    font, scale = int(rng.integers(0, 5)), rng.uniform(0.7, 2.4)
    thick = int(rng.integers(1, 5))
    rows = [" ".join(words[row * 3 : row * 3 + int(rng.integers(1, 4))]) for row in range(lines)]
    step = round(30 * scale + 4 * thick)
    wide = max(cv2.getTextSize(row, font, scale, thick)[0][0] for row in rows) + 40
    letters, border = (np.zeros((step * lines + 30, wide), np.uint8) for _ in range(2))
    for index, row in enumerate(rows):
        indent = (wide - cv2.getTextSize(row, font, scale, thick)[0][0]) // 2
        at = (indent, step * (index + 1) - round(4 * scale))
        cv2.putText(letters, row, at, font, scale, 255, thick, cv2.LINE_AA)
        cv2.putText(border, row, at, font, scale, 255, thick + int(rng.integers(3, 8)), cv2.LINE_AA)
    ink = linear(np.array([[1.0, 1, 1], [1, 0.9, 0.1], [0.05, 0.05, 0.05], rng.random(3)])[rng.integers(4)])
    behind = np.full(3, 0.0 if ink.mean() > 0.2 else 0.9)
    style = rng.choice(["bare", "outline", "box"])
    under = {
        "bare": np.zeros_like(border),
        "outline": border,
        "box": np.full_like(border, round(rng.uniform(130, 255))),
    }
    # As large as drawn by the font's own pixels, so that its strokes stay sharp.
    wide_cm = rng.uniform(8, 26)
    size = (max(round(wide_cm * px_per_cm), 8), max(round(wide_cm * px_per_cm * letters.shape[0] / wide), 4))
    way = cv2.INTER_AREA if size[0] < wide else cv2.INTER_LINEAR
    over = cv2.resize(letters, size, interpolation=way).astype(np.float32) / 255
    base = cv2.resize(under[str(style)], size, interpolation=way).astype(np.float32) / 255
    grid = Grid(-size[0] // 2, -size[1] // 2, size[0], size[1], px_per_cm)
    alpha = over + base * (1 - over)
    share = (over / np.maximum(alpha, 1e-3))[..., None]
    return [Layer(grid, (ink * share + behind * (1 - share)).astype(np.float32), alpha)]


PROPS: dict[str, Draw] = {
    "hand": hand,
    "microphone": microphone,
    "cup": cup,
    "straw": straw,
    "phone": phone,
    "paper": paper,
    "food": food,
    "scarf": scarf,
    "thing": thing,
    "caption": caption,
}


def any_skin(rng: np.random.Generator) -> Colour:
    """The skin of somebody."""
    return draw_look(rng).skin


def _holding(
    rng: np.random.Generator, lamp: Lamp, px_per_cm: float, skin: Colour, down_cm: float
) -> list[Layer]:
    """A hand in front of a thing, its palm ``down_cm`` below the anchor."""
    kind = str(rng.choice(["fist", "fist", "any", "pinch"]))
    held = hand_layer(draw_hand(rng, skin), draw_gesture(rng, kind, loose=0.5), lamp, px_per_cm, "palm")
    grid = held.grid
    across, down = round(rng.uniform(-1.5, 1.5) * px_per_cm), round((down_cm + 1.0) * px_per_cm)
    moved = Grid(grid.left + across, grid.top + down, grid.width, grid.height, px_per_cm)
    return [Layer(moved, held.light, held.alpha)]


def _turned(
    rng: np.random.Generator,
    lamp: Lamp,
    px_per_cm: float,
    heights_cm: list[float],
    radii_cm: list[float],
    colour: Colour | None,
    gloss: float,
) -> Layer:
    """A solid of revolution about the vertical, its ends a little round as seen from above or below."""
    y = np.linspace(heights_cm[0], heights_cm[-1], 40)
    radius = np.interp(y, heights_cm, radii_cm)
    tilt = rng.uniform(-0.25, 0.25)
    turn = np.linspace(0, np.pi, 24)
    top = np.stack([-radius[0] * np.cos(turn), y[0] - abs(tilt) * radius[0] * np.sin(turn)], 1)
    foot = np.stack([radius[-1] * np.cos(turn), y[-1] + abs(tilt) * radius[-1] * np.sin(turn)], 1)
    points = np.concatenate([top, np.stack([radius, y], 1), foot, np.stack([-radius, y], 1)[::-1]])
    grid, alpha, _ = outline(points, px_per_cm, 0.3)
    across, down = grid.cm()
    here = np.interp(down, heights_cm, radii_cm).astype(np.float32)
    side = np.clip(across / here, -1, 1)
    height = here * np.sqrt(1 - side * side)
    around = here * np.arcsin(side)
    tile = pattern(rng) if colour is None else np.broadcast_to(colour, (160, 160, 3)).astype(np.float32)
    albedo = wrap(np.ascontiguousarray(tile), around, down - np.float32(tilt) * height, rng.uniform(4, 16))
    lit = light_up(grid, height.astype(np.float32), albedo, lamp, gloss=gloss, sharpness=25.0)
    if colour is None and tilt > 0.08:  # one looks into it
        hollow = (across / radius[0]) ** 2 + ((down - y[0]) / (tilt * radius[0])) ** 2
        share = np.clip((0.86 - hollow) * 4, 0, 1)[..., None]
        lit = lit * (1 - share) + lit * share * 0.15 + 0.02 * share
    return Layer(grid, lit.astype(np.float32), alpha)


def _stick(
    rng: np.random.Generator, lamp: Lamp, px_per_cm: float, start: np.ndarray, end: np.ndarray, wide_cm: float
) -> Layer:
    along = (end - start) / np.linalg.norm(end - start)
    aside = np.array([-along[1], along[0]]) * wide_cm / 2
    grid, alpha, height = outline(
        np.stack([start - aside, start + aside, end + aside, end - aside]), px_per_cm, wide_cm / 2
    )
    x, y = grid.cm()
    u = ((x - start[0]) * along[0] + (y - start[1]) * along[1]).astype(np.float32)
    albedo = wrap(pattern(rng, str(rng.choice(["plain", "stripes", "patches"]))), u, u, rng.uniform(2, 8))
    return Layer(grid, light_up(grid, height, albedo, lamp, gloss=0.2), alpha)


def _lump(rng: np.random.Generator, lamp: Lamp, px_per_cm: float, size_cm: float, rough: float) -> Layer:
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], 1) * size_cm * rng.uniform(0.75, 1.1, 2)
    return _slab(rng, lamp, px_per_cm, _ragged(rng, circle, rough * size_cm), bevel_cm=size_cm)


def _slab(
    rng: np.random.Generator, lamp: Lamp, px_per_cm: float, points: np.ndarray, bevel_cm: float = 0.5
) -> Layer:
    grid, alpha, height = outline(points, px_per_cm, bevel_cm)
    x, y = grid.cm()
    albedo = wrap(
        pattern(rng, str(rng.choice(["plain", "clouds", "patches", "dots", "weave"]))),
        x,
        y,
        rng.uniform(3, 12),
    )
    height = height + 0.12 * smooth(rng, alpha.shape, 14)
    lit = light_up(grid, height.astype(np.float32), albedo, lamp, gloss=rng.uniform(0, 0.3), sharpness=30.0)
    return Layer(grid, lit, alpha)


def _rounded(half_cm: np.ndarray, radius_cm: float) -> np.ndarray:
    """A rectangle with round corners."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False) + 0.01
    corner = np.stack([np.cos(turn), np.sin(turn)], 1)
    radius = min(radius_cm, 0.95 * float(half_cm.min()))
    return np.asarray(np.sign(corner) * (half_cm - radius) + radius * corner)


def _ragged(rng: np.random.Generator, points: np.ndarray, by_cm: float) -> np.ndarray:
    """An outline made uneven."""
    # Smoothing over 5 points leaves less than half of the deviation.
    coarse = gaussian_filter1d(rng.normal(0, 2.2 * by_cm, points.shape), 1.4, axis=0, mode="wrap")
    return np.asarray(points + coarse)


def _rounded_polygon(rng: np.random.Generator) -> np.ndarray:
    """A blob: a circle whose radius is a few random waves."""
    turn = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    radius = 1 + sum(
        rng.normal(0, 0.35 / wave) * np.cos(wave * turn + rng.uniform(0, 6)) for wave in range(1, 7)
    )
    return (
        np.stack([np.cos(turn), np.sin(turn)], 1)
        * np.maximum(radius, 0.15)[:, None]
        * rng.uniform(1.5, 6.0, 2)
    )

"""Examples for the occlusion segmenter, new ones for every batch: a face, a clean picture of it, a cover.

What shall be found is pasted with exact alpha: drawings of ``synthetic.props``, and shapes and textures of
no meaning at all, so that the network cannot learn a list of things. What shall *not* be found is put on
the face and on its clean picture alike (hair, texture, other clothes, other backgrounds), or is light:
shadows, casts, noise, compression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from keysync.mask.segmenter import SIDE
from keysync.synthetic.camera import develop
from keysync.synthetic.occlude import draw_lamp
from keysync.synthetic.props import PROPS, any_skin
from keysync.synthetic.surface import Sprite, flatten, pattern, smooth
from keysync.train.occlusion_faces import INNER, Faces
from keysync.train.occlusion_faces import SIDE as STORED

PX_PER_CM = 7.5  # of the crop that the segmenter sees
_WEIGHTS = {"hand": 4, "microphone": 2, "thing": 2, "caption": 3}  # against 1 of every other kind
_FONTS = 5

Picture = Float32[np.ndarray, "s s 3"]
Plane = Float32[np.ndarray, "s s"]


class Example(NamedTuple):
    """One picture to judge, 0 to 1."""

    crop: Picture
    clean: Picture
    known: Plane  # 1 where ``clean`` may be trusted
    cover: Plane  # the truth: how much of each pixel is not the person
    place: Float32[np.ndarray, "68 2"]  # landmarks, pixels


@dataclass(frozen=True, slots=True)
class Props:
    """Finished drawings and textures to paste."""

    sprites: list[Sprite]
    textures: UInt8[np.ndarray, "n 160 160 3"]


def draw_props(seed: int, sprites: int, textures: int) -> Props:
    """Draw a stock of things (about 30 ms each) and of textures."""
    rng = np.random.default_rng([seed, 13])
    kinds = list(PROPS)
    chances = np.array([_WEIGHTS.get(kind, 1.0) for kind in kinds])
    drawn = []
    for _ in range(sprites):
        kind = str(rng.choice(kinds, p=chances / chances.sum()))
        lamp, skin = draw_lamp(rng), any_skin(rng)
        drawn.append(flatten(PROPS[kind](rng, lamp, PX_PER_CM * 1.2, skin)))
    tiles = [(develop(pattern(rng)) * 255).astype(np.uint8) for _ in range(textures)]
    return Props(drawn, np.stack(tiles))


class Examples:
    """Draws examples; the same generator gives the same ones."""

    def __init__(self, faces: list[Faces], props: Props, rng: np.random.Generator) -> None:
        self.faces, self.props, self.rng = faces, props, rng

    def draw(self, *, covered: float = 0.72) -> Example:
        """One example, with something before the face in the share ``covered`` of all."""
        rng = self.rng
        faces = self.faces[rng.integers(len(self.faces))]
        crop, clean, matte, place = self._person(faces)
        if rng.random() < 0.6:
            crop, clean = self._redressed(crop, clean, matte, place)
        if rng.random() < 0.5:
            crop, clean = self._textured(crop, clean)
        if rng.random() < 0.3:
            crop, clean = self._haired(crop, clean, place)
        if rng.random() < 0.3:
            crop, clean = self._unshaven(crop, clean, place)
        if rng.random() < 0.25:
            crop, clean = self._made_up(crop, clean, place)
        crop = self._lit(crop, 0.3)
        clean = self._lit(clean, 0.15)
        if rng.random() < 0.4:
            crop = self._shaded(crop)

        cover = np.zeros((SIDE, SIDE), np.float32)
        known = self._doubts()
        if rng.random() < covered:
            for _ in range(1 if rng.random() < 0.85 else 2):
                colour, alpha = self._thing(crop, place)
                crop = self._under_shadow(crop, alpha) * (1 - alpha[..., None]) + colour * alpha[..., None]
                cover = np.maximum(cover, alpha)
                if rng.random() < 0.25:  # it was there in the clean picture too
                    clean, known = self._spoilt(clean, known, colour, alpha)
        if rng.random() < 0.08:  # another thing was, and was seen
            colour, alpha = self._thing(clean, place)
            clean, known = self._spoilt(clean, known, colour, alpha)
        if rng.random() < 0.3:
            known = np.zeros_like(known)
        crop, clean, cover = self._filmed(crop, clean, cover)
        return Example(crop, clean, known, cover, place)

    def _person(self, faces: Faces) -> tuple[Picture, Picture, Plane, Float32[np.ndarray, "68 2"]]:
        """One shot and the median of others, in one random framing with a little tremble of each."""
        rng = self.rng
        order = rng.permutation(len(faces.pictures))
        chosen = order[: int(rng.choice([2, 2, 3, 4, 5]))]
        turn, scale = np.deg2rad(rng.normal(0, 3)), SIDE / INNER * rng.uniform(0.86, 1.12)
        shift = SIDE / 2 + rng.normal(0, 2.5, 2)
        mirrored = rng.random() < 0.5
        warped = []
        for index in chosen:
            matrix = _matrix(turn + rng.normal(0, 0.008), scale * (1 + rng.normal(0, 0.008)))
            matrix[:, 2] = shift + rng.normal(0, 0.7, 2) - matrix[:, :2] @ np.full(2, STORED / 2)
            picture = cv2.warpAffine(
                faces.pictures[index], matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE
            )
            warped.append(picture)
            if len(warped) == 1:
                matte = cv2.warpAffine(faces.mattes[index], matrix, (SIDE, SIDE))
                place = (faces.landmarks[index] @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
        stack = np.stack(warped).astype(np.float32) / 255
        # The clean picture is a median of frames, at times with the judged one among them.
        others = stack[1:] if rng.random() < 0.7 else stack
        clean = np.median(others, axis=0).astype(np.float32) if len(others) > 1 else others[0]
        share = matte.astype(np.float32) / 255
        if mirrored:
            place = place * (-1, 1) + (SIDE, 0)
            return _flip(stack[0]), _flip(clean), _flip(share), place.astype(np.float32)
        return stack[0], clean, share, place

    def _redressed(
        self, crop: Picture, clean: Picture, matte: Plane, place: Float32[np.ndarray, "68 2"]
    ) -> tuple[Picture, Picture]:
        """Another background, and other clothes below a line under the chin: neither is a cover."""
        rng = self.rng
        behind = 1 - matte
        chin = float(place[5:12, 1].max()) + rng.uniform(3, 18)
        rows = np.arange(SIDE, dtype=np.float32)
        slope = rng.uniform(0, 0.5) * np.abs(np.arange(SIDE) - place[8, 0] - rng.normal(0, 6))
        below = np.clip(rows[:, None] - (chin + 12 - slope[None]) + 0.5, 0, 1).astype(np.float32) * matte
        for area in (behind, below):
            if rng.random() < 0.75:
                texture = self._texture(SIDE + 12)
                dx, dy = rng.integers(0, 12, 2)
                still = area[..., None]
                crop = crop * (1 - still) + texture[:SIDE, :SIDE] * still
                clean = clean * (1 - still) + texture[dy : dy + SIDE, dx : dx + SIDE] * still
            for _ in range(int(rng.choice([0, 0, 1, 2]))):  # furniture, collars: it has edges, too
                near = np.array([rng.choice([0.1, 0.5, 0.9]), rng.uniform(0, 1)]) * SIDE
                shape, colour = self._shape(near + rng.normal(0, 12, 2)), self._texture(SIDE)
                shift = np.array([[1, 0, rng.normal(0, 2)], [0, 1, rng.normal(0, 2)]])
                crop = _mix(crop, colour, (shape * area)[..., None])
                clean = _mix(clean, colour, (cv2.warpAffine(shape, shift, (SIDE, SIDE)) * area)[..., None])
        return crop, clean

    def _textured(self, crop: Picture, clean: Picture) -> tuple[Picture, Picture]:
        """Skin as photographs show it: blotches, pores, marks, the same on both pictures."""
        rng = self.rng
        field = smooth(rng, (SIDE, SIDE), rng.uniform(4, 40), 3) * rng.uniform(0.03, 0.25)
        tint = 1 + field[..., None] * rng.uniform(0.6, 1.2, 3).astype(np.float32)
        moved = cv2.warpAffine(
            tint, np.array([[1, 0, rng.normal(0, 0.7)], [0, 1, rng.normal(0, 0.7)]]), (SIDE, SIDE),
            borderMode=cv2.BORDER_REFLECT,
        )  # fmt: skip
        return np.clip(crop * tint, 0, 1).astype(np.float32), np.clip(clean * moved, 0, 1).astype(np.float32)

    def _haired(
        self, crop: Picture, clean: Picture, place: Float32[np.ndarray, "68 2"]
    ) -> tuple[Picture, Picture]:
        """Moustache, beard, strands or frames of glasses, on both pictures, a little moved."""
        rng = self.rng
        ink = np.zeros((SIDE, SIDE), np.uint8)
        kind = rng.choice(["hair", "hair", "strands", "glasses"])
        if kind == "hair":
            low, high = place[[48, 54]].mean(axis=0), np.ptp(place[:, 0])
            for _ in range(int(rng.integers(60, 500))):
                x, y = rng.normal(0, (0.22 * high, 6)) + low + (0, rng.choice([-7, 9, 16]))
                dx, dy = rng.normal(0, 2), rng.uniform(1, 5)
                cv2.line(ink, (round(x), round(y)), (round(x + dx), round(y + dy)), 255, 1, cv2.LINE_AA)
            lips = np.round(place[48:60]).astype(np.int32)
            cv2.fillPoly(ink, [lips], 0, cv2.LINE_AA)
        elif kind == "strands":
            for _ in range(int(rng.integers(1, 12))):
                x, drift = rng.choice([0.2, 0.8]) * SIDE + rng.normal(0, 12), rng.normal(0, 14)
                steps = np.linspace(0, 1, 12)
                line = np.stack(
                    [
                        x + drift * steps + rng.normal(0, 6) * np.sin(3 * steps),
                        SIDE * steps * rng.uniform(0.5, 1),
                    ],
                    axis=1,
                )
                cv2.polylines(ink, [np.round(line).astype(np.int32)], False, 255, 1, cv2.LINE_AA)
        else:
            for eye in (place[36:42].mean(axis=0), place[42:48].mean(axis=0)):
                size = rng.uniform(9, 17), rng.uniform(7, 15)
                centre = tuple(int(v) for v in eye)
                axes = tuple(int(v) for v in size)
                cv2.ellipse(ink, centre, axes, 0, 0, 360, 255, int(rng.integers(1, 4)), cv2.LINE_AA)
        share = ink.astype(np.float32)[..., None] / 255 * rng.uniform(0.4, 1)
        colour = rng.uniform(0, 0.25) * rng.uniform(0.6, 1.2, 3)
        moved = np.roll(share, tuple(rng.integers(-1, 2, 2)), (0, 1))
        return _mix(crop, colour, share), _mix(clean, colour, moved)

    def _unshaven(
        self, crop: Picture, clean: Picture, place: Float32[np.ndarray, "68 2"]
    ) -> tuple[Picture, Picture]:
        """The grey of a shaven beard, or a soft full one, around the lips: a patch with no strands in it."""
        rng = self.rng
        size = float(np.ptp(place[:, 0]))
        area = np.zeros((SIDE, SIDE), np.float32)
        top = place[[33, 33]] + [(0.3 * size, rng.uniform(0, 0.1) * size), (-0.3 * size, 0.05 * size)]
        outline = np.concatenate([place[3:14], top])
        cv2.fillPoly(area, [np.round(outline).astype(np.int32)], 1.0)
        area = cv2.GaussianBlur(area, (0, 0), rng.uniform(1.5, 6))
        cv2.fillPoly(area, [np.round(place[48:60]).astype(np.int32)], 0.0, cv2.LINE_AA)
        area *= np.clip(1 + 0.5 * smooth(rng, (SIDE, SIDE), rng.uniform(3, 20), 3), 0, 1.5)
        share = np.clip(area * rng.uniform(0.05, 0.6), 0, 1)[..., None]
        colour = rng.uniform(0.02, 0.35) * rng.uniform(0.8, 1.2, 3)
        moved = np.roll(share, tuple(rng.integers(-1, 2, 2)), (0, 1))
        return _mix(crop, colour, share), _mix(clean, colour, moved)

    def _made_up(
        self, crop: Picture, clean: Picture, place: Float32[np.ndarray, "68 2"]
    ) -> tuple[Picture, Picture]:
        """Lipstick of any colour, on both pictures."""
        rng = self.rng
        lips = np.zeros((SIDE, SIDE), np.float32)
        cv2.fillPoly(lips, [np.round(place[48:60]).astype(np.int32)], 1.0, cv2.LINE_AA)
        cv2.fillPoly(lips, [np.round(place[60:68]).astype(np.int32)], 0.0, cv2.LINE_AA)
        share = cv2.GaussianBlur(lips, (0, 0), 0.7)[..., None] * rng.uniform(0.3, 0.9)
        tint = np.float32(1.6) * rng.random(3).astype(np.float32)
        worn = [np.clip(p.mean(axis=2, keepdims=True) * tint, 0, 1) for p in (crop, clean)]
        return _mix(crop, worn[0], share), _mix(clean, worn[1], share)

    def _lit(self, picture: Picture, much: float) -> Picture:
        """Light that falls off across the picture, a cast, an exposure."""
        rng = self.rng
        field = cv2.resize(
            rng.normal(0, much / 2, (3, 3)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC
        )
        gain = np.exp(rng.normal(0, much / 3)) * np.exp(rng.normal(0, much / 8, 3))
        lit = np.maximum(picture, 0) ** np.float32(np.exp(rng.normal(0, much / 2)))
        return np.asarray(np.clip(lit * np.exp(field)[..., None] * gain, 0, 1), np.float32)

    def _shaded(self, picture: Picture) -> Picture:
        """A shadow or a patch of light with an edge, of anything: no cover."""
        rng = self.rng
        edge = cv2.GaussianBlur(self._shape(np.full(2, SIDE / 2)), (0, 0), rng.uniform(0.8, 9))
        tint = rng.uniform(-0.5, 0.25) * rng.uniform(0.85, 1.15, 3)
        return np.asarray(np.clip(picture * (1 + edge[..., None] * tint), 0, 1), np.float32)

    def _under_shadow(self, picture: Picture, alpha: Plane) -> Picture:
        """What a thing casts beside itself."""
        rng = self.rng
        if rng.random() < 0.5:
            return picture
        shift = np.array([[1, 0, rng.normal(0, 5)], [0, 1, rng.normal(3, 5)]])
        cast = cv2.GaussianBlur(cv2.warpAffine(alpha, shift, (SIDE, SIDE)), (0, 0), rng.uniform(1, 7))
        return np.asarray(picture * (1 - rng.uniform(0.1, 0.55) * cast[..., None]), np.float32)

    def _thing(self, picture: Picture, place: Float32[np.ndarray, "68 2"]) -> tuple[Picture, Plane]:
        """Colour and alpha of one cover: about the mouth mostly, else anywhere."""
        rng = self.rng
        spread = rng.choice([6.0, 18.0, 40.0])
        target = place[48:68].mean(axis=0) + rng.normal(0, spread, 2)
        if rng.random() < 0.6:
            return self._drawn(picture, target)
        alpha = self._shape(target)
        colour = self._texture(SIDE) if rng.random() < 0.7 else self._skin(picture)
        if rng.random() < 0.5:  # solid: bright on one side
            height = cv2.GaussianBlur(alpha, (0, 0), rng.uniform(2, 8))
            angle = rng.uniform(0, 2 * np.pi)
            slope = np.cos(angle) * cv2.Sobel(height, cv2.CV_32F, 1, 0) + np.sin(angle) * cv2.Sobel(
                height, cv2.CV_32F, 0, 1
            )
            colour = colour * (1 + rng.uniform(0.3, 1.5) * slope[..., None])
        return np.clip(colour, 0, 1).astype(np.float32), alpha

    def _drawn(
        self, picture: Picture, target: Float32[np.ndarray, " 2"] | Float64[np.ndarray, " 2"]
    ) -> tuple[Picture, Plane]:
        """One of the stock, turned, scaled, recoloured."""
        rng = self.rng
        sprite = self.props.sprites[rng.integers(len(self.props.sprites))]
        turn = rng.normal(0, 0.6) + rng.choice([0, 0, 0, np.pi / 2, -np.pi / 2, np.pi])
        matrix = _matrix(turn, PX_PER_CM / sprite.px_per_cm * rng.uniform(0.75, 1.3))
        if rng.random() < 0.5:
            matrix[:, 0] *= -1
        matrix[:, 2] = target - matrix[:, :2] @ np.array(sprite.anchor)
        rgba = cv2.warpAffine(sprite.rgba, matrix, (SIDE, SIDE)).astype(np.float32) / 255
        alpha = np.ascontiguousarray(rgba[..., 3])
        bright = np.clip(np.percentile(picture[40:100:4, 30:98:4], 90) / 0.84, 0.3, 1.15)
        gain = bright * rng.uniform(0.6, 1.25) * rng.uniform(0.9, 1.1, 3)
        colour = rgba[..., :3] / np.maximum(alpha, 1e-3)[..., None] * gain
        if rng.random() < 0.3:
            colour = colour[..., rng.permutation(3)]
        return np.clip(colour, 0, 1).astype(np.float32), alpha

    def _shape(self, target: Float32[np.ndarray, " 2"] | Float64[np.ndarray, " 2"]) -> Plane:
        """Coverage of some shape about ``target``; drawn twice as large, so its edge is smooth."""
        rng = self.rng
        big = np.zeros((2 * SIDE, 2 * SIDE), np.uint8)
        middle = 2 * np.asarray(target, np.float64)
        kind = rng.choice(["blob", "polygon", "strip", "ellipse", "fingers", "half", "caption", "crumbs"])
        if kind == "blob":
            field = smooth(rng, (2 * SIDE, 2 * SIDE), rng.uniform(1.5, 6), 3)
            y, x = np.mgrid[0 : 2 * SIDE, 0 : 2 * SIDE].astype(np.float32)
            near = np.hypot(x - middle[0], y - middle[1]) / rng.uniform(30, 110)
            big[(field * 0.8 + 1 - near) > 0] = 255
        elif kind == "polygon":
            corners = int(rng.integers(3, 9))
            turn = np.sort(rng.uniform(0, 2 * np.pi, corners))
            reach = rng.uniform(15, 120, 2) * rng.uniform(0.4, 1, (corners, 1))
            points = np.stack([np.cos(turn), np.sin(turn)], 1) * reach + middle
            cv2.fillPoly(big, [np.round(points).astype(np.int32)], 255)
        elif kind in ("strip", "fingers"):
            count = 1 if kind == "strip" else int(rng.integers(2, 6))
            angle, wide = rng.uniform(0, 2 * np.pi), int(rng.integers(4, 44 if kind == "strip" else 26))
            along = np.array([np.cos(angle), np.sin(angle)])
            aside = np.array([-along[1], along[0]])
            for number in range(count):
                start = (
                    middle + aside * (number - count / 2) * wide * rng.uniform(0.9, 1.4) + rng.normal(0, 8, 2)
                )
                end = start + (along + rng.normal(0, 0.1, 2)) * rng.uniform(100, 400)
                cv2.line(big, start.astype(int).tolist(), end.astype(int).tolist(), 255, wide, cv2.LINE_AA)
        elif kind == "ellipse":
            axes = rng.uniform(8, 100, 2).astype(int).tolist()
            cv2.ellipse(big, middle.astype(int).tolist(), axes, rng.uniform(0, 180), 0, 360, 255, -1)
        elif kind == "half":
            angle = rng.uniform(0, 2 * np.pi)
            y, x = np.mgrid[0 : 2 * SIDE, 0 : 2 * SIDE].astype(np.float32)
            across = (x - middle[0]) * np.cos(angle) + (y - middle[1]) * np.sin(angle)
            big[across + 14 * smooth(rng, (2 * SIDE, 2 * SIDE), 3, 2) > rng.uniform(-20, 50)] = 255
        elif kind == "caption":
            text = "".join(
                rng.choice(list("ABCDEFGHIKLMNOPRSTUVWabcdefghiklmnoprstuvw0123 "), int(rng.integers(4, 14)))
            )
            at = (int(middle[0] - rng.uniform(40, 140)), int(middle[1]))
            size = rng.uniform(0.5, 2.4)
            thick = int(rng.integers(1, round(2 + 2.5 * size)))
            cv2.putText(big, text, at, int(rng.integers(_FONTS)), size, 255, thick, cv2.LINE_AA)
            if rng.random() < 0.3:
                cv2.rectangle(big, (at[0] - 8, at[1] - int(26 * size)), (at[0] + 200, at[1] + 10), 255, -1)
        else:
            for _ in range(int(rng.integers(2, 9))):
                spot = (middle + rng.normal(0, 40, 2)).astype(int).tolist()
                cv2.circle(big, spot, int(rng.integers(5, 24)), 255, -1, cv2.LINE_AA)
        small = cv2.resize(big, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        return np.asarray(small.astype(np.float32) / 255)

    def _texture(self, side: int) -> Float32[np.ndarray, "t t 3"]:
        """A plain, a pattern, clouds, noise like a photograph's, or a piece of some other picture."""
        rng = self.rng
        kind = rng.choice(["plain", "pattern", "pattern", "photo", "other", "other"])
        if kind == "plain":
            grain = smooth(rng, (side, side), rng.uniform(2, 30), 2) * rng.uniform(0, 0.3)
            return np.clip(rng.random(3) * (1 + grain[..., None]), 0, 1).astype(np.float32)
        if kind == "pattern":
            tile = self.props.textures[rng.integers(len(self.props.textures))]
            matrix = _matrix(rng.uniform(0, 6), rng.uniform(0.2, 2.5))
            matrix[:, 2] = rng.uniform(0, side, 2)
            bent = cv2.warpAffine(tile, matrix, (side, side), borderMode=cv2.BORDER_WRAP)
            return np.asarray(bent * (rng.uniform(0.4, 1.1) / 255), np.float32)
        if kind == "photo":
            base, mix = rng.uniform(0.1, 0.9, 3), rng.normal(0, 0.3, (2, 3))
            first, second = (smooth(rng, (side, side), rng.uniform(1, 8), 5) for _ in range(2))
            mixed = base + first[..., None] * mix[0] + second[..., None] * mix[1]
            return np.asarray(np.clip(mixed, 0, 1), np.float32)
        faces = self.faces[rng.integers(len(self.faces))]
        return self._piece(faces.pictures[rng.integers(len(faces.pictures))], side)

    def _skin(self, picture: Picture) -> Picture:
        """This very face's cheek or chin, as the back of the person's own hand would look."""
        rng = self.rng
        return self._piece((picture * 255).astype(np.uint8), SIDE) * np.float32(rng.uniform(0.75, 1.15))

    def _piece(self, picture: UInt8[np.ndarray, "h w 3"], side: int) -> Float32[np.ndarray, "t t 3"]:
        rng = self.rng
        matrix = _matrix(rng.uniform(0, 6), rng.uniform(0.8, 3.5))
        matrix[:, 2] = side / 2 - matrix[:, :2] @ (rng.uniform(0.2, 0.8, 2) * len(picture))
        cut = cv2.warpAffine(picture, matrix, (side, side), borderMode=cv2.BORDER_REFLECT)
        return np.asarray(cut.astype(np.float32) / 255)

    def _doubts(self) -> Plane:
        """Where the clean picture is known: everywhere, or not in some blob."""
        if self.rng.random() < 0.75:
            return np.ones((SIDE, SIDE), np.float32)
        middle = self.rng.uniform(0.2 * SIDE, 0.9 * SIDE, 2)
        return (self._shape(middle) < 0.5).astype(np.float32)

    def _spoilt(self, clean: Picture, known: Plane, colour: Picture, alpha: Plane) -> tuple[Picture, Plane]:
        """A cover in the clean picture, a little elsewhere; mostly it is known to be one."""
        rng = self.rng
        far = rng.choice([0.5, 3.0])
        shift = np.array([[1, 0, rng.normal(0, far)], [0, 1, rng.normal(0, far)]])
        there = cv2.warpAffine(alpha, shift, (SIDE, SIDE))
        tint = cv2.warpAffine(colour, shift, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
        clean = _mix(clean, tint, there[..., None])
        if rng.random() < 0.8:
            wide = int(rng.integers(1, 8))
            doubted = cv2.dilate(
                (there > rng.uniform(0.1, 0.6)).astype(np.uint8), np.ones((wide, wide), np.uint8)
            )
            known = known * (1 - doubted.astype(np.float32))
        return clean, known

    def _filmed(self, crop: Picture, clean: Picture, cover: Plane) -> tuple[Picture, Picture, Plane]:
        """One camera for both: colours, softness, noise, compression; noise only in the crop."""
        rng = self.rng
        gamma, gain = (
            np.float32(np.exp(rng.normal(0, 0.25))),
            rng.normal(1, 0.08, 3) * rng.uniform(0.55, 1.15),
        )
        saturation = rng.uniform(0.2, 1.4)
        mix = np.full((3, 3), (1 - saturation) / 3) + saturation * np.eye(3)
        crop, clean = (
            np.clip(cv2.transform(np.maximum(p, 0) ** gamma, mix) * gain, 0, 1).astype(np.float32)
            for p in (crop, clean)
        )
        if rng.random() < 0.3:
            if rng.random() < 0.5:
                wide = float(rng.uniform(0.4, 2.0))
                crop, cover = (cv2.GaussianBlur(p, (0, 0), wide) for p in (crop, cover))
            else:  # moved
                length = int(rng.integers(2, 9))
                kernel = np.zeros((length, length), np.float32)
                cv2.line(
                    kernel, (0, int(rng.integers(length))), (length - 1, int(rng.integers(length))), 1.0, 1
                )
                kernel /= kernel.sum()
                crop, cover = (cv2.filter2D(p, -1, kernel) for p in (crop, cover))
        if rng.random() < 0.3:
            small = int(SIDE * rng.uniform(0.35, 0.8))
            crop, clean = (
                cv2.resize(cv2.resize(p, (small, small), interpolation=cv2.INTER_AREA), (SIDE, SIDE))
                for p in (crop, clean)
            )
        noise = np.float32(np.exp(rng.uniform(np.log(0.002), np.log(0.05))))
        crop = np.clip(crop + noise * rng.standard_normal(crop.shape, np.float32), 0, 1)
        if rng.random() < 0.3:
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 80))]
            packed = cv2.imencode(".jpg", (crop * 255).astype(np.uint8), quality)[1]
            crop = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.float32) / 255
        return np.asarray(crop, np.float32), np.asarray(clean, np.float32), np.asarray(cover, np.float32)


def _matrix(turn: float, scale: float) -> Float64[np.ndarray, "2 3"]:
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0]])


def _mix(picture: np.ndarray, colour: np.ndarray, share: np.ndarray) -> Picture:
    return np.asarray(picture * (1 - share) + colour * share, np.float32)


def _flip(picture: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(picture[:, ::-1])

"""One seed, one scene: framing, light, background; and what a camera does to the picture."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from keysync.synthetic.head import head_model, rotation, smoothstep
from keysync.synthetic.light import shade
from keysync.synthetic.person import Person, light_view
from keysync.synthetic.rasterise import shadow_depth, visible
from keysync.synthetic.skin import linear

Framing = Literal["face", "head"]
_HEAD_CM = 27.0  # crown to chin, hair included
_SHADOW_SIDE = 384


class Scene:
    """Camera, lights and background around one person, drawn from ``rng`` alone."""

    def __init__(self, rng: np.random.Generator, person: Person, framing: Framing) -> None:
        self.focal = rng.uniform(2.0, 3.6)  # in frame widths
        tail = 2.2 if rng.random() < 0.1 else 1.0
        self.pose = rng.normal(0, 1, 3) * [3, 9 * tail, 2.5]
        self.pose = np.clip(self.pose, [-12, -30, -10], [12, 30, 10])
        if framing == "head":
            self.distance = self.focal * _HEAD_CM / rng.uniform(0.48, 0.75)
            self.centre = rng.normal(0, 1.5), -1.5 + rng.normal(0, 1.2)
        else:
            rest = np.zeros(len(head_model().shapes), np.float32)
            vertices, _ = person.pose(rest, rotation(*self.pose), np.zeros(3))
            marks = vertices[head_model().landmarks]
            low, high = marks.min(axis=0), marks.max(axis=0)
            side = float(np.max(high[:2] - low[:2])) * rng.uniform(1.45, 1.8)
            self.distance = self.focal * side + float(marks[:, 2].mean())
            self.centre = tuple((low[:2] + high[:2]) / 2 + rng.normal(0, 0.03, 2) * side)
        self._light(rng)
        self.exposure = rng.uniform(0.85, 1.1)
        self.background = _background(rng)
        self.sensor_noise, self.blur = rng.uniform(0.002, 0.02), rng.uniform(0, 1.2) * (rng.random() < 0.5)
        self.gamma, self.white = rng.uniform(0.9, 1.12), rng.uniform(0.94, 1.06, 3)

    def _light(self, rng: np.random.Generator) -> None:
        azimuth, height = rng.uniform(-1.1, 1.1), rng.uniform(0.1, 1.0)
        key = [np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)]
        warm = rng.uniform(-0.12, 0.12)
        lights = [[*key, *(np.array([1 + warm, 1, 1 - warm]) * rng.uniform(0.8, 1.5))]]
        azimuth, warm = -np.sign(azimuth) * rng.uniform(0.3, 2.2), rng.uniform(-0.2, 0.2)
        fill = np.array([np.sin(azimuth), rng.uniform(-0.1, 0.5), np.cos(azimuth)])
        lights.append([*(fill / np.linalg.norm(fill)), *(np.array([1 + warm, 1, 1 - warm]) * rng.uniform(0.05, 0.5))])
        if rng.random() < 0.4:
            rim = np.array([rng.choice([-1, 1]) * 0.8, 0.3, -0.6])
            lights.append([*(rim / np.linalg.norm(rim)), *np.full(3, rng.uniform(0.2, 0.9))])
        self.lights = np.array(lights, np.float32)
        ambient = np.zeros((9, 3))
        ambient[0] = rng.uniform(0.18, 0.5) * (1 + rng.normal(0, 0.05, 3))
        ambient[1], ambient[2], ambient[3] = rng.uniform(0.03, 0.22), rng.uniform(-0.05, 0.15), rng.normal(0, 0.06)
        ambient[4:] = rng.normal(0, 0.02, (5, 1))
        self.ambient = ambient.astype(np.float32)

    def render(
        self,
        person: Person,
        weights: Float32[np.ndarray, " s"],
        pose: np.ndarray,
        shift: np.ndarray,
        size: tuple[int, int],
    ) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "68 2"]]:
        """The clean picture, sRGB 0..1, and the projected landmarks (pixels, centre of the first at .5).

        Args:
            pose: pitch, yaw, roll in degrees on top of the scene's own. shift: cm.
            size: width and height in pixels.
        """
        width, height = size
        side = max(width, height)
        vertices, vertex_normals = person.pose(weights, rotation(*(self.pose + pose)), shift)
        distance = self.distance - vertices[:, 2]
        scale = self.focal * side / distance
        points = np.stack(
            [
                width / 2 + scale * (vertices[:, 0] - self.centre[0]),
                height / 2 - scale * (vertices[:, 1] - self.centre[1]),
                1 / distance,
            ],
            axis=1,
        ).astype(np.float32)
        depth, ids = np.zeros((height, width), np.float32), np.full((height, width), -1, np.int32)
        visible(
            points, person.triangles, person.cull, person.see_through, person.uv, person.uv_index,
            person.atlas, person.place, person.wide, person.high, person.material, depth, ids,
        )  # fmt: skip
        to_shadow = light_view(self.lights[0, :3].astype(float), _SHADOW_SIDE, 26.0, np.array([0, -4.0, 0]))
        to_shadow = to_shadow.astype(np.float32)
        shadow = np.full((_SHADOW_SIDE, _SHADOW_SIDE), -1e9, np.float32)
        from_light = (vertices @ to_shadow[:, :3].T + to_shadow[:, 3]).astype(np.float32)
        shadow_depth(from_light, person.triangles, person.casts_no_shadow, shadow)
        marks = head_model().landmarks
        lip_z = float(vertices[marks[[62, 66]], 2].mean())
        open_cm = float(np.linalg.norm(vertices[marks[62]] - vertices[marks[66]]))
        mouth_dark = 0.30 + 0.9 * np.exp(-2 * open_cm)
        image, cover = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
        shade(
            depth, ids, points, vertices, vertex_normals, person.occlusion, person.triangles, person.uv,
            person.uv_index, person.material, person.atlas, person.place, person.wide, person.high,
            person.surface, self.lights, self.ambient, np.array([0, 0, self.distance], np.float32), shadow,
            to_shadow, np.float32(lip_z), np.float32(mouth_dark), image, cover,
        )  # fmt: skip
        behind = cv2.resize(self.background, (side, side), interpolation=cv2.INTER_AREA)
        top, left = (side - height) // 2, (side - width) // 2
        behind = behind[top : top + height, left : left + width]
        image = image * self.exposure + behind * (1 - cover[..., None])
        image = image / (1 + np.maximum(image - 0.7, 0) * 0.7)  # a soft shoulder instead of burnt highlights
        image = np.clip(image, 0, 1)
        image = np.where(image < 0.0031308, 12.92 * image, 1.055 * image ** (1 / 2.4) - 0.055)
        return image.astype(np.float32), points[marks, :2]

    def sense(
        self, image: Float32[np.ndarray, "h w 3"], rng: np.random.Generator
    ) -> UInt8[np.ndarray, "h w 3"]:
        """What this scene's camera makes of a clean picture: focus, gamma, white balance, noise."""
        if self.blur > 0.2:
            image = cv2.GaussianBlur(image, (0, 0), self.blur * image.shape[1] / 512)
        image = image**self.gamma * self.white + rng.normal(0, self.sensor_noise, image.shape)
        return np.asarray(np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8))


def _background(rng: np.random.Generator, side: int = 640) -> Float32[np.ndarray, "s s 3"]:
    """A dull gradient, with boxes, out-of-focus lights or clouds; linear light."""
    y, x = np.mgrid[0:side, 0:side] / side
    lively = rng.uniform(0.1, 0.6)

    def colour(low: float, high: float, *shape: int) -> np.ndarray:
        drawn = rng.uniform(low, high, (*shape, 3))
        return linear(drawn * lively + (1 - lively) * drawn.mean(axis=-1, keepdims=True))

    ends = colour(0.1, 0.95, 2)
    image = (ends[0] * (1 - y[..., None]) + ends[1] * y[..., None]) * 0.8
    kind = rng.integers(4)
    if kind == 1:
        for _ in range(rng.integers(4, 14)):
            (cx, cy), (w, h) = rng.uniform(0, 1, 2), rng.uniform(0.05, 0.4, 2)
            inside = (np.abs(x - cx) < w / 2) & (np.abs(y - cy) < h / 2)
            image = np.where(inside[..., None], colour(0.02, 1), image)
    if kind == 2:
        for _ in range(30):
            (cx, cy), radius = rng.uniform(0, 1, 2), rng.uniform(0.01, 0.08)
            disc = smoothstep(radius, radius * 0.8, np.hypot(x - cx, y - cy))[..., None] * rng.uniform(0.2, 0.9)
            image = image * (1 - disc) + disc * colour(0.2, 1)
    if kind == 3:
        layers = [
            cv2.resize(rng.normal(size=(2**o, 2**o, 3)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
            * 0.5 ** (o - 2)
            for o in range(2, 7)
        ]
        image = image * np.clip(1 + 0.3 * sum(layers), 0.1, 2)
    return np.clip(cv2.GaussianBlur(image.astype(np.float32), (0, 0), rng.uniform(1, 14)), 0, 1)

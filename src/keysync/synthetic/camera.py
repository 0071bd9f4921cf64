"""Where the camera stands, what is behind the person, and what the sensor does to the light."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from keysync.errors import ConfigError
from keysync.synthetic.head import smooth_step
from keysync.synthetic.skin import linear

FRAMINGS = ("face", "head")
_HEAD_CM = 27.0  # chin to crown, hair included
_BACKDROP_SIDE = 640

Picture = Float32[np.ndarray, "h w 3"]


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera that looks along -z; ``focal`` in frame heights, the rest in cm."""

    width: int  # pixels
    height: int
    focal: float
    x: float
    y: float
    distance: float  # its z

    def project(self, points: Float32[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
        """Pixels x and y, the centre of the top-left pixel at (0.5, 0.5), and 1 / distance."""
        nearness = 1 / (self.distance - points[:, 2])
        scale = np.float32(self.focal * self.height) * nearness
        column = np.float32(self.width / 2) + scale * (points[:, 0] - np.float32(self.x))
        row = np.float32(self.height / 2) - scale * (points[:, 1] - np.float32(self.y))
        return np.stack([column, row, nearness], axis=1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class View:
    """How a scene is framed, before the size of the frame and the person are known."""

    focal: float  # frame heights
    head_share: float  # of the frame's height, for framing "head"
    face_margin: float  # frame side over the larger extent of the landmarks, for framing "face"
    aside: Float64[np.ndarray, " 2"]  # standard normal: how far off the middle


@dataclass(frozen=True, slots=True)
class Sensor:
    """How a camera spoils a picture. All off: what ``draw_sensor`` leaves to a lucky clip."""

    noise: float  # standard deviation, of 1
    blur_px: float
    gamma: float
    white_balance: Float64[np.ndarray, " 3"]
    jpeg_quality: int  # 0: not compressed
    sub_frames: int  # more than 1: pictures averaged over half the time of a frame


def draw_view(rng: np.random.Generator) -> View:
    """Draw a framing."""
    return View(
        focal=float(rng.uniform(2.0, 3.6)),
        head_share=float(rng.uniform(0.48, 0.75)),
        face_margin=float(np.clip(rng.normal(1.6, 0.08), 1.45, 1.8)),
        aside=np.clip(rng.normal(size=2), -2, 2),
    )


def frame(view: View, landmarks: Float32[np.ndarray, "68 3"], size: tuple[int, int], framing: str) -> Camera:
    """Place the camera for a face at rest.

    Args:
        landmarks: of the person at rest, cm.
        size: width and height, pixels.
        framing: ``"face"``: the landmarks fill 1 / ``face_margin`` of the shorter side, for training;
            ``"head"``: as people are filmed.
    Raises:
        ConfigError: unknown framing.
    """
    width, height = size
    if framing == "head":
        # The origin is between the ears, so the person stays put while the camera is a little off.
        x, y = view.aside * (1.5, 1.2) - (0.0, 1.5)
        return Camera(width, height, view.focal, x, y, view.focal * _HEAD_CM / view.head_share)
    if framing != "face":
        raise ConfigError(f"framing is {framing!r}; take one of {', '.join(FRAMINGS)}")
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    x, y = (low[:2] + high[:2]) / 2
    camera = Camera(width, height, view.focal, float(x), float(y), view.focal * 30.0 + float(high[2]))
    for _ in range(4):  # nearer points look larger, so the distance is found in a few steps
        pixels = camera.project(landmarks)[:, :2]
        extent, middle = np.ptp(pixels, axis=0).max(), (pixels.min(axis=0) + pixels.max(axis=0)) / 2
        # Centimetres per pixel at the depth of the face.
        scale = (camera.distance - float(landmarks[:, 2].mean())) / (view.focal * height)
        x = camera.x + (middle[0] - width / 2) * scale
        y = camera.y - (middle[1] - height / 2) * scale
        depth = (camera.distance - high[2]) * extent * view.face_margin / min(width, height)
        camera = Camera(width, height, view.focal, float(x), float(y), float(depth + high[2]))
    off_cm = view.aside * 0.02 * min(width, height) * scale
    return Camera(width, height, view.focal, camera.x + off_cm[0], camera.y + off_cm[1], camera.distance)


def draw_backdrop(rng: np.random.Generator) -> Float32[np.ndarray, "640 640 3"]:
    """A dull, blurred background in linear light; vivid ones look pasted, for they tint nothing."""
    saturation = rng.uniform(0.1, 0.6)

    def paint(low: float, high: float) -> Float64[np.ndarray, " 3"]:
        drawn = rng.uniform(low, high, 3)
        return linear(saturation * drawn + (1 - saturation) * drawn.mean())

    row, column = np.mgrid[0:_BACKDROP_SIDE, 0:_BACKDROP_SIDE] / _BACKDROP_SIDE
    top, bottom = paint(0.1, 0.95), paint(0.1, 0.95)
    picture = 0.8 * (top * (1 - row[..., None]) + bottom * row[..., None])
    kind = ("gradient", "rectangles", "bokeh", "clouds")[rng.integers(4)]
    if kind == "rectangles":
        for _ in range(rng.integers(4, 14)):
            (x, y), (wide, high) = rng.random(2), rng.uniform(0.05, 0.4, 2)
            picture[(np.abs(column - x) < wide / 2) & (np.abs(row - y) < high / 2)] = paint(0.02, 1.0)
    elif kind == "bokeh":
        for _ in range(30):
            (x, y), radius = rng.random(2), rng.uniform(0.01, 0.08)
            share = smooth_step(radius, 0.8 * radius, np.hypot(column - x, row - y))[..., None]
            share = share * rng.uniform(0.2, 0.9)
            picture = picture * (1 - share) + share * paint(0.2, 1.0)
    elif kind == "clouds":
        side = (_BACKDROP_SIDE, _BACKDROP_SIDE)
        for octave in range(2, 7):
            coarse = rng.standard_normal((2**octave, 2**octave, 1), dtype=np.float32)
            clouds = cv2.resize(coarse, side, interpolation=cv2.INTER_CUBIC)[..., None]
            picture = picture * np.clip(1 + 0.3 * clouds * 0.5 ** (octave - 2), 0.1, 2)
    blurred = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), rng.uniform(1, 14))
    return np.asarray(np.clip(blurred, 0, 1))


def cut_backdrop(backdrop: Float32[np.ndarray, "s s 3"], size: tuple[int, int]) -> Picture:
    """The middle of a backdrop in the shape of the frame."""
    width, height = size
    side = len(backdrop)
    across, down = round(side * min(width / height, 1)), round(side * min(height / width, 1))
    left, top = (side - across) // 2, (side - down) // 2
    part = backdrop[top : top + down, left : left + across]
    method = cv2.INTER_AREA if across >= width else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (width, height), interpolation=method))


def draw_sensor(rng: np.random.Generator) -> Sensor:
    """Draw a camera's flaws; each is absent in part of the clips."""

    def sometimes(chance: float, value: float, otherwise: float) -> float:
        return value if rng.random() < chance else otherwise

    return Sensor(
        noise=float(np.exp(rng.uniform(np.log(0.002), np.log(0.02)))),
        blur_px=sometimes(0.5, float(rng.uniform(0.3, 1.2)), 0.0),
        gamma=sometimes(0.5, float(rng.uniform(0.85, 1.2)), 1.0),
        white_balance=np.clip(rng.normal(1.0, 0.03, 3), 0.92, 1.08),
        jpeg_quality=round(sometimes(0.35, float(rng.uniform(30, 95)), 0.0)),
        # Each costs a whole drawing more, so only one clip in ten is blurred by motion.
        sub_frames=round(sometimes(0.1, float(rng.integers(2, 4)), 1.0)),
    )


def develop(light: Picture) -> Picture:
    """Linear light to sRGB, 0 to 1; brightness above 0.7 rolls off softly."""
    bright = light / (1 + 0.7 * np.maximum(light - 0.7, 0))
    bright = np.clip(bright, 0, 1)
    return np.where(bright < 0.0031308, 12.92 * bright, 1.055 * bright ** (1 / 2.4) - 0.055).astype(
        np.float32
    )


def expose(picture: Picture, sensor: Sensor, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """What the sensor makes of an sRGB picture, as 8 bits."""
    if sensor.gamma != 1.0:
        picture = picture ** np.float32(sensor.gamma)
    if sensor.blur_px > 0:
        picture = cv2.GaussianBlur(picture, (0, 0), sensor.blur_px)
    picture = picture * sensor.white_balance.astype(np.float32)
    picture = picture + np.float32(sensor.noise) * rng.standard_normal(picture.shape, dtype=np.float32)
    levels: UInt8[np.ndarray, "h w 3"] = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    if sensor.jpeg_quality > 0:
        done, packed = cv2.imencode(
            ".jpg", levels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, sensor.jpeg_quality]
        )
        assert done
        levels = np.ascontiguousarray(np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))[..., ::-1])
    return levels

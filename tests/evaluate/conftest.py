"""Cartoon people: a grey block for a mouth, whose brightness says how open it is; a tracker that reads it.

The whole evaluation then runs on films whose curves are known, without a face network.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from keysync.clip import Face, Frame
from keysync.evaluate.rows import write_silence
from keysync.face.track import Timed

_BLOCK = np.s_[52:61, 44:53]
_DARK, _PER_OPENING = 40.0, 500.0
FRAMES = 50
Film = Callable[..., Path]


def _wander(seed: int, count: int = FRAMES) -> np.ndarray:
    """A mouth that opens and closes between 0 and 0.3, smoothly, unlike any other seed."""
    noise = np.random.default_rng(seed).normal(size=count + 6)
    curve = np.convolve(noise, np.hanning(7), mode="valid")
    return 0.3 * (curve - curve.min()) / np.ptp(curve)


@pytest.fixture
def wander() -> Callable[..., np.ndarray]:
    """wander(seed, count): the opening of a talking mouth, 50 frames."""
    return _wander


class BlockReader:
    """Takes the block's brightness for the gap of the lips; sees no face in a black picture."""

    def follow(self, frames: Iterator[Frame]) -> Iterator[Timed]:
        for frame in frames:
            rgb = frame.rgb().astype(np.float64)
            if rgb.mean() < 30:
                yield frame.time, None
                continue
            opening = float(np.clip((rgb[_BLOCK][2:-2, 2:-2].mean() - _DARK) / _PER_OPENING, 0, None))
            yield frame.time, Face(*_face(opening), 1.0)

    def steady_68(self, rgb: np.ndarray, face: Face) -> np.ndarray:  # noqa: ARG002
        return face.landmarks


def _face(opening: float) -> tuple[np.ndarray, np.ndarray]:
    points = np.zeros((68, 2), np.float32)
    turn = np.linspace(np.pi, 0, 17)
    points[:17] = np.stack([48 + 26 * np.cos(turn), 34 + 34 * np.sin(turn)], axis=1)
    points[17:27] = (48, 22)
    points[27:31] = np.stack([np.full(4, 48), np.linspace(30, 44, 4)], axis=1)
    points[31:36] = np.stack([np.linspace(42, 54, 5), np.full(5, 47)], axis=1)
    points[36:42], points[42:48] = (38, 30), (58, 30)
    points[36], points[39], points[42], points[45] = (34, 30), (42, 30), (54, 30), (62, 30)
    points[48:68] = (48, 56)
    points[[48, 60]], points[[54, 64]] = (40 - 5 * opening, 56), (56 + 5 * opening, 56)
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        points[upper, 1], points[lower, 1] = 56 - 10 * opening, 56 + 10 * opening
    turn = np.linspace(0, 2 * np.pi, 468)
    mesh = np.stack([48 + 26 * np.cos(turn), 40 + 30 * np.sin(turn)], axis=1).astype(np.float32)
    return mesh, points


@pytest.fixture(autouse=True)
def block_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keysync.evaluate.measure.face_tracker", BlockReader)
    # A cartoon has no detail that larger crops would show; they only take time.
    monkeypatch.setattr("keysync.evaluate.rows.CROP_SIZE", 128)
    monkeypatch.setattr("keysync.evaluate.measure.PICTURE_SIZE", 96)
    # The reader knows its lips exactly; smoothing would need a mesh that moves with them.
    monkeypatch.setattr("keysync.evaluate.measure.smooth", lambda faces: faces)


@pytest.fixture
def film(tmp_path: Path) -> Film:
    """film(curve, name, dark): a film whose block follows the curve; ``dark`` frames show nobody.

    Of 128x80: x264's macroblock tree is not repeatable for a film of 96 pixels, even on one thread.
    """

    def make(curve: np.ndarray, name: str = "clip.mp4", dark: range = range(0)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        skin = 130 + 25 * np.sin(np.add.outer(np.arange(80) / 3, np.arange(128) / 5))
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
            stream.width, stream.height, stream.pix_fmt = 128, 80, "yuv420p"
            stream.codec_context.thread_count = 1
            for index, opening in enumerate(curve):
                picture = skin.copy()
                picture[_BLOCK] = _DARK + _PER_OPENING * opening
                if index in dark:
                    picture[:] = 0
                grey = np.repeat(picture[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make


@pytest.fixture
def takes(film: Film, tmp_path: Path) -> tuple[Path, Path]:
    """Two takes of one person, as the generator writes them: folders of old and new words."""
    for name, seed in (("old", 1), ("new", 2)):
        curve = _wander(seed)
        film(curve, f"{name}/clip.mp4")
        write_silence(tmp_path / name / "clip.wav", FRAMES / 25)
        closed = np.sort(np.argsort(curve)[:3]) / 25
        np.savez(
            tmp_path / name / "labels.npz",
            phone_names=np.array(["M"] * len(closed)),
            phone_starts_s=closed,
            phone_ends_s=closed + 0.02,
        )
    return tmp_path / "old", tmp_path / "new"

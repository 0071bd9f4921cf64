"""Tiny media files, made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from jaxtyping import Float32, Shaped

Video = Callable[..., list[list[Shaped[np.ndarray, "h w"]]]]
Sound = Callable[..., Path]


def planes(picture: av.VideoFrame) -> list[Shaped[np.ndarray, "h w"]]:
    """The samples of each plane, without the bytes that pad a row."""
    deep = picture.format.components[0].bits > 8
    views = []
    for plane in picture.planes:
        rows = np.asarray(memoryview(plane)).view(np.uint16 if deep else np.uint8).reshape(plane.height, -1)
        views.append(rows[:, : plane.width])
    return views


def picture(pixel_format: str, size: tuple[int, int], seed: int) -> av.VideoFrame:
    """Noise in native planes, (width, height)."""
    made = av.VideoFrame(*size, pixel_format)
    made.time_base = Fraction(1, 12800)
    top = 2 ** made.format.components[0].bits
    random = np.random.default_rng(seed)
    for plane in planes(made):
        plane[:] = random.integers(0, top, plane.shape)
    return made


@pytest.fixture
def make_video() -> Video:
    """Write noise frames and, if asked, a sound track; returns the planes written."""

    def make(
        path: Path,
        *,
        times: Sequence[Fraction] = tuple(Fraction(i, 25) for i in range(6)),
        size: tuple[int, int] = (64, 48),
        pixel_format: str = "yuv420p",
        codec: str = "ffv1",
        tick: Fraction = Fraction(1, 12800),
        rotation: int | None = None,
        mirrored: bool = False,
        tags: dict[str, int] | None = None,
        sound: Float32[np.ndarray, "c n"] | None = None,
        sound_start: int = 0,
    ) -> list[list[Shaped[np.ndarray, "h w"]]]:
        written = []
        with av.open(str(path), "w") as out:
            stream = out.add_stream(codec, rate=25, options={"qp": "0"} if codec == "libx264" else {})
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = *size, pixel_format
            stream.time_base = stream.codec_context.time_base = tick
            for tag, value in (tags or {}).items():
                setattr(stream.codec_context, tag, value)
            if rotation is not None:
                stream.set_display_rotation(rotation, hflip=mirrored)
            if sound is not None:
                track = out.add_stream("flac", rate=16000, layout="mono" if len(sound) == 1 else "stereo")
            for index, time in enumerate(times):
                frame = picture(pixel_format, size, index)
                written.append([plane.copy() for plane in planes(frame)])
                frame.pts, frame.time_base = int(time / tick), tick
                out.mux(stream.encode(frame))
            if sound is not None:
                block = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(sound), "fltp", "mono" if len(sound) == 1 else "stereo"
                )
                block.sample_rate, block.pts, block.time_base = 16000, sound_start, Fraction(1, 16000)
                out.mux(track.encode(block))
                out.mux(track.encode(None))
            out.mux(stream.encode(None))
        return written

    return make


@pytest.fixture
def make_sound() -> Sound:
    """Write samples as a WAV of floats."""

    def make(path: Path, samples: Float32[np.ndarray, "c n"], rate_hz: int = 16000, layout: str = "") -> Path:
        layout = layout or ("mono" if len(samples) == 1 else "stereo")
        with av.open(str(path), "w") as out:
            stream = out.add_stream("pcm_f32le", rate=rate_hz, layout=layout)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout)
            frame.sample_rate = rate_hz
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        return path

    return make

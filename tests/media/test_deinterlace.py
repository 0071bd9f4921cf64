import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.codec.context import Flags

from keysync.media.read import probe, read_frames


def combed(path: Path, times: list[int], pixel_format: str = "yuv420p") -> None:
    """An interlaced film in which a bright bar moves 8 pixels between the two fields of a frame."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.flags |= Flags.interlaced_dct
        for index, time in enumerate(times):
            frame = av.VideoFrame(64, 48, pixel_format)
            planes = [np.asarray(memoryview(p)).reshape(p.height, -1)[:, : p.width] for p in frame.planes]
            planes[0][:], planes[1][:], planes[2][:] = 40, 128, 128
            for field in range(2):
                planes[0][field::2, 4 + 8 * (2 * index + field) % 40 :][:, :16] = 200
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def roughness(picture: av.VideoFrame) -> float:
    """How far neighbouring lines differ."""
    luma = picture.to_ndarray()[:48].astype(float)
    return float(np.abs(np.diff(luma, axis=0)).mean())


def test_interlaced_film_comes_whole_at_its_own_times(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    times = [0, 40, 80, 133, 160, 200]
    combed(tmp_path / "tv.mkv", times)
    assert probe(tmp_path / "tv.mkv").interlaced
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        frames = list(read_frames(tmp_path / "tv.mkv"))
    assert [frame.time for frame in frames] == [Fraction(time, 1000) for time in times]
    assert sum("interlaced" in record.message for record in caplog.records) == 1
    assert not any(frame.picture.interlaced_frame for frame in frames)
    with av.open(str(tmp_path / "tv.mkv")) as film:
        stored = list(film.decode(video=0))
    for frame, was in zip(frames, stored, strict=True):
        assert was.interlaced_frame
        assert frame.picture.duration == was.duration
        assert roughness(frame.picture) < roughness(was) / 2


def test_progressive_film_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with av.open(str(tmp_path / "film.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height = 64, 48
        for _ in range(3):
            out.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        out.mux(stream.encode(None))
    assert not probe(tmp_path / "film.mkv").interlaced
    assert len(list(read_frames(tmp_path / "film.mkv"))) == 3
    assert not caplog.records

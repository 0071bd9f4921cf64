import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from keysync.media.read import probe, read_frames
from keysync.media.write import VideoWriter

from .conftest import Sound, picture


def rich(path: Path, second: str = "aac", start: Fraction = Fraction(0)) -> list[tuple[Fraction, bytes]]:
    """A film with two sound tracks, two chapters and a title; returns the second track's packets."""
    kept: list[tuple[Fraction, bytes]] = []
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height = 64, 48
        video.codec_context.time_base = Fraction(1, 12800)
        sounds = [out.add_stream(codec, rate=48000, layout="mono") for codec in ("aac", second)]
        sounds[1].metadata.update(language="ita", title="Commento", handler_name="Commento")
        out.metadata.update(title="My film", artist="Somebody", encoder="Junk")
        out.set_chapters(
            [
                {
                    "id": i + 1,
                    "start": i * 500,
                    "end": i * 500 + 500,
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": f"Part {i}"},
                }
                for i in range(2)
            ]
        )
        for index in range(25):
            frame = picture("yuv420p", (64, 48), index)
            frame.pts = round((Fraction(index, 25) + start) * 12800)
            out.mux(video.encode(frame))
            for number, sound in enumerate(sounds):
                block = np.full((1, 1920), 0.1 + number / 10, np.float32)
                made = av.AudioFrame.from_ndarray(block, "fltp", "mono")
                made.sample_rate, made.pts, made.time_base = 48000, 1920 * index, Fraction(1, 48000)
                out.mux(sound.encode(made))
        for stream in (video, *sounds):
            out.mux(stream.encode(None))
    with av.open(str(path)) as film:
        for packet in film.demux(film.streams.audio[1]):
            if packet.size:
                kept.append((packet.pts * packet.time_base, bytes(packet)))
    return kept


def copy(source: Path, target: Path, audio: Path | None, **more: object) -> None:
    with VideoWriter(
        target, probe(source), codec="h264", audio=[audio] if audio else [], source=source, **more
    ) as writer:
        for frame in read_frames(source):
            writer.write(frame.picture, frame.time)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.mov"])
@pytest.mark.parametrize("source", ["in.mp4", "in.mkv"])
def test_what_the_film_has_beside_picture_and_sound_survives(
    tmp_path: Path, make_sound: Sound, source: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    was = rich(tmp_path / source)
    speech = make_sound(tmp_path / "new.wav", np.full((1, 16000), 0.5, np.float32))
    copy(tmp_path / source, tmp_path / name, speech)
    assert not caplog.records
    with av.open(str(tmp_path / name)) as film:
        assert film.metadata.get("title", film.metadata.get("TITLE")) == "My film"
        assert "Junk" not in film.metadata.values()
        chapters = film.chapters()
        assert [chapter["metadata"]["title"] for chapter in chapters] == ["Part 0", "Part 1"]
        assert [chapter["start"] * chapter["time_base"] for chapter in chapters] == [0, Fraction(1, 2)]
        new, kept = film.streams.audio
        assert kept.metadata["language"] == "ita"
        assert "Commento" in (kept.metadata.get("title"), kept.metadata.get("handler_name"))
        assert new.disposition & 1
        assert not kept.disposition & 1
        packets = [(p.pts * p.time_base, bytes(p)) for p in film.demux(kept) if p.size]
    if name == "out.mkv" and source == "in.mp4":
        was = [(time, data) for time, data in was if time >= 0]  # the run-in; Matroska has no place for it
    assert [frame.time for frame in read_frames(tmp_path / name)] == [Fraction(i, 25) for i in range(25)]
    assert [data for _, data in packets] == [data for _, data in was][: len(packets)]
    assert len(was) - len(packets) <= 1  # what begins after the last frame is not of the film
    tick = Fraction(1, 1000)  # Matroska rounds
    assert all(abs(now - then) <= tick for (now, _), (then, _) in zip(packets, was, strict=False))


def test_subtitles_survive_where_the_container_can_hold_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rich(tmp_path / "bare.mkv")
    (tmp_path / "in.srt").write_text("1\n00:00:00,200 --> 00:00:00,600\nHello\n\n")
    with (
        av.open(str(tmp_path / "bare.mkv")) as film,
        av.open(str(tmp_path / "in.srt")) as text,
        av.open(str(tmp_path / "in.mkv"), "w") as out,
    ):
        video = out.add_stream_from_template(film.streams.video[0])
        subtitles = out.add_stream_from_template(text.streams.subtitles[0])
        for source, stream in ((film.streams.video[0], video), (text.streams.subtitles[0], subtitles)):
            for packet in source.container.demux(source):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
    copy(tmp_path / "in.mkv", tmp_path / "out.mkv", None)
    assert not caplog.records
    with av.open(str(tmp_path / "out.mkv")) as film:
        (packet,) = [p for p in film.demux(film.streams.subtitles[0]) if p.size]
        assert bytes(packet) == b"Hello"
        assert (packet.pts * packet.time_base, packet.duration * packet.time_base) == (
            Fraction(1, 5),
            Fraction(2, 5),
        )
    with caplog.at_level(logging.WARNING):
        copy(tmp_path / "in.mkv", tmp_path / "out.mp4", None)
    assert [record.message.endswith("subtitle 1 (srt); left out") for record in caplog.records] == [True]
    assert [stream.type for stream in av.open(str(tmp_path / "out.mp4")).streams][:1] == ["video"]


def test_a_track_damaged_half_way_does_not_end_the_film(tmp_path: Path) -> None:
    rich(tmp_path / "in.mkv")
    data = bytearray((tmp_path / "in.mkv").read_bytes())
    rng = np.random.default_rng(0)
    for place in rng.integers(len(data) // 2, len(data), 60):
        data[place] = rng.integers(256)
    (tmp_path / "in.mkv").write_bytes(data)
    copy(tmp_path / "in.mkv", tmp_path / "out.mkv", None)
    assert probe(tmp_path / "out.mkv").has_video

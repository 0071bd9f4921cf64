import logging
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from keysync.errors import MediaError
from keysync.media import read
from keysync.media.read import convert, probe, read_frames, read_sound, read_speech

from .conftest import Sound, Video, picture, planes


def tone(seconds: float, rate_hz: int = 16000, hz: float = 200) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def test_frames_come_back_bit_for_bit_with_their_tags(tmp_path: Path, make_video: Video) -> None:
    tags = {"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1}
    path = tmp_path / "deep.mkv"
    written = make_video(path, pixel_format="yuv420p10le", tags=tags)
    frames = list(read_frames(path))
    assert [frame.time for frame in frames] == [Fraction(i, 25) for i in range(6)]
    for frame, was in zip(frames, written, strict=True):
        assert frame.picture.format.name == "yuv420p10le"
        assert all(np.array_equal(a, b) for a, b in zip(planes(frame.picture), was, strict=True))
    info = probe(path)
    assert (info.width, info.height, info.pixel_format) == (64, 48, "yuv420p10le")
    assert (info.color_primaries, info.color_trc, info.color_space, info.color_range) == (9, 16, 9, 1)
    assert info.average_rate == 25
    assert not info.has_audio


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_turned_film_comes_upright_on_its_own_planes(
    tmp_path: Path, make_video: Video, rotation: int, mirrored: bool
) -> None:
    path = tmp_path / "phone.mp4"
    tags = {"color_primaries": 1, "color_trc": 1, "colorspace": 1, "color_range": 2}
    # x264 with qp 0 is lossless, and MP4 keeps the display matrix.
    written = make_video(
        path, codec="libx264", rotation=rotation, mirrored=mirrored, tags=tags, size=(64, 48)
    )
    frames = list(read_frames(path))
    for frame, was in zip(frames, written, strict=True):
        for upright, stored in zip(planes(frame.picture), was, strict=True):
            turned = np.rot90(stored, rotation // 90)
            assert np.array_equal(upright, turned[:, ::-1] if mirrored else turned)
        assert frame.picture.color_primaries == 1
        assert frame.picture.color_range == 2
        assert frame.picture.duration > 0
    info = probe(path)
    assert (info.width, info.height) == ((48, 64) if rotation % 180 else (64, 48))
    assert (frames[0].picture.width, frames[0].picture.height) == (info.width, info.height)


@pytest.mark.parametrize("pixel_format", ["yuv444p", "gray", "yuv444p10le", "yuv420p10le", "gray10le"])
def test_odd_sizes_and_deep_planes_turn_without_loss(pixel_format: str) -> None:
    stored = picture(pixel_format, (65, 47), 0)
    turned = np.rot90(planes(stored)[0], 1)
    out = read._turned(stored, 1, False)
    assert (out.width, out.height, out.format.name) == (47, 65, pixel_format)
    assert np.array_equal(planes(out)[0], turned)


@pytest.mark.parametrize(
    ("stored", "becomes"),
    [("nv12", "yuv420p"), ("yuv422p", "yuv444p"), ("p010le", "yuv444p10le"), ("rgb24", "gbrp")],
)
def test_formats_that_cannot_turn_as_they_are_go_to_the_nearest_one_that_can(
    stored: str, becomes: str
) -> None:
    made = av.VideoFrame(64, 48, stored)
    made.time_base = Fraction(1, 25)
    for plane in made.planes:
        np.asarray(memoryview(plane))[:] = 128
    out = read._turned(made, 3, False)
    assert (out.width, out.height, out.format.name) == (48, 64, becomes)


def test_uneven_frame_times_stay_exact(tmp_path: Path, make_video: Video) -> None:
    times = [Fraction(n, 90000) for n in (0, 1501, 7000, 7001, 20000, 90000)]
    make_video(tmp_path / "vfr.mp4", codec="libx264", times=times, tick=Fraction(1, 90000))
    assert [frame.time for frame in read_frames(tmp_path / "vfr.mp4")] == times


class _Timed:
    """A decoded stream whose times we choose, in place of a broken file."""

    def __init__(self, ticks: list[int | None]) -> None:
        self.ticks = ticks

    def __call__(self, *_: object) -> list[av.VideoFrame]:
        frames = []
        for index, tick in enumerate(self.ticks):
            frames.append(picture("yuv420p", (64, 48), index))
            frames[-1].pts = tick
        return frames


@pytest.mark.parametrize(
    ("ticks", "expected"),
    [
        ([0, 512, 512, 1024], [0, 512, 1024]),  # a duplicate goes
        ([0, 1024, 512, 1536], [0, 1024, 1536]),  # a stray earlier frame goes
        ([0, None, 1024, None], [0, 512, 1024, 1536]),  # no time: one average step on
        ([25600, 26112, 0, 512], [25600, 26112, 26624, 27136]),  # the clock starts again
    ],
)
def test_times_always_rise(
    tmp_path: Path,
    make_video: Video,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    ticks: list[int | None],
    expected: list[int],
) -> None:
    make_video(tmp_path / "film.mp4", codec="libx264")
    monkeypatch.setattr(read, "_decoded", _Timed(ticks))
    frames = list(read_frames(tmp_path / "film.mp4"))
    assert [frame.time for frame in frames] == [Fraction(tick, 12800) for tick in expected]
    mended = [record for record in caplog.records if "run back" in record.message]
    assert len(mended) == (None not in ticks)


def test_closing_the_frames_closes_the_file(tmp_path: Path, make_video: Video) -> None:
    make_video(tmp_path / "film.mkv")
    frames = read_frames(tmp_path / "film.mkv")
    next(frames)

    def is_open() -> bool:
        links = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
        return str((tmp_path / "film.mkv").resolve()) in links

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs a list of open files")
    assert is_open()
    frames.close()
    assert not is_open()


def test_a_damaged_part_is_left_out_with_one_warning(
    tmp_path: Path, make_video: Video, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "film.mkv"
    make_video(path, times=[Fraction(i, 25) for i in range(12)])
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 2] = os.urandom(len(data) // 2 - len(data) // 3)
    path.write_bytes(data)
    frames = list(read_frames(path))
    assert 0 < len(frames) < 13
    assert sum("damaged" in record.message for record in caplog.records) <= 1


def test_a_cut_film_gives_what_is_left_and_says_so(
    tmp_path: Path, make_video: Video, caplog: pytest.LogCaptureFixture
) -> None:
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    make_video(whole, codec="libx264", times=[Fraction(i, 5) for i in range(20)])
    with av.open(str(whole)) as source, av.open(str(cut), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        frames = list(read_frames(cut))
    assert 0 < len(frames) < 20
    assert any("ends at" in record.message for record in caplog.records)


def test_a_film_cut_before_its_index_is_refused(tmp_path: Path, make_video: Video) -> None:
    path = tmp_path / "film.mp4"
    make_video(path, codec="libx264")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match=r"film\.mp4: is damaged"):
        next(read_frames(path))
    with pytest.raises(MediaError, match=r"film\.mp4: is damaged"):
        probe(path)


@pytest.mark.parametrize("name", ["notes.mp4", "notes.txt", "notes.mkv", "notes"])
def test_text_is_no_video(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("This is not a video.\n" * 200)
    with pytest.raises(MediaError, match="notes"):
        next(read_frames(tmp_path / name))


def test_a_playlist_is_refused(tmp_path: Path, make_video: Video) -> None:
    make_video(tmp_path / "film.ts", codec="libx264")
    (tmp_path / "list.m3u8").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfilm.ts\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(MediaError, match=r"list\.m3u8"):
        next(read_frames(tmp_path / "list.m3u8"))


@pytest.mark.parametrize("name", ["", "none.mp4", "empty.mp4", "pipe.mp4"])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    for reader in (probe, read_speech, lambda path: next(read_frames(path))):
        with pytest.raises(MediaError):
            reader(tmp_path / name)


def test_strange_names_are_names(tmp_path: Path, make_video: Video) -> None:
    for name in ("http:film.mkv", "-film %03d.mkv", "film ü 影.mkv"):
        make_video(tmp_path / "plain.mkv")
        (tmp_path / "plain.mkv").rename(tmp_path / name)
        assert len(list(read_frames(tmp_path / name))) == 6


def test_a_picture_too_large_is_refused_by_its_header(
    tmp_path: Path, make_video: Video, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_video(tmp_path / "film.mp4", codec="libx264")
    for limit, value in (("MAX_SIDE", 63), ("MAX_PIXELS", 64 * 48 - 1)):
        with monkeypatch.context() as patch:
            patch.setattr(read, limit, value)
            patch.setattr(read, "_decoded", lambda *_: pytest.fail("decoded a frame"))
            with pytest.raises(MediaError, match="64x48"):
                next(read_frames(tmp_path / "film.mp4"))


def test_a_sound_file_has_no_frames_and_a_silent_film_no_speech(
    tmp_path: Path, make_video: Video, make_sound: Sound
) -> None:
    make_video(tmp_path / "silent.mkv")
    make_sound(tmp_path / "sound.wav", tone(0.1)[None])
    info = probe(tmp_path / "sound.wav")
    assert (info.has_video, info.has_audio, info.audio_rate_hz, info.audio_channels) == (
        False,
        True,
        16000,
        1,
    )
    with pytest.raises(MediaError, match="no picture"):
        next(read_frames(tmp_path / "sound.wav"))
    with pytest.raises(MediaError, match="no sound"):
        read_speech(tmp_path / "silent.mkv")


def test_speech_at_16_khz_is_kept_sample_for_sample(tmp_path: Path, make_sound: Sound) -> None:
    samples = tone(0.5)
    speech = read_speech(make_sound(tmp_path / "speech.wav", samples[None]))
    assert len(speech) == 8000
    assert np.array_equal(speech.samples(0, 8000), samples)


@pytest.mark.parametrize("rate_hz", [8000, 44100, 48000])
def test_other_rates_keep_their_length_and_their_place(
    tmp_path: Path, make_sound: Sound, rate_hz: int
) -> None:
    speech = read_speech(make_sound(tmp_path / "speech.wav", tone(1, rate_hz)[None], rate_hz))
    assert abs(len(speech) - 16000) <= 1
    inner = slice(200, 15800)  # past the filter's run-in
    assert np.allclose(speech.samples(0, 16000)[inner], tone(1)[inner], atol=2e-3)


def test_channels_are_averaged_for_speech(tmp_path: Path, make_sound: Sound) -> None:
    sound = np.stack([tone(0.1), np.zeros(1600, np.float32)])
    speech = read_speech(make_sound(tmp_path / "speech.wav", sound))
    assert np.allclose(speech.samples(0, 1600), tone(0.1) / 2, atol=1e-6)


def test_five_channels_become_two_without_clipping(tmp_path: Path, make_sound: Sound) -> None:
    loud = np.ones((6, 1600), np.float32)
    path = make_sound(tmp_path / "film.wav", loud, layout="5.1")
    mixed = np.concatenate(list(read_sound(path, rate_hz=16000, channels=2)), axis=1)
    assert mixed.shape == (2, 1600)
    assert np.allclose(mixed, 1, atol=1e-6)


def test_samples_that_are_no_number_become_silence(
    tmp_path: Path, make_sound: Sound, caplog: pytest.LogCaptureFixture
) -> None:
    samples = tone(0.1)
    samples[[10, 700]] = np.nan, np.inf
    speech = read_speech(make_sound(tmp_path / "speech.wav", samples[None]))
    samples[[10, 700]] = 0
    assert np.array_equal(speech.samples(0, 1600), samples)
    assert len(caplog.records) == 1
    assert np.isfinite([speech.mean, speech.variance]).all()


def test_sound_that_starts_late_is_preceded_by_silence(tmp_path: Path, make_video: Video) -> None:
    make_video(tmp_path / "late.mkv", sound=np.full((1, 1600), 0.5, np.float32), sound_start=800)
    speech = read_speech(tmp_path / "late.mkv")
    assert len(speech) == 2400
    assert not speech.samples(0, 800).any()
    assert speech.samples(800, 2400).min() > 0.49


def test_priming_of_the_encoder_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "speech.m4a"
    click = np.zeros((1, 9600), np.float32)
    click[0, 4800] = 0.9
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(click, "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    speech = read_speech(path)
    assert abs(int(np.abs(speech.samples(0, 9600)).argmax()) - 4800) <= 1


def test_full_range_keeps_its_values_under_the_plain_name() -> None:
    full = picture("yuvj420p", (64, 48), 0)
    full.color_range = 2
    plain = convert(full, "yuv420p")
    assert plain.color_range == 2
    assert all(np.array_equal(a, b) for a, b in zip(planes(plain), planes(full), strict=True))


def test_streams_coded_in_an_unknown_way_are_said_to_be(tmp_path: Path, make_video: Video) -> None:
    path = tmp_path / "film.mkv"
    make_video(path, sound=np.full((1, 1600), 0.5, np.float32))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"A_FLAC", b"A_XXXX"))
    assert not probe(path).has_audio
    assert len(list(read_frames(path))) == 6
    with pytest.raises(MediaError, match="audio is coded in an unknown way"):
        read_speech(path)
    path.write_bytes(data.replace(b"V_FFV1", b"V_XXXX"))
    for reader in (probe, lambda path: next(read_frames(path))):
        with pytest.raises(MediaError, match="video is coded in an unknown way"):
            reader(path)


@pytest.mark.parametrize("name", ["film.mkv", "film.webm"])
def test_see_through_film_is_refused(tmp_path: Path, make_video: Video, name: str) -> None:
    if name == "film.mkv":
        make_video(tmp_path / name, pixel_format="yuva420p")
    else:  # its decoder shows a plain picture; a tag tells
        with av.open(str(tmp_path / name), "w") as out:
            stream = out.add_stream("libvpx-vp9", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuva420p"
            stream.metadata["alpha_mode"] = "1"
            out.mux(stream.encode(picture("yuva420p", (64, 48), 0)))
            out.mux(stream.encode(None))
    for reader in (probe, lambda path: next(read_frames(path))):
        with pytest.raises(MediaError, match="see-through"):
            reader(tmp_path / name)

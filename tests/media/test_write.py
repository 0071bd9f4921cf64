import gc
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from keysync.errors import ConfigError, MediaError
from keysync.media.hdr import HdrLight
from keysync.media.read import MediaInfo, probe, read_frames, read_speech, sound_format
from keysync.media.write import VideoWriter, require_space

from .conftest import Sound, Video, picture, planes


def copy(source: Path, target: Path, codec: str, audio: Path | None = None) -> None:
    with VideoWriter(target, probe(source), codec=codec, audio=[audio] if audio else []) as writer:
        for frame in read_frames(source):
            writer.write(frame.picture, frame.time)


def info_of(pixel_format: str, size: tuple[int, int] = (64, 48), **more: object) -> MediaInfo:
    return MediaInfo(
        path=Path("made"),
        has_video=True,
        width=size[0],
        height=size[1],
        pixel_format=pixel_format,
        average_rate=Fraction(25),
        time_base=Fraction(1, 12800),
        **more,
    )


def write(target: Path, info: MediaInfo, codec: str, count: int = 3, audio: Path | None = None) -> None:
    with VideoWriter(target, info, codec=codec, audio=[audio] if audio else []) as writer:
        for index in range(count):
            writer.write(picture(info.pixel_format, (info.width, info.height), index), Fraction(index, 25))


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "yuv420p10le", "gray", "yuv422p10le"])
def test_ffv1_gives_every_sample_back(tmp_path: Path, make_video: Video, pixel_format: str) -> None:
    tags = {"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1}
    written = make_video(tmp_path / "in.mkv", pixel_format=pixel_format, tags=tags)
    copy(tmp_path / "in.mkv", tmp_path / "out.mkv", "ffv1")
    frames = list(read_frames(tmp_path / "out.mkv"))
    for index, (frame, was) in enumerate(zip(frames, written, strict=True)):
        assert frame.time == Fraction(index, 25)
        assert frame.picture.format.name == pixel_format
        assert all(np.array_equal(a, b) for a, b in zip(planes(frame.picture), was, strict=True))
    info = probe(tmp_path / "out.mkv")
    assert (info.color_primaries, info.color_trc, info.color_space, info.color_range) == (9, 16, 9, 1)


@pytest.mark.parametrize(
    ("codec", "suffix", "name", "tag"),
    [
        ("h264", ".mp4", "h264", "avc1"),
        ("h264", ".MOV", "h264", "avc1"),
        ("hevc", ".mp4", "hevc", "hvc1"),
        ("hevc", ".mkv", "hevc", None),
        ("av1", ".mp4", "libdav1d", "av01"),
        ("av1", ".webm", "libdav1d", None),
    ],
)
def test_each_codec_writes_a_film_that_reads_back(
    tmp_path: Path, make_video: Video, make_sound: Sound, codec: str, suffix: str, name: str, tag: str | None
) -> None:
    make_video(
        tmp_path / "in.mkv", tags={"color_primaries": 1, "color_trc": 1, "colorspace": 1, "color_range": 1}
    )
    audio = make_sound(tmp_path / "in.wav", np.full((1, 8000), 0.1, np.float32))
    out = tmp_path / f"out{suffix}"
    copy(tmp_path / "in.mkv", out, codec, audio)
    info = probe(out)
    assert [frame.time for frame in read_frames(out)] == [Fraction(i, 25) for i in range(6)]
    assert (info.width, info.height, info.pixel_format) == (64, 48, "yuv420p")
    assert (info.color_primaries, info.color_trc, info.color_space, info.color_range) == (1, 1, 1, 1)
    assert info.has_audio
    with av.open(str(out)) as film:
        assert film.streams.video[0].codec_context.name == name
        if tag:
            assert film.streams.video[0].codec_context.codec_tag == tag


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_uneven_times_are_exact_in_mp4_even_when_the_first_is_late(tmp_path: Path, codec: str) -> None:
    times = [Fraction(n, 30000) for n in (1001, 2002, 2003, 5000, 5001, 9000, 40000, 40100)]
    info = info_of("yuv420p")
    info = MediaInfo(**{**{f: getattr(info, f) for f in info.__slots__}, "time_base": Fraction(1, 30000)})
    with VideoWriter(tmp_path / "out.mp4", info, codec=codec) as writer:
        for index, time in enumerate(times):
            writer.write(picture("yuv420p", (64, 48), index), time)
    assert [frame.time for frame in read_frames(tmp_path / "out.mp4")] == times


def test_matroska_keeps_times_to_the_millisecond(tmp_path: Path) -> None:
    times = [Fraction(i * 1001, 30000) for i in range(8)]
    with VideoWriter(tmp_path / "out.mkv", info_of("yuv420p"), codec="ffv1") as writer:
        for index, time in enumerate(times):
            writer.write(picture("yuv420p", (64, 48), index), time)
    got = [frame.time for frame in read_frames(tmp_path / "out.mkv")]
    assert max(abs(a - b) for a, b in zip(got, times, strict=True)) <= Fraction(6, 10000)


def test_ten_bit_film_stays_ten_bit(tmp_path: Path, make_video: Video) -> None:
    make_video(tmp_path / "in.mkv", pixel_format="yuv420p10le")
    for codec, suffix in [("hevc", ".mp4"), ("h264", ".mkv"), ("av1", ".mp4")]:
        copy(tmp_path / "in.mkv", tmp_path / f"out{suffix}", codec)
        assert probe(tmp_path / f"out{suffix}").pixel_format == "yuv420p10le"
    with av.open(str(tmp_path / "out.mkv")) as film:  # asked for in H.264, which players show in 8 bits only
        assert film.streams.video[0].codec_context.name == "hevc"


def test_hdr_film_keeps_its_tags_and_the_light_of_its_screen(tmp_path: Path) -> None:
    light = HdrLight(
        tuple(Fraction(n, 10000) for n in (6800, 3200, 2650, 6900, 1500, 600, 3127, 3290, 50, 10_000_000)),
        (1000, 400),
    )
    tags = {"color_primaries": 9, "color_trc": 16, "color_space": 9, "color_range": 1}
    info = info_of("yuv420p10le", hdr_light=light, **tags)
    for name in ("out.mp4", "out.mkv", "out.mov"):
        write(tmp_path / name, info, "h264")
        again = probe(tmp_path / name)
        assert (again.color_primaries, again.color_trc, again.color_space, again.color_range) == (9, 16, 9, 1)
        assert again.hdr_light == light
        assert again.pixel_format == "yuv420p10le"


def test_a_full_disk_is_one_line_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs a device that is always full")
    monkeypatch.setattr("keysync.media.write.secrets.token_hex", lambda _: "full")
    (tmp_path / f".out.partial-{os.getpid()}-full.mkv").symlink_to("/dev/full")
    with pytest.raises(MediaError, match=r"out\.mkv: the disk is full; free some space"):
        write(tmp_path / "out.mkv", info_of("yuv420p"), "ffv1", 50)
    assert list(tmp_path.iterdir()) == []


def test_too_little_space_is_said_before_any_work(tmp_path: Path) -> None:
    require_space(tmp_path / "out.mp4", info_of("yuv420p", frames=100), "h264")
    with pytest.raises(MediaError, match=r"may need .* MB and its disk has"):
        require_space(tmp_path / "out.mp4", info_of("yuv420p", (16384, 4096), frames=10**9), "h264")


@pytest.mark.parametrize("level", [float("nan"), 21.0, -91.0])
def test_a_level_out_of_range_is_refused(tmp_path: Path, level: float) -> None:
    with pytest.raises(ConfigError, match="keep_background_db"):
        VideoWriter(tmp_path / "out.mp4", info_of("yuv420p"), codec="h264", keep_background_db=level)


@pytest.mark.parametrize(
    ("source", "codec", "size", "becomes"),
    [
        ("yuv420p", "h264", (65, 47), "yuv444p"),
        ("yuv420p10le", "hevc", (65, 48), "yuv444p10le"),
        ("yuv422p", "h264", (65, 48), "yuv444p"),
        ("yuv420p", "ffv1", (65, 47), "yuv420p"),
        ("yuv420p12le", "h264", (64, 48), "yuv420p12le"),
        ("yuv444p", "av1", (64, 48), "yuv420p"),
        ("yuva420p", "hevc", (64, 48), "yuv420p"),
        ("rgb24", "h264", (64, 48), "yuv444p"),
        ("nv12", "hevc", (64, 48), "yuv420p"),
    ],
)
def test_what_the_encoder_refuses_becomes_the_nearest_format(
    tmp_path: Path, source: str, codec: str, size: tuple[int, int], becomes: str
) -> None:
    info = info_of(source, size, color_space=0 if source == "rgb24" else 1)
    with VideoWriter(tmp_path / "out.mkv", info, codec=codec) as writer:
        for index in range(3):
            made = av.VideoFrame(*size, source)
            for plane in made.planes:
                np.asarray(memoryview(plane))[:] = 100
            writer.write(made, Fraction(index, 25))
    got = probe(tmp_path / "out.mkv")
    assert (got.pixel_format, got.width, got.height) == (becomes, *size)
    assert got.color_space == 1


def test_full_range_film_stays_full_range(tmp_path: Path) -> None:
    made = picture("yuvj420p", (64, 48), 0)
    made.color_range = 2
    for plane in planes(made):
        plane[:] = 250
    with VideoWriter(tmp_path / "out.mp4", info_of("yuvj420p", color_range=2), codec="h264") as writer:
        writer.write(made, Fraction(0))
    info = probe(tmp_path / "out.mp4")
    frame = next(read_frames(tmp_path / "out.mp4"))
    assert info.color_range == 2
    assert abs(int(planes(frame.picture)[0].mean()) - 250) <= 1


@pytest.mark.parametrize(
    ("name", "codec"), [("out.mp4", "h264"), ("out.mkv", "h264"), ("out.mov", "hevc"), ("out.mp4", "av1")]
)
def test_pixels_keep_their_shape(tmp_path: Path, name: str, codec: str) -> None:
    write(tmp_path / name, info_of("yuv420p", sample_aspect_ratio=Fraction(4, 3)), codec)
    assert probe(tmp_path / name).sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.parametrize(("name", "codec"), [("out.mkv", "ffv1"), ("out.webm", "av1")])
def test_where_the_shape_of_pixels_is_lost_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, codec: str
) -> None:
    write(tmp_path / name, info_of("yuv420p", sample_aspect_ratio=Fraction(4, 3)), codec)
    assert ["4/3 pixels" in record.message for record in caplog.records] == [True]


@pytest.mark.parametrize("seconds", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
def test_sound_lasts_as_long_as_the_picture(
    tmp_path: Path, make_sound: Sound, name: str, seconds: float
) -> None:
    audio = make_sound(tmp_path / "in.wav", np.full((1, int(16000 * seconds)), 0.5, np.float32))
    write(tmp_path / name, info_of("yuv420p"), "ffv1" if name == "out.mkv" else "h264", 25, audio)
    speech = read_speech(tmp_path / name)
    if name == "out.mkv":
        assert len(speech) == 16000
    # AAC comes in whole blocks of 1024 samples.
    assert 0 <= len(speech) - 16000 <= 1024
    heard = speech.samples(0, 16000)
    said = min(int(16000 * seconds), 16000)
    assert heard[200 : said - 800].min() > 0.4
    assert np.abs(heard[said + 1200 :]).max(initial=0) < 0.01


def test_sound_starts_with_the_first_frame(tmp_path: Path, make_sound: Sound) -> None:
    audio = make_sound(tmp_path / "in.wav", np.full((1, 16000), 0.5, np.float32))
    with VideoWriter(tmp_path / "out.mkv", info_of("yuv420p"), codec="ffv1", audio=[audio]) as writer:
        for index in range(5):
            writer.write(picture("yuv420p", (64, 48), index), Fraction(1, 2) + Fraction(index, 25))
    speech = read_speech(tmp_path / "out.mkv")
    assert not speech.samples(0, 8000).any()
    assert speech.samples(8000, 8100).min() > 0.49
    assert len(speech) == 8000 + 3200


@pytest.mark.parametrize(
    ("rate_hz", "channels", "name", "codec", "kept"),
    [
        (16000, 1, "out.mp4", "h264", (16000, 1)),
        (44100, 2, "out.mp4", "h264", (44100, 2)),
        (96000, 1, "out.mp4", "h264", (48000, 1)),
        (96000, 1, "out.mkv", "ffv1", (48000, 1)),
        (22050, 2, "out.mkv", "ffv1", (22050, 2)),
        (44100, 1, "out.webm", "av1", (48000, 1)),
        (48000, 6, "out.mkv", "ffv1", (48000, 2)),
    ],
)
def test_sound_keeps_its_rate_and_up_to_two_channels(
    tmp_path: Path,
    make_sound: Sound,
    rate_hz: int,
    channels: int,
    name: str,
    codec: str,
    kept: tuple[int, int],
) -> None:
    samples = np.full((channels, rate_hz // 5), 0.25, np.float32)
    layout = "5.1" if channels == 6 else ""
    audio = make_sound(tmp_path / "in.wav", samples, rate_hz, layout)
    write(tmp_path / name, info_of("yuv420p"), codec, 5, audio)
    assert sound_format(tmp_path / name) == kept


def test_without_a_sound_the_film_is_silent(tmp_path: Path) -> None:
    write(tmp_path / "out.mp4", info_of("yuv420p"), "h264")
    assert not probe(tmp_path / "out.mp4").has_audio


def test_nothing_bears_the_name_before_the_film_is_complete(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"the film before")
    with VideoWriter(tmp_path / "out.mp4", info_of("yuv420p"), codec="h264") as writer:
        writer.write(picture("yuv420p", (64, 48), 0), Fraction(0))
        assert (tmp_path / "out.mp4").read_bytes() == b"the film before"
        hidden = [path for path in tmp_path.iterdir() if path.name != "out.mp4"]
        assert [path.name.startswith(".out.partial-") for path in hidden] == [True]
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert probe(tmp_path / "out.mp4").has_video


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("frames", [0, 3])
def test_an_exception_leaves_nothing_behind(
    tmp_path: Path, make_sound: Sound, error: type[BaseException], frames: int
) -> None:
    audio = make_sound(tmp_path / "in.wav", np.zeros((1, 16000), np.float32))
    out = tmp_path / "folder"
    out.mkdir()

    def break_off() -> None:
        with VideoWriter(out / "out.mp4", info_of("yuv420p"), codec="h264", audio=[audio]) as writer:
            for index in range(frames):
                writer.write(picture("yuv420p", (64, 48), index), Fraction(index, 25))
            raise error

    with pytest.raises(error):
        break_off()
    assert list(out.iterdir()) == []
    gc.collect()


def test_a_film_without_frames_is_an_error_and_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(MediaError, match="no frame"),
        VideoWriter(tmp_path / "out.mp4", info_of("yuv420p"), codec="h264"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_unusable_sound_fails_at_once_and_leaves_nothing(tmp_path: Path, make_video: Video) -> None:
    make_video(tmp_path / "silent.mkv")
    out = tmp_path / "folder"
    out.mkdir()
    for audio in (tmp_path / "silent.mkv", tmp_path / "none.wav"):
        writer = VideoWriter(out / "out.mp4", info_of("yuv420p"), codec="h264", audio=[audio])
        with pytest.raises(MediaError, match=audio.name), writer:
            pytest.fail("opened")
    assert list(out.iterdir()) == []


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(MediaError, match="32x48, not 64x48"),
        VideoWriter(tmp_path / "out.mp4", info_of("yuv420p"), codec="h264") as writer,
    ):
        writer.write(picture("yuv420p", (32, 48), 0), Fraction(0))
    assert list(tmp_path.iterdir()) == []


def test_two_times_in_one_tick_stay_two_frames(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "out.mp4", info_of("yuv420p"), codec="h264") as writer:
        for index in range(3):
            writer.write(picture("yuv420p", (64, 48), index), Fraction(index, 10**6))
    times = [frame.time for frame in read_frames(tmp_path / "out.mp4")]
    assert times == [Fraction(i, 12800) for i in range(3)]


@pytest.mark.parametrize(
    ("name", "codec", "crf", "said"),
    [
        ("out.mp4", "ffv1", None, r"\.mp4 cannot hold ffv1; end the name in \.mkv"),
        ("out.webm", "h264", None, r"\.webm cannot hold h264; .*\.mp4"),
        ("out.mov", "av1", None, r"\.mov cannot hold av1"),
        ("out.wmv", "h264", None, r"cannot write \.wmv; .*\.mp4"),
        ("out", "h264", None, r"without an ending"),
        ("out.mp4", "h264", 52, "0 to 51"),
        ("out.mp4", "av1", 64, "0 to 63"),
        ("out.mkv", "ffv1", 10, "lossless"),
        ("none/out.mp4", "h264", None, "folder does not exist"),
        ("folder.mp4", "h264", None, "is a folder"),
    ],
)
def test_what_cannot_work_is_said_before_any_work(
    tmp_path: Path, name: str, codec: str, crf: int | None, said: str
) -> None:
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(ConfigError, match=said):
        VideoWriter(tmp_path / name, info_of("yuv420p"), codec=codec, crf=crf)


def test_av1_says_that_it_cannot_hold_an_odd_size(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="65x47"):
        VideoWriter(tmp_path / "out.mp4", info_of("yuv420p", (65, 47)), codec="av1")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_a_wrong_argument(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    writer = VideoWriter(tmp_path / "out.mp4", info_of("yuv420p"), codec="h264")
    with pytest.raises(ConfigError, match="permission"), writer:
        pytest.fail("opened")


def test_a_refused_open_is_a_wrong_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise av.error.PermissionError(13, "Permission denied")

    writer = VideoWriter(tmp_path / "out.mp4", info_of("yuv420p"), codec="h264")
    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(ConfigError, match="permission"), writer:
        pytest.fail("opened")


def test_long_names_fit(tmp_path: Path) -> None:
    name = "ü" * 120 + ".mp4"  # 244 bytes of the 255 allowed
    write(tmp_path / name, info_of("yuv420p"), "h264")
    assert [path.name for path in tmp_path.iterdir()] == [name]

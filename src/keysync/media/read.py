"""Files in: upright frames at exact times, and sound, both streamed.

Nothing here seeks or holds a whole file: memory does not grow with its length.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream
from jaxtyping import Float32, Shaped

from keysync.clip import Frame
from keysync.errors import MediaError
from keysync.media.deinterlace import deinterlaced
from keysync.media.failure import media_errors, require_file
from keysync.media.hdr import HdrLight, hdr_light
from keysync.speech import SPEECH_RATE_HZ, Speech

MAX_SIDE = 16384  # pixels
MAX_PIXELS = 100_000_000

_log = logging.getLogger(__name__)

_FULL_RANGE = 2  # FFmpeg's number for samples that use all values, as in JPEG
_LIMITED_RANGE = 1
_BT709 = 1
_TIMES_JUMP = 0x0200  # AVFMT_TS_DISCONT: the container's clock starts anywhere (MPEG-TS)
# FFmpeg opens these through other files, or draws text; none is a recording.
_NOT_RECORDINGS = {"hls", "dash", "concat", "tty", "imf", "webm_dash_manifest"}
_FALLBACK_RATE = Fraction(25)
# A step back this long is a new start of the clock; a shorter one is a stray frame.
_CLOCK_RESTART_S = 1
# Containers round sound times (Matroska to 1 ms) and recorders let them jitter; only a real gap counts.
_SOUND_JITTER_S = Fraction(1, 20)
_LONGEST_SILENCE_S = 3600  # a longer gap is a broken clock, not silence


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaInfo:
    """What a media file holds. The video part describes frames as ``read_frames`` gives them."""

    path: Path
    has_video: bool = False
    width: int = 0  # pixels, upright
    height: int = 0
    rotation: int = 0  # degrees counter-clockwise that the stored picture was turned: 0, 90, 180, 270
    average_rate: Fraction | None = None  # frames per second
    frames: int | None = None  # an estimate from the header
    duration: Fraction | None = None  # seconds; of the video if there is one
    start: Fraction = Fraction(0)  # seconds, time of the first frame
    time_base: Fraction | None = None  # seconds per tick of the video's clock
    pixel_format: str = ""  # FFmpeg's name
    color_primaries: int = 2  # these four as in ITU-T H.273; 2 is "not said"
    color_trc: int = 2
    color_space: int = 2
    color_range: int = 0  # 1 limited, 2 full, 0 not said
    hdr_light: HdrLight | None = None  # the screen an HDR film was graded on, its brightest pixels
    interlaced: bool = False  # as stored; frames come deinterlaced
    sample_aspect_ratio: Fraction | None = None  # width to height of one pixel, upright
    has_audio: bool = False
    audio_rate_hz: int = 0
    audio_channels: int = 0


def probe(path: Path) -> MediaInfo:
    """Look at a file's header and its first frame.

    Raises:
        MediaError: no media file, nothing in it to see or hear, or a picture that is too large or
            see-through.
    """
    with opened(path) as container:
        video, audio = video_stream(container), audio_stream(container)
        if video is None and audio is None:
            raise MediaError(f"{path}: holds neither picture nor sound; choose a video or a sound file")
        duration = None if container.duration is None else Fraction(container.duration, 1_000_000)
        sound: dict[str, Any] = {}
        if audio is not None and audio.codec_context is not None:
            sound = {
                "has_audio": True,
                "audio_rate_hz": audio.codec_context.sample_rate,
                "audio_channels": audio.codec_context.channels,
            }
        if video is None:
            return MediaInfo(path=path, duration=duration, **sound)
        tick = tick_of(video)
        if video.duration:
            duration = video.duration * tick
        with closing(_upright_frames(container, video, path)) as upright:
            first = next(upright)
        picture, turns, stored = first.frame.picture, first.turns, first.stored
        rate = video.average_rate or None
        aspect = video.sample_aspect_ratio or None
        return MediaInfo(
            path=path,
            has_video=True,
            width=picture.width,
            height=picture.height,
            rotation=90 * turns,
            average_rate=rate,
            frames=video.frames or (round(duration * rate) if duration and rate else None),
            duration=duration,
            start=first.frame.time,
            time_base=tick,
            pixel_format=picture.format.name,
            color_primaries=int(picture.color_primaries),
            color_trc=int(picture.color_trc),
            color_space=int(picture.colorspace),
            color_range=int(picture.color_range),
            hdr_light=hdr_light(stored),
            interlaced=first.interlaced,
            sample_aspect_ratio=1 / aspect if aspect and turns % 2 else aspect,
            **sound,
        )


def read_frames(path: Path) -> Generator[Frame, None, None]:
    """All frames of a video, upright, in the order of their times. Closing the generator closes the file.

    Times rise strictly. A frame without a time follows the one before at the average rate. A frame
    that is not later than the one before is left out; but if it lies a second or more back, the clock
    is taken to have started again and the times go on at the average rate. Both are logged once.
    A part that cannot be decoded is left out and logged once. Interlaced frames come deinterlaced, one
    for one at their own times; that is logged once.

    Raises:
        MediaError: no video, no frame that can be decoded, a frame that is too large or see-through, or
            one of another size.
    """
    with opened(path) as container:
        stream = video_stream(container)
        if stream is None:
            raise MediaError(f"{path}: no picture in it; choose a video")
        last: Frame | None = None
        for upright in _upright_frames(container, stream, path):
            last = upright.frame
            yield last
        if last is not None and stream.duration:
            end = _start(stream) - origin_of(container) + stream.duration * tick_of(stream)
            if end - last.time > 1:
                _log.warning("%s: ends at %.2f s, not at %.2f s as it says", path, last.time, end)


def read_speech(path: Path) -> Speech:
    """The whole sound of a file (all channels averaged) as speech.

    Raises:
        MediaError: no sound in the file, or none of it can be decoded.
    """
    with media_errors(path, "read"):
        return Speech(block[0] for block in read_sound(path, rate_hz=SPEECH_RATE_HZ, channels=1))


def sound_format(path: Path) -> tuple[int, int]:
    """Samples per second and number of channels of a file's sound.

    Raises:
        MediaError: no sound in the file.
    """
    with opened(path) as container:
        context = _require_sound(container, path).codec_context
        return context.sample_rate, context.channels


def read_sound(
    path: Path, *, rate_hz: int, channels: int
) -> Generator[Float32[np.ndarray, "{channels} n"], None, None]:
    """A file's sound in blocks, in order, from the container's time zero on.

    Sound before time zero (encoder priming) is cut; a late start and gaps become silence. Samples that
    are no finite number become 0, logged once.

    Args:
        rate_hz: samples per second wanted.
        channels: 1 averages all channels; 2 keeps stereo and mixes more down to it.
    Raises:
        MediaError: no sound in the file, or none of it can be decoded.
    """
    with opened(path) as container:
        stream = _require_sound(container, path)
        resampler: av.AudioResampler | None = None
        source_rate = 0
        for block, block_rate in _placed_sound(container, stream, path, channels):
            if block_rate != source_rate:
                if resampler is not None:
                    yield from _arrays(resampler.resample(None))
                source_rate = block_rate
                resampler = av.AudioResampler(format="fltp", layout=_layout(channels), rate=rate_hz)
            assert resampler is not None
            yield from _arrays(resampler.resample(sound_frame(block, block_rate)))
        if resampler is not None:
            yield from _arrays(resampler.resample(None))


def sound_frame(block: Float32[np.ndarray, "c n"], rate_hz: int) -> av.AudioFrame:
    """Samples as PyAV takes them: float, one plane per channel, mono or stereo."""
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=_layout(len(block)))
    frame.sample_rate = rate_hz
    return frame


def convert(picture: av.VideoFrame, pixel_format: str) -> av.VideoFrame:
    """``picture`` in another pixel format, its range of values and colour tags kept.

    From RGB to YUV it becomes limited-range BT.709, and says so.
    """
    was, becomes = picture.format, av.VideoFormat(pixel_format)
    if was.is_rgb and not becomes.is_rgb:
        out = picture.reformat(
            format=pixel_format,
            src_color_range=_FULL_RANGE,
            dst_color_range=_LIMITED_RANGE,
            dst_colorspace=_BT709,
            threads=1,
        )
        out.colorspace, out.color_range = _BT709, _LIMITED_RANGE
        return out
    # Named on both sides: left open, FFmpeg squeezes yuvj420p into the limited range of yuv420p.
    out = picture.reformat(
        format=pixel_format,
        src_color_range=picture.color_range,
        dst_color_range=picture.color_range,
        threads=1,
    )
    out.colorspace, out.color_range = picture.colorspace, picture.color_range
    return out


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """A recording, open; what PyAV raises meanwhile becomes one of our errors.

    Raises:
        MediaError: no file, no recording, or damaged.
    """
    require_file(path)
    with (
        media_errors(path, "read"),
        # An absolute path is never taken for a protocol, and a playlist inside may not reach the network.
        # Wrong bytes in a title are no reason to refuse the video.
        av.open(
            str(path.resolve()),
            "r",
            metadata_errors="ignore",
            # For the decoders that look into the file while it is opened.
            options={"max_pixels": str(MAX_PIXELS)},
            container_options={"protocol_whitelist": "file"},
        ) as container,
    ):
        if _NOT_RECORDINGS & set(container.format.name.split(",")):
            raise MediaError(f"{path}: is a list or a text, no recording; name the media file itself")
        yield container


def video_stream(container: InputContainer) -> VideoStream | None:
    """The film; a cover picture is none."""
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    for stream in container.streams.video:
        if not stream.disposition & covers:
            return stream
    return None


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The first sound track."""
    return container.streams.audio[0] if container.streams.audio else None


def _require_sound(container: InputContainer, path: Path) -> AudioStream:
    stream = audio_stream(container)
    if stream is None:
        raise MediaError(f"{path}: no sound in it; choose a file with speech")
    _require_decoder(stream, path)
    return stream


def _require_decoder(stream: Stream, path: Path) -> None:
    if stream.codec_context is None:
        raise MediaError(f"{path}: its {stream.type} is coded in an unknown way; convert it to an .mp4")


def tick_of(stream: Stream) -> Fraction:
    """Seconds per step of the stream's clock."""
    return stream.time_base or Fraction(1, 90_000)


def _start(stream: Stream) -> Fraction:
    return (stream.start_time or 0) * tick_of(stream)


def origin_of(container: InputContainer) -> Fraction:
    """The container's time zero on its own clock, seconds."""
    if not container.format.flags & _TIMES_JUMP:
        return Fraction(0)
    streams = [*container.streams.video, *container.streams.audio]
    return min((_start(s) for s in streams if s.start_time is not None), default=Fraction(0))


def _decoded(
    container: InputContainer, stream: VideoStream | AudioStream, path: Path
) -> Iterator[av.VideoFrame | av.AudioFrame]:
    """What can be decoded of a stream; the rest is left out with one warning."""
    # Refused by the decoder itself, so that a picture that grows half-way is never allocated.
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    stream.codec_context.thread_type = "AUTO"
    packets = container.demux(stream)
    error: Exception | None = None
    count = 0
    while True:
        packet = None
        frames: list[av.VideoFrame] | list[av.AudioFrame] = []
        try:
            # A reader that has failed ends here too: its next packet is None, which empties the decoder.
            packet = next(packets, None)
            frames = stream.codec_context.decode(packet)
        except MemoryError:
            raise
        except av.error.EOFError:
            pass  # the decoder was empty already
        except av.error.FFmpegError as fault:
            if error is None and count:
                _log.warning("%s: damaged %s after frame %d is left out", path, stream.type, count)
            error = error or fault
        for frame in frames:
            count += 1
            yield frame
        if packet is None:
            break
    if not count:
        raise error or MediaError(f"{path}: its {stream.type} holds nothing; fetch the file again")


@dataclass(frozen=True, slots=True)
class _Upright:
    frame: Frame
    turns: int  # quarter turns that it took, counter-clockwise
    stored: av.VideoFrame  # as it was before it was turned
    interlaced: bool  # before that


def _upright_frames(
    container: InputContainer, stream: VideoStream, path: Path
) -> Generator[_Upright, None, None]:
    """Upright, deinterlaced frames at strictly rising times."""
    _require_decoder(stream, path)
    _check_size(path, stream.codec_context.width, stream.codec_context.height)
    size: tuple[int, int] | None = None
    orientation: tuple[int, bool] | None = None
    for stored, interlaced in deinterlaced(_timed_frames(container, stream, path), path):
        # Once per stream: a frame whose side data was read refers to itself and is freed late.
        orientation = orientation or _orientation(stored.picture)
        picture, turns = _upright(stored.picture, orientation)
        if size not in (None, (picture.width, picture.height)):
            at = float(stored.time)
            raise MediaError(f"{path}: the picture changes its size at {at:.2f} s; cut it there")
        size = (picture.width, picture.height)
        yield _Upright(Frame(picture=picture, time=stored.time), turns, stored.picture, interlaced)


def _timed_frames(container: InputContainer, stream: VideoStream, path: Path) -> Iterator[Frame]:
    """Frames as they are stored, at strictly rising times."""
    tick, origin = tick_of(stream), origin_of(container)
    step = 1 / (stream.average_rate or _FALLBACK_RATE)
    last: Frame | None = None
    shift = Fraction(0)
    warned = False
    for picture in _decoded(container, stream, path):
        assert isinstance(picture, av.VideoFrame)
        _check_size(path, picture.width, picture.height)
        _check_opaque(path, picture, stream)
        usual = Fraction(0) if last is None else last.time + step
        time = usual if picture.pts is None else picture.pts * tick - origin + shift
        if last is not None and time <= last.time:
            if not warned:
                _log.warning("%s: times run back at %.2f s; mended", path, last.time)
                warned = True
            if last.time - time < _CLOCK_RESTART_S:
                continue
            shift += usual - time
            time = usual
        last = Frame(picture=picture, time=time)
        yield last


def _check_size(path: Path, width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise MediaError(
            f"{path}: its picture is {width}x{height}; scale it down to {MAX_SIDE} pixels a side"
            f" and {MAX_PIXELS // 1_000_000} million in all, or fewer"
        )


def _check_opaque(path: Path, picture: av.VideoFrame, stream: VideoStream) -> None:
    # VP8 and VP9 keep the layer in a second picture that their decoders never show; only a tag tells.
    # Muxers write it in small letters and in capitals.
    hidden = any(key.lower() == "alpha_mode" and said == "1" for key, said in stream.metadata.items())
    if hidden or any(part.is_alpha for part in picture.format.components):
        raise MediaError(
            f"{path}: its picture is see-through ({picture.format.name}, alpha); lay it over a background"
            " first and save it without alpha"
        )


def _orientation(picture: av.VideoFrame) -> tuple[int, bool]:
    """How to bring the picture upright: first mirror it left to right if true, then so many quarter turns.

    Turns are counter-clockwise.
    """
    # By index: PyAV's mapping of side data cannot be walked by its own keys.
    sides = cast("Any", picture.side_data)
    for index in range(len(sides)):
        if sides[index].type.name == "DISPLAYMATRIX":
            a, b, _, c, d, *_ = np.frombuffer(sides[index], np.int32).tolist()
            mirrored = a * d - b * c < 0
            if mirrored:
                a, b = -a, -b
            # (a, b) is where the stored x axis points, y down. Odd angles go to the nearest quarter.
            return round(math.atan2(-b, a) / (math.pi / 2)) % 4, mirrored
    return 0, False


def _upright(picture: av.VideoFrame, orientation: tuple[int, bool]) -> tuple[av.VideoFrame, int]:
    turns, mirrored = orientation
    # Frames of these formats say nothing of a range, but their samples use all of it.
    if picture.format.name.startswith("yuvj"):
        picture.color_range = _FULL_RANGE
    if not turns and not mirrored:
        return picture, 0
    return _turned(picture, turns, mirrored), turns


def _turned(picture: av.VideoFrame, turns: int, mirrored: bool) -> av.VideoFrame:
    """The picture mirrored left to right if ``mirrored``, then turned counter-clockwise; tags kept."""
    if not _turnable(picture):
        picture = convert(picture, _turnable_format(picture.format))
    width, height = picture.width, picture.height
    out = av.VideoFrame(*((height, width) if turns % 2 else (width, height)), picture.format.name)
    for index in range(len(picture.planes)):
        pixels = _plane(picture, index)
        _plane(out, index)[:] = np.rot90(pixels[:, ::-1] if mirrored else pixels, turns)
    out.pts, out.time_base, out.duration = picture.pts, picture.time_base, picture.duration
    out.colorspace, out.color_range = picture.colorspace, picture.color_range
    out.color_primaries, out.color_trc = picture.color_primaries, picture.color_trc
    return out


def _turnable(picture: av.VideoFrame) -> bool:
    """True if each plane can be turned as it is: one component a plane, as fine across as down."""
    name = picture.format.name
    parts = av.VideoFormat(name, 64, 64).components
    return (
        len({part.plane for part in parts}) == len(parts)
        and all(part.width == part.height and 8 <= part.bits <= 16 for part in parts)
        and not picture.format.has_palette
        and not picture.format.is_bit_stream
        # Stored bottom up: PyAV shows the wrong bytes for it, a conversion the right ones.
        and all(plane.line_size > 0 for plane in picture.planes)
    )


def _turnable_format(was: av.VideoFormat) -> str:
    deep = max(part.bits for part in was.components) > 8
    if was.is_rgb or was.has_palette:
        return "gbrp16le" if deep else "gbrp"
    if was.name in ("nv12", "nv21"):
        return "yuv420p"
    return "yuv444p10le" if deep else "yuv444p"


def _plane(picture: av.VideoFrame, index: int) -> Shaped[np.ndarray, "h w"]:
    plane = picture.planes[index]
    dtype = np.dtype(np.uint16 if picture.format.components[0].bits > 8 else np.uint8)
    rows = np.asarray(memoryview(plane)).view(dtype).reshape(plane.height, -1)
    return rows[:, : plane.width]


def _placed_sound(
    container: InputContainer, stream: AudioStream, path: Path, channels: int
) -> Iterator[tuple[Float32[np.ndarray, "{channels} n"], int]]:
    """Decoded sound at its own rate, laid where its times say: overlaps cut, gaps filled with silence."""
    tick, origin = tick_of(stream), origin_of(container)
    now: Fraction | None = None  # seconds of sound handed out
    shift = Fraction(0)
    warned = False
    for frame in _decoded(container, stream, path):
        assert isinstance(frame, av.AudioFrame)
        block, rate = _mixed(frame, channels), frame.sample_rate
        if not np.isfinite(block).all():
            if not warned:
                _log.warning("%s: sound that is no number is taken as silence", path)
                warned = True
            block = np.where(np.isfinite(block), block, np.float32(0))
        begins = now or Fraction(0)
        if frame.pts is not None:
            begins = frame.pts * (frame.time_base or tick) - origin + shift
        gap = begins - (now or 0)
        if now is not None and (gap <= -_CLOCK_RESTART_S or gap > _LONGEST_SILENCE_S):
            shift, gap = shift - gap, Fraction(0)
        if now is None or abs(gap) > _SOUND_JITTER_S:
            missing = round(gap * rate)
            block = block[:, max(-missing, 0) :]
            for start in range(0, missing, rate):
                yield np.zeros((channels, min(rate, missing - start)), np.float32), rate
            now = (now or Fraction(0)) + Fraction(max(missing, 0), rate)
        if block.shape[1]:
            yield block, rate
        now += Fraction(block.shape[1], rate)


def _mixed(frame: av.AudioFrame, channels: int) -> Float32[np.ndarray, "{channels} n"]:
    """A decoded block as float, its channels averaged (1) or mixed to left and right (2)."""
    count = len(frame.layout.channels)
    data: Shaped[np.ndarray, "rows columns"] = frame.to_ndarray()
    if not frame.format.is_planar:
        data = data.reshape(-1, count).T
    if data.dtype == np.uint8:
        wide: Shaped[np.ndarray, "c n"] = (data.astype(np.float32) - 128) / 128
    elif data.dtype.kind == "i":
        wide = data.astype(np.float32) / np.float32(2.0 ** (8 * data.dtype.itemsize - 1))
    else:
        with np.errstate(over="ignore"):  # what does not fit a float32 becomes inf, and then 0
            wide = data.astype(np.float32)
    if channels == 1:
        return np.asarray(wide.mean(axis=0, keepdims=True), np.float32)
    if count == 1:
        return np.repeat(wide, 2, axis=0)
    if count == 2:
        return wide
    return _stereo_weights([channel.name for channel in frame.layout.channels]) @ wide.astype(np.float32)


def _stereo_weights(names: list[str]) -> Float32[np.ndarray, "2 c"]:
    """How loud each named channel is left and right; scaled so that nothing can clip.

    Source: ITU-R BS.775 weights (centre and surround at 0.707, no low-frequency channel).
    """
    weights = np.zeros((2, len(names)), np.float32)
    for column, name in enumerate(names):
        if name == "LFE":
            continue
        level = 1.0 if name in ("FL", "FR") else math.sqrt(0.5)
        weights[0, column] = 0.0 if name.endswith("R") else level
        weights[1, column] = 0.0 if name.endswith("L") else level
    return weights / np.float32(max(weights.sum(axis=1).max(), 1))


def _layout(channels: int) -> str:
    return "mono" if channels == 1 else "stereo"


def _arrays(frames: list[av.AudioFrame]) -> Iterator[Float32[np.ndarray, "c n"]]:
    for frame in frames:
        if frame.samples:
            yield cast("Float32[np.ndarray, 'c n']", frame.to_ndarray())

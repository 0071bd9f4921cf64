"""Frames and the new speech out: one file, whole or not at all."""

from __future__ import annotations

import logging
import math
import os
import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import cast

import av
from av.codec import Codec
from av.codec.codec import find_best_pix_fmt_of_list
from av.codec.context import Flags
from av.container import OutputContainer
from av.stream import Disposition
from av.video.frame import PictureType
from av.video.stream import VideoStream

from keysync.config import VideoCodec
from keysync.errors import ConfigError, MediaError
from keysync.media.carry import Carried
from keysync.media.failure import media_errors, require_target
from keysync.media.read import MediaInfo, convert
from keysync.media.sound import SoundTrack

_log = logging.getLogger(__name__)

_LARGE_PIXELS = 3840 * 2160
_SHORT_LOOKAHEAD = 10  # frames; the encoders hold 30, at 8K that is 1.5 GB and more
_FALLBACK_RATE = Fraction(25)
_FALLBACK_TICK = Fraction(1, 90_000)
_QUIETEST_DB, _LOUDEST_DB = -90, 20
_HIGHEST_RATE = 240  # frames per second that every encoder takes as a hint for its rate control


@dataclass(frozen=True, slots=True)
class _Encoder:
    name: str
    options: dict[str, str]
    default_crf: int | None = None  # None: lossless, there is nothing to choose
    worst_crf: int = 51


_ENCODERS: dict[VideoCodec, _Encoder] = {
    "h264": _Encoder("libx264", {"preset": "fast"}, 16),
    "hevc": _Encoder("libx265", {"preset": "fast"}, 19),
    "av1": _Encoder("libsvtav1", {"preset": "8"}, 24, 63),
    "ffv1": _Encoder("ffv1", {"level": "3", "slicecrc": "1", "g": "1"}),
}


@dataclass(frozen=True, slots=True)
class _Container:
    muxer: str
    codecs: tuple[VideoCodec, ...]
    sound: str = "aac"
    options: dict[str, str] = field(default_factory=dict)


_INDEX_FIRST = {"movflags": "+faststart"}  # a player can start before it has the whole file
_CONTAINERS = {
    ".mp4": _Container("mp4", ("h264", "hevc", "av1"), options=_INDEX_FIRST),
    ".m4v": _Container("mp4", ("h264", "hevc", "av1"), options=_INDEX_FIRST),
    ".mov": _Container("mov", ("h264", "hevc"), options=_INDEX_FIRST),
    ".mkv": _Container("matroska", ("h264", "hevc", "av1", "ffv1")),
    ".webm": _Container("webm", ("av1",), sound="libopus"),
}


_BITS_PER_PIXEL = {"h264": 0.3, "hevc": 0.2, "av1": 0.2, "ffv1": 10.0}  # generous, at our default quality


def require_space(path: Path, info: MediaInfo, codec: VideoCodec, source: Path | None = None) -> None:
    """Refuse work whose result will hardly fit on the disk of ``path``; a generous guess, no promise.

    Counts the picture at our default quality and everything of ``source``, which is carried over.

    Raises:
        MediaError: less is free than that.
        ConfigError: the folder of ``path`` does not exist.
    """
    frames = info.frames or 0
    bits = frames * info.width * info.height * _BITS_PER_PIXEL[codec]
    require_target(path)
    with media_errors(path, "write"):
        needed = round(bits / 8) + (source.stat().st_size if source else 0)
        free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise MediaError(
            f"{path}: may need {needed / 1e6:.0f} MB and its disk has {free / 1e6:.0f} MB left;"
            " free some space or use another disk"
        )


class VideoWriter:
    """Writes a hidden file beside ``path`` and renames it on a clean exit; after an error nothing is left.

    Size, colour tags, pixel shape and frame times stay those of the source: exact in MP4, M4V and MOV,
    to the nearest millisecond in Matroska and WebM, which know no finer clock. Pixels keep their format
    if the encoder takes it, else the nearest one. Of film with more than 8 bits, h264 makes HEVC, for
    hardly a player shows H.264 of 10 bits; HDR keeps its tags, and with HEVC the light levels of its
    screen. The sound starts with the first frame, ends with the last one and is silence where the speech
    is over; it keeps its rate (48 kHz at most) and one or two channels. Memory does not grow with the
    length.

    One thing is lost, with a warning: FFV1 and AV1 cannot tell the shape of their pixels, and PyAV
    cannot write it into Matroska or WebM, so there an anamorphic film plays too narrow or too wide.
    """

    def __init__(
        self,
        path: Path,
        info: MediaInfo,
        *,
        codec: VideoCodec,
        crf: int | None = None,
        audio: Sequence[Path] = (),
        source: Path | None = None,
        keep_background_db: float | None = None,
        scratch: Path | None = None,
    ) -> None:
        """Check what is asked; nothing is opened yet.

        Args:
            info: of the video whose frames will come.
            crf: quality, 0 (best) to 51, for av1 to 63; ``None`` takes the encoder's default.
            audio: any files with sound, to be heard together; none writes a film without a sound track.
            source: a film whose other sound tracks, subtitles, fonts, chapters and titles are kept as
                they are; ``None`` keeps none.
            keep_background_db: how loud the first sound of ``source`` stays under ``audio``; 0 is
                unchanged, -20 a tenth. ``None`` leaves it out. Peaks are limited, never clipped.
            scratch: an existing folder on the same disk for the unfinished file; beside ``path`` if None.
        Raises:
            ConfigError: the container is unknown or cannot hold ``codec``, the crf or the level is out
                of range, or ``path`` cannot become a file.
        """
        if keep_background_db is not None and not _QUIETEST_DB <= keep_background_db <= _LOUDEST_DB:
            raise ConfigError(
                f"keep_background_db is {keep_background_db}; it must be {_QUIETEST_DB} to {_LOUDEST_DB}"
            )
        if codec == "h264" and _deep(info):
            _log.warning("%s: more than 8 bits a sample; written as hevc, which players show", path)
            codec = "hevc"
        self._container = _container(path, codec)
        self._encoder = _ENCODERS[codec]
        self._options = _options(codec, crf, info)
        self._pixel_format = _pixel_format(info, codec)
        require_target(path)
        # The start of the name is enough: the whole could pass the 255 bytes that a name may have.
        hidden = f".{path.stem[:32]}.partial-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"
        self._path, self._partial = path, (scratch or path.parent) / hidden
        self._info, self._codec, self._audio = info, codec, audio
        self._source, self._background_db = source, keep_background_db
        self._tick = info.time_base or _FALLBACK_TICK
        self._rate = info.average_rate or _FALLBACK_RATE
        self._durations: dict[int, int] = {}  # ticks that each frame in the encoder stays, by its time
        self._first: Fraction | None = None
        self._end = Fraction(0)
        self._last_tick: int | None = None
        self._shift = Fraction(0)
        self._out: OutputContainer | None = None
        self._sound: SoundTrack | None = None
        self._carried: Carried | None = None

    def __enter__(self) -> VideoWriter:
        """Open everything now, so that what cannot work fails before the hours of work.

        Raises:
            MediaError: the sound cannot be read, or the file cannot be written.
        """
        options = dict(self._container.options)
        if self._container.muxer in ("mp4", "mov"):
            # A late first frame is written in the film's own clock: 1 ms by default, which is too coarse.
            options["movie_timescale"] = str(_film_clock_hz(self._tick))
        if self._codec == "av1":
            os.environ.setdefault("SVT_LOG", "1")  # errors only; the library prints 30 lines otherwise
        try:
            with media_errors(self._path, "write"):
                self._out = av.open(
                    str(self._partial.absolute()), "w", format=self._container.muxer, options=options
                )
                self._video = self._add_video(self._out)
            if self._audio:
                codec = "flac" if self._codec == "ffv1" else self._container.sound
                self._sound = SoundTrack(
                    self._out, self._path, self._audio, codec, self._source, self._background_db
                )
            if self._source is not None:
                self._carried = Carried(self._source, self._out, self._path)
            with media_errors(self._path, "write"):
                # PyAV would create the file and start the encoders only when a first packet is ready.
                self._out.start_encoding()
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, picture: av.VideoFrame, time: Fraction) -> None:
        """Append a frame, to be shown from ``time`` (seconds) on; times must rise.

        The picture's own time and type are overwritten.

        Raises:
            MediaError: the picture has another size than promised, or writing failed.
        """
        if (picture.width, picture.height) != (self._info.width, self._info.height):
            raise MediaError(
                f"{self._path}: a frame is {picture.width}x{picture.height},"
                f" not {self._info.width}x{self._info.height}; give all frames one size"
            )
        if self._first is None:
            self._shift = max(-time, Fraction(0))  # no container can show a frame before zero
            self._first = time + self._shift
        time += self._shift
        stays = picture.duration * (picture.time_base or 0) or 1 / self._rate
        with media_errors(self._path, "write"):
            if picture.format.name != self._pixel_format:
                picture = convert(picture, self._pixel_format)
            tick = round(time / self._tick)
            # Two times closer than a tick must not become one.
            self._last_tick = tick = tick if self._last_tick is None else max(tick, self._last_tick + 1)
            self._durations[tick] = max(round(stays / self._tick), 1)
            self._end = (tick + self._durations[tick]) * self._tick
            picture.pts, picture.time_base, picture.duration = tick, self._tick, self._durations[tick]
            # A decoded frame remembers its type; the encoder would take it for an order.
            picture.pict_type = PictureType.NONE
            self._mux_video(picture)
        self._fill(time)

    def _fill(self, until: Fraction) -> None:
        """Bring everything beside the picture up to ``until``, so that no packet waits long for another."""
        assert self._first is not None
        if self._sound is not None:
            self._sound.fill(self._first, until, self._shift)
        if self._carried is not None:
            self._carried.fill(until, self._shift)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._discard()

    def _finish(self) -> None:
        if self._first is None:
            raise MediaError(f"{self._path}: no frame came to be written; give at least one")
        with media_errors(self._path, "write"):
            self._mux_video(None)
        self._fill(self._end)
        if self._sound is not None:
            self._sound.finish()
        with media_errors(self._path, "write"):
            self._opened().close()
            self._partial.replace(self._path)

    def _discard(self) -> None:
        """Close what is open and remove the unfinished file; after the rename there is none."""
        if self._sound is not None:
            self._sound.close()
        if self._carried is not None:
            self._carried.close()
        if self._out is not None:
            with suppress(av.error.FFmpegError, OSError, ValueError):  # the file goes anyway
                self._out.close()
        self._partial.unlink(missing_ok=True)

    def _opened(self) -> OutputContainer:
        assert self._out is not None, "write within a with block"
        return self._out

    def _add_video(self, out: OutputContainer) -> VideoStream:
        info = self._info
        rate = min(self._rate, Fraction(_HIGHEST_RATE))
        stream = cast(VideoStream, out.add_stream(self._encoder.name, rate=rate, options=self._options))
        stream.width, stream.height, stream.pix_fmt = info.width, info.height, self._pixel_format
        context = stream.codec_context
        stream.disposition = Disposition.default
        stream.time_base = context.time_base = self._tick
        context.thread_type = "AUTO"  # by slices alone x264 compresses worse
        context.flags |= Flags.frame_duration
        context.color_primaries, context.color_trc = info.color_primaries, info.color_trc
        context.colorspace, context.color_range = info.color_space, info.color_range
        if av.VideoFormat(info.pixel_format).is_rgb and not av.VideoFormat(self._pixel_format).is_rgb:
            context.colorspace, context.color_range = 1, 1  # what ``convert`` makes of RGB
        if info.sample_aspect_ratio:
            context.sample_aspect_ratio = info.sample_aspect_ratio
            shapeless = self._codec in ("ffv1", "av1") and self._container.muxer in ("matroska", "webm")
            if shapeless and info.sample_aspect_ratio != 1:
                shape = info.sample_aspect_ratio
                _log.warning(
                    "%s: its %s pixels will play as square ones; use h264 in .mkv", self._path, shape
                )
        if self._codec == "hevc" and self._container.muxer in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # the only tag of HEVC that Apple's players accept
        return stream

    def _mux_video(self, picture: av.VideoFrame | None) -> None:
        out = self._opened()
        for packet in self._video.encode(picture):
            # Not every encoder hands a frame's length on, and the last frame's is nowhere else.
            packet.duration = self._durations.pop(cast(int, packet.pts))
            out.mux(packet)


def _container(path: Path, codec: VideoCodec) -> _Container:
    found = _CONTAINERS.get(path.suffix.lower())
    if found is None:
        ending = path.suffix or "a name without an ending"
        raise ConfigError(f"{path}: cannot write {ending}; end the name in one of {', '.join(_CONTAINERS)}")
    if codec not in found.codecs:
        homes = [suffix for suffix, container in _CONTAINERS.items() if codec in container.codecs]
        raise ConfigError(f"{path}: {path.suffix} cannot hold {codec}; end the name in {' or '.join(homes)}")
    return found


def _options(codec: VideoCodec, crf: int | None, info: MediaInfo) -> dict[str, str]:
    encoder = _ENCODERS[codec]
    if crf is None:
        crf = encoder.default_crf
    elif encoder.default_crf is None:
        raise ConfigError(f"crf is {crf}, but {codec} is lossless; leave crf out")
    elif not 0 <= crf <= encoder.worst_crf:
        raise ConfigError(f"crf is {crf}; for {codec} it must be 0 to {encoder.worst_crf}")
    options = dict(encoder.options)
    if crf is not None:
        options["crf"] = str(crf)
    if codec == "hevc":
        told = {"log-level": "error"}
        if info.hdr_light is not None:
            told |= info.hdr_light.x265()
        if info.width * info.height > _LARGE_PIXELS:
            told["rc-lookahead"] = str(_SHORT_LOOKAHEAD)
        options["x265-params"] = ":".join(f"{name}={value}" for name, value in told.items())
    elif codec == "h264" and info.width * info.height > _LARGE_PIXELS:
        options["rc-lookahead"] = str(_SHORT_LOOKAHEAD)
    return options


def _deep(info: MediaInfo) -> bool:
    return max(part.bits for part in av.VideoFormat(info.pixel_format).components) > 8


def _pixel_format(info: MediaInfo, codec: VideoCodec) -> str:
    """The source's pixel format if the encoder takes it, else the one that loses least."""
    # The "j" only says full range, which the range tag says as well; encoders want the plain name.
    name = info.pixel_format.replace("yuvj", "yuv")
    takes = [f for f in Codec(_ENCODERS[codec].name, "w").video_formats or [] if "yuvj" not in f.name]
    if codec != "ffv1":
        # Players show neither RGB nor see-through film in these, and the encoders refuse halves of pixels.
        takes = [f for f in takes if not f.is_rgb and not _has_alpha(f) and _divides(f, info)]
    names = [f.name for f in takes]
    if name in names:
        return name
    if names:
        best, _ = find_best_pix_fmt_of_list(names, name, _has_alpha(av.VideoFormat(name)))
        if best is not None:
            return best.name
    size = f"{info.width}x{info.height}"
    raise ConfigError(f"{info.path}: {codec} cannot hold {size} {name}; use h264, hevc or ffv1")


def _has_alpha(form: av.VideoFormat) -> bool:
    return any(part.is_alpha for part in form.components)


def _divides(form: av.VideoFormat, info: MediaInfo) -> bool:
    """True if the picture's size is a whole number of the format's colour samples."""
    parts = av.VideoFormat(form.name, 64, 64).components
    return all(info.width % (64 // p.width) == 0 and info.height % (64 // p.height) == 0 for p in parts)


def _film_clock_hz(tick: Fraction) -> int:
    """Steps per second in which whole ticks are exact, 1000 or more."""
    return tick.denominator * math.ceil(Fraction(1000, tick.denominator))

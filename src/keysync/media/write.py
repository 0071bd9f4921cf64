"""Frames and the new speech out: one file, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from jaxtyping import Float32

from keysync.config import VideoCodec
from keysync.errors import ConfigError
from keysync.media.failure import media_errors, require_file
from keysync.media.read import MediaInfo

MAX_RATE_HZ = 48000
_ENCODERS: dict[str, tuple[str, int | None, dict[str, str]]] = {  # encoder, default crf, options
    "h264": ("libx264", 16, {"preset": "fast"}),
    "hevc": ("libx265", 19, {"preset": "fast", "x265-params": "log-level=error"}),
    "av1": ("libsvtav1", 24, {"preset": "8"}),
    "ffv1": ("ffv1", None, {"level": "3", "slicecrc": "1"}),
}
_CONTAINERS = {  # what each ending may hold
    ".mp4": ("h264", "hevc", "av1"),
    ".m4v": ("h264", "hevc"),
    ".mov": ("h264", "hevc"),
    ".mkv": ("h264", "hevc", "av1", "ffv1"),
    ".webm": ("av1",),
    ".avi": ("h264", "ffv1"),
    ".nut": ("h264", "hevc", "ffv1"),
}


class VideoWriter:
    """Writes beside ``path`` and renames at the end; an error or a break leaves nothing behind.

    Frame times are kept exactly in MP4, MOV and NUT; Matroska and WebM know whole milliseconds only.
    The sound is ``audio`` at its own sample rate (48 kHz and two channels at most), starts with the
    first frame and lasts exactly as long as the picture: longer sound is cut, shorter is followed by
    silence.
    """

    def __init__(
        self, path: Path, info: MediaInfo, *, codec: VideoCodec, crf: int | None, audio: Path
    ) -> None:
        allowed = _CONTAINERS.get(path.suffix.lower())
        if allowed is None:
            raise ConfigError(f"{path}: cannot write '{path.suffix}' files; use {', '.join(_CONTAINERS)}")
        if codec not in allowed:
            homes = ", ".join(ending for ending, codecs in _CONTAINERS.items() if codec in codecs)
            raise ConfigError(f"{path}: {path.suffix} cannot hold {codec}; use {homes}")
        require_file(audio)
        self.path, self.info = path, info
        self._partial = path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")
        self._first: Fraction | None = None
        self._last, self._step = Fraction(0), 1 / (info.average_rate or Fraction(25))
        with media_errors(path, "write"):
            if not path.parent.is_dir():
                raise FileNotFoundError(None, "no such folder")
            if path.is_dir():
                raise IsADirectoryError(None, "is a directory")
            self._container = av.open(f"file:{self._partial}", "w", format=_muxer(path))
            try:
                self._video = self._video_stream(codec, crf)
                self._sound = _Sound(audio, self._container, path, lossless=codec == "ffv1")
            except BaseException:
                self._discard()
                raise

    def _video_stream(self, codec: VideoCodec, crf: int | None) -> av.VideoStream:
        name, default, options = _ENCODERS[codec]
        info, options = self.info, dict(options)
        quality = default if crf is None else crf
        if quality is not None:
            options["crf"] = str(min(quality, 51) if codec in ("h264", "hevc") else quality)
        stream = self._container.add_stream(name, rate=(info.average_rate or Fraction(25)), options=options)
        stream.width, stream.height = info.width, info.height
        stream.pix_fmt = _pixel_format(name, info)
        context = stream.codec_context
        stream.time_base = context.time_base = info.time_base
        context.color_primaries, context.color_trc = info.color_primaries, info.color_trc
        context.colorspace, context.color_range = info.color_space, info.color_range
        if info.pixel_format.startswith("yuvj"):
            context.color_range = 2
        stream.sample_aspect_ratio = info.sample_aspect_ratio or Fraction(1)
        if codec == "hevc" and self.path.suffix.lower() in (".mp4", ".m4v", ".mov"):
            context.codec_tag = "hvc1"  # players by Apple ask for it
        return stream

    def write(self, picture: av.VideoFrame, time: Fraction) -> None:
        """Append a frame; times must increase."""
        if self._first is None:
            self._first = time
        else:
            self._step = time - self._last
        self._last = time
        stream = self._video
        if picture.format.name != stream.pix_fmt:
            picture = picture.reformat(format=stream.pix_fmt)
        picture.time_base = self.info.time_base
        picture.pts = round(time / self.info.time_base)
        picture.pict_type = 0  # the source's choice of key frames is not ours
        with media_errors(self.path, "write"):
            self._container.mux(stream.encode(picture))
            self._sound.fill(self._first, time)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            with media_errors(self.path, "write"):
                self._container.mux(self._video.encode(None))
                if self._first is not None:
                    self._sound.fill(self._first, self._last + self._step)
                self._sound.finish()
                self._container.close()
                self._partial.replace(self.path)
        except BaseException:
            self._discard()
            raise

    def _discard(self) -> None:
        try:
            self._container.close()
        except (av.error.FFmpegError, OSError, ValueError):
            pass  # the file goes anyway
        finally:
            self._partial.unlink(missing_ok=True)


class _Sound:
    """The new speech, decoded a second time at its own quality and fed along with the picture."""

    def __init__(
        self, audio: Path, container: av.container.OutputContainer, target: Path, *, lossless: bool
    ) -> None:
        self._container, self._path = container, audio
        with media_errors(audio, "read"):
            self._source = av.open(f"file:{audio}", "r", metadata_errors="replace")
            stream = self._source.streams.audio[0]
        self.rate_hz = min(stream.rate, MAX_RATE_HZ)
        self._layout = "mono" if stream.codec_context.layout.nb_channels == 1 else "stereo"
        suffix = target.suffix.lower()
        if lossless and suffix != ".avi":
            codec = "flac"
        else:
            codec = {".webm": "libopus", ".avi": "pcm_s16le"}.get(suffix, "aac")
        if codec == "libopus":
            self.rate_hz = 48000
        self._stream = container.add_stream(codec, rate=self.rate_hz, layout=self._layout)
        if codec in ("aac", "libopus"):
            self._stream.bit_rate = 192_000 if self._layout == "stereo" else 128_000
        self._stream.time_base = self._stream.codec_context.time_base = Fraction(1, self.rate_hz)
        self._blocks = self._decode(stream)
        self._rest = np.zeros((2 if self._layout == "stereo" else 1, 0), np.float32)
        self._sent = 0  # samples

    def _decode(self, stream: av.AudioStream) -> Iterator[Float32[np.ndarray, "c n"]]:
        resampler = av.AudioResampler(format="fltp", layout=self._layout, rate=self.rate_hz)
        trim: int | None = None
        for packet in self._source.demux(stream):
            try:
                decoded = [*packet.decode(), *([None] if packet.dts is None and packet.size == 0 else [])]
            except av.error.InvalidDataError:
                continue  # the reader has warned of it
            for frame in decoded:
                if trim is None and frame is not None:
                    begin = frame.pts * frame.time_base if frame.pts is not None else 0
                    trim = round(-begin * self.rate_hz)
                    if trim < 0:
                        yield np.zeros((len(self._rest), -trim), np.float32)
                for piece in resampler.resample(frame):
                    block = np.nan_to_num(piece.to_ndarray(), nan=0.0, posinf=0.0, neginf=0.0)
                    cut = min(max(trim or 0, 0), block.shape[1])
                    trim = (trim or 0) - cut
                    yield block[:, cut:]

    def fill(self, start: Fraction, until: Fraction) -> None:
        """Encode up to the moment ``until``; silence once the speech is over."""
        wanted = round((until - start) * self.rate_hz) - self._sent
        while wanted > 0:
            if self._rest.shape[1] == 0:
                with media_errors(self._path, "read"):
                    block = next(self._blocks, None)
                silence = np.zeros((len(self._rest), min(wanted, self.rate_hz)), np.float32)
                self._rest = silence if block is None else block
                continue
            block, self._rest = self._rest[:, :wanted], self._rest[:, wanted:]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), "fltp", self._layout)
            frame.sample_rate, frame.time_base = self.rate_hz, Fraction(1, self.rate_hz)
            frame.pts = self._sent + round(start * self.rate_hz)
            self._container.mux(self._stream.encode(frame))
            self._sent += block.shape[1]
            wanted -= block.shape[1]

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._source.close()


def _muxer(path: Path) -> str:
    names = {".mkv": "matroska", ".m4v": "mp4"}
    return names.get(path.suffix.lower(), path.suffix.lower()[1:])


def _pixel_format(encoder: str, info: MediaInfo) -> str:
    """The source's own format where the encoder takes it, else the nearest in depth and chroma."""
    supported = {f.name for f in av.codec.Codec(encoder, "w").video_formats or ()}
    own = av.VideoFormat(info.pixel_format, info.width, info.height)
    deep = own.components[0].bits > 8
    name = info.pixel_format.replace("yuvj", "yuv")
    odd = encoder != "ffv1" and (info.width % 2 or info.height % 2)
    halved = any(c.width < info.width for c in own.components)
    candidates = [] if odd and halved else [name]
    if own.is_rgb:
        candidates.append("gbrp10le" if deep else "gbrp")
    if not odd and (halved or encoder == "libsvtav1" or len(own.components) == 1):
        candidates.append("yuv420p10le" if deep else "yuv420p")
    candidates += ["yuv444p10le" if deep else "yuv444p", "yuv420p"]
    return next(c for c in candidates if c in supported)

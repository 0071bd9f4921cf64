"""The new film's first sound: the speech, over the old sound where that is wanted."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.codec import Codec
from av.container import OutputContainer
from av.filter import Graph
from av.stream import Disposition
from jaxtyping import Float32

from keysync.media.failure import media_errors
from keysync.media.read import probe, read_sound, sound_format, sound_frame

_log = logging.getLogger(__name__)

_HIGHEST_RATE_HZ = 48_000
_STEP = 4096  # samples encoded at a time
_BIT_RATE = 192_000  # of lossy sound, per second
_PEAK = 0.97  # of mixed sound; lossy codecs overshoot a little

Blocks = Iterator[Float32[np.ndarray, "c n"]]


class SoundTrack:
    """The speech at its own quality, encoded little by little as the picture goes on."""

    def __init__(
        self,
        out: OutputContainer,
        path: Path,
        audio: Sequence[Path],
        codec: str,
        source: Path | None = None,
        background_db: float | None = None,
    ) -> None:
        """Add a track in ``codec`` to ``out``, which is to become ``path``.

        Args:
            audio: the new speech, or several that sound together.
            source: the film whose first sound goes under it if ``background_db`` says how loud.
        Raises:
            MediaError: a sound cannot be read.
        """
        formats = [sound_format(each) for each in audio]
        rate_hz, channels = (max(column) for column in zip(*formats, strict=True))
        background: Path | None = None
        if source is not None and background_db is not None:
            if probe(source).has_audio:
                background = source
                channels = max(channels, sound_format(source)[1])
            else:
                _log.warning("%s: has no sound to keep in the background", source)
        rate_hz = min(rate_hz, _HIGHEST_RATE_HZ)
        takes = Codec(codec, "w").audio_rates
        self._rate_hz = rate_hz if not takes or rate_hz in takes else _HIGHEST_RATE_HZ
        self._channels = min(channels, 2)
        self._out, self._path = out, path
        self._speech = [read_sound(a, rate_hz=self._rate_hz, channels=self._channels) for a in audio]
        self._under: Generator[Float32[np.ndarray, "c n"], None, None] | None = None
        if background is not None:
            self._under = read_sound(background, rate_hz=self._rate_hz, channels=self._channels)
        self._gain = np.float32(10 ** ((background_db or 0) / 20))
        self._ready: _Queue | None = None
        self._sent = 0  # samples encoded
        with media_errors(path, "write"):
            layout = _layout(self._channels)
            self._stream = cast(AudioStream, out.add_stream(codec, rate=self._rate_hz, layout=layout))
            self._stream.disposition = Disposition.default
            self._stream.codec_context.time_base = Fraction(1, self._rate_hz)
            if codec != "flac":
                self._stream.codec_context.bit_rate = _BIT_RATE

    def fill(self, first: Fraction, until: Fraction, shift: Fraction = Fraction(0)) -> None:
        """Encode the sound up to ``until``, for a picture that starts at ``first`` (seconds).

        Args:
            shift: seconds that the new film is later than the source.
        """
        if self._ready is None:
            self._ready = _Queue(self._blocks(first - shift), self._channels)
        wanted = math.ceil((until - first) * self._rate_hz)
        while self._sent < wanted:
            block = self._ready.take(min(wanted - self._sent, _STEP))
            frame = sound_frame(block, self._rate_hz)
            frame.pts = round(first * self._rate_hz) + self._sent
            frame.time_base = Fraction(1, self._rate_hz)
            with media_errors(self._path, "write"):
                self._out.mux(self._stream.encode(frame))
            self._sent += block.shape[1]

    def finish(self) -> None:
        """Encode what the encoder still holds."""
        with media_errors(self._path, "write"):
            self._out.mux(self._stream.encode(None))

    def close(self) -> None:
        """Close the sound files."""
        for speech in self._speech:
            speech.close()
        if self._under is not None:
            self._under.close()

    def _blocks(self, first: Fraction) -> Blocks:
        """The track from the first picture on, which the source shows at ``first`` (seconds)."""
        if self._under is None and len(self._speech) == 1:
            return self._speech[0]
        speech = [_Queue(each, self._channels) for each in self._speech]
        under = _Queue(self._under or iter(()), self._channels)
        ahead = round(first * self._rate_hz)
        for _ in range(ahead // _STEP):
            under.take(_STEP)
        under.take(max(ahead, 0) % _STEP)
        silence = np.zeros((self._channels, max(-ahead, 0)), np.float32)
        return _limited(_mixed(speech, under, self._gain, silence), self._rate_hz, self._channels)


class _Queue:
    """Blocks of any length in, of the length asked out; silence once they are over."""

    def __init__(self, blocks: Blocks, channels: int) -> None:
        self._blocks = blocks
        self._ready = np.zeros((channels, 0), np.float32)
        self.over = False

    def take(self, count: int) -> Float32[np.ndarray, "c n"]:
        """The next ``count`` samples."""
        parts = []
        while count > 0:
            if not self._ready.shape[1]:
                block = None if self.over else next(self._blocks, None)
                self.over = block is None
                self._ready = np.zeros((len(self._ready), count), np.float32) if block is None else block
            parts.append(self._ready[:, :count])
            self._ready = self._ready[:, count:]
            count -= parts[-1].shape[1]
        return np.concatenate(parts, axis=1) if parts else self._ready[:, :0]


def _mixed(
    speech: Sequence[_Queue], under: _Queue, gain: np.float32, silence: Float32[np.ndarray, "c n"]
) -> Iterator[Float32[np.ndarray, "c n"]]:
    while not (all(each.over for each in speech) and under.over):
        quiet, silence = silence[:, :_STEP], silence[:, _STEP:]
        below = np.concatenate([quiet, under.take(_STEP - quiet.shape[1])], axis=1)
        yield np.sum([each.take(_STEP) for each in speech], axis=0) + gain * below


def _limited(blocks: Blocks, rate_hz: int, channels: int) -> Iterator[Float32[np.ndarray, "c n"]]:
    """The same sound with its peaks at ``_PEAK`` or less, by FFmpeg's look-ahead limiter."""
    graph = Graph()
    layout = _layout(channels)
    source = graph.add_abuffer(
        sample_rate=rate_hz, format="fltp", layout=layout, time_base=Fraction(1, rate_hz)
    )
    # Without "level" it would make quiet sound louder; with "latency" no sample comes late.
    limiter = graph.add("alimiter", limit=str(_PEAK), level="0", latency="1")
    back = graph.add("aformat", sample_fmts="fltp", channel_layouts=layout)
    graph.link_nodes(source, limiter, back, graph.add("abuffersink")).configure()
    sent = 0
    for block in blocks:
        frame = sound_frame(block, rate_hz)
        frame.pts, frame.time_base = sent, Fraction(1, rate_hz)
        sent += block.shape[1]
        graph.push(frame)
        yield from _pulled(graph)
    graph.push(None)
    yield from _pulled(graph)


def _pulled(graph: Graph) -> Iterator[Float32[np.ndarray, "c n"]]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        yield cast("Float32[np.ndarray, 'c n']", frame.to_ndarray())


def _layout(channels: int) -> str:
    return "mono" if channels == 1 else "stereo"

"""What a film holds beside its picture and its first sound, copied into the new film as it is."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream

from keysync.media.failure import media_errors
from keysync.media.read import audio_stream, opened, origin_of, tick_of, video_stream

if TYPE_CHECKING:
    from av.container.core import Chapter  # a type only; PyAV has no such name when it runs

_log = logging.getLogger(__name__)

# The names that FFmpeg documents for every container; the rest is notes of encoders and cameras.
_TITLES = {
    *("album", "album_artist", "artist", "comment", "composer", "copyright", "creation_time", "date"),
    *("description", "disc", "genre", "keywords", "language", "performer", "publisher", "synopsis"),
    *("title", "track"),
}
_STREAM_TITLES = {"language", "title"}
# What a muxer says to a packet that it cannot take: one stream's trouble, not the film's.
_REFUSALS = (av.error.InvalidDataError, av.error.ArgumentError, av.error.PatchWelcomeError, ValueError)


@dataclass(slots=True)
class _Copy:
    """One stream on its way, and what it was called in the source."""

    stream: Stream
    name: str
    last: int | None = None  # decoding time of its last packet, steps of the new stream


class Carried:
    """Sound tracks after the first, subtitles, fonts, chapters and titles of ``source``, packet by packet.

    Nothing is decoded and nothing collected: memory does not grow with the length. What the new container
    cannot hold is left out and named in one warning.
    """

    def __init__(self, source: Path, out: OutputContainer, path: Path) -> None:
        """Add the streams to ``out``, which is to become ``path``; its header must not be written yet.

        Raises:
            MediaError: the source cannot be read.
        """
        self._source, self._out, self._path = source, out, path
        self._open = ExitStack()
        self._copies: dict[int, _Copy] = {}
        try:
            container = self._open.enter_context(opened(source))
            self._origin = origin_of(container)
            # Sound before zero is the run-in of its decoder. Matroska must know its length beforehand, else
            # it moves the whole film; only another Matroska file says it.
            matroska = {"matroska", "webm"}
            self._may_run_in = out.format.name not in matroska or bool(
                matroska & set(container.format.name.split(","))
            )
            self._choose(container)
            with media_errors(path, "write"):
                titles = {key.lower(): text for key, text in container.metadata.items()}
                out.metadata.update({key: text for key, text in titles.items() if key in _TITLES})
                out.set_chapters(_chapters(container, self._origin))
        except BaseException:
            self._open.close()
            raise
        self._packets = self._read(container)
        self._next: Packet[Stream] | None = None

    def fill(self, until: Fraction, shift: Fraction) -> None:
        """Copy what belongs before ``until`` (seconds in the new film).

        Args:
            shift: seconds that the new film is later than the source.
        Raises:
            MediaError: the source cannot be read, or writing failed.
        """
        while self._copies:
            if self._next is None:
                self._next = next(self._packets, None)
                if self._next is None:
                    return
            packet = self._next
            begins = _time(packet, packet.dts) - self._origin + shift
            if begins >= until:
                return
            self._next = None
            copy = self._copies.get(packet.stream_index)
            if copy is not None:
                self._mux(packet, copy, shift - self._origin)

    def close(self) -> None:
        """Close the source."""
        self._open.close()

    def _choose(self, container: InputContainer) -> None:
        """Add a stream to the new film for each that it can hold; the others are left out and named."""
        made_anew = {s.index for s in (video_stream(container), audio_stream(container)) if s is not None}
        refused = []
        for stream in container.streams:
            # What the demuxer itself hides is a helper: MP4 keeps its chapters in such a track.
            if stream.index in made_anew or stream.discard == Discard.all:
                continue
            name = _name(stream)
            if _fits(stream, self._out.format.name):
                self._copies[stream.index] = _Copy(_add(stream, self._out), name)
            else:
                refused.append(name)
        if refused:
            _log.warning(
                "%s: %s cannot hold what the source has beside picture and sound: %s; left out",
                self._path, self._path.suffix, ", ".join(refused),
            )  # fmt: skip
        for stream in container.streams:
            if stream.index not in self._copies:
                stream.discard = Discard.all

    def _read(self, container: InputContainer) -> Iterator[Packet[Stream]]:
        packets = container.demux()
        while True:
            with media_errors(self._source, "read"):
                try:
                    packet = next(packets, None)
                except av.error.InvalidDataError:
                    packet = None  # a damaged end: the film's own reader has said so
            if packet is None:
                return
            # The packets that close the streams have no time and nothing in them.
            if packet.stream_index in self._copies and packet.dts is not None and packet.size:
                yield packet

    def _mux(self, packet: Packet[Stream], copy: _Copy, shift: Fraction) -> None:
        tick = tick_of(copy.stream)
        dts = round((_time(packet, packet.dts) + shift) / tick)
        pts = dts if packet.pts is None else round((_time(packet, packet.pts) + shift) / tick)
        length = round(_time(packet, packet.duration) / tick)
        if pts < 0 and not (copy.stream.type == "audio" and self._may_run_in):
            return
        if copy.last is not None:
            dts = max(dts, copy.last + 1)  # rounding may bring two to one step
        copy.last, pts = dts, max(pts, dts)
        packet.stream = copy.stream
        packet.time_base = tick
        packet.dts, packet.pts, packet.duration = dts, pts, length
        with media_errors(self._path, "write"):
            try:
                self._out.mux_one(packet)
            except _REFUSALS as error:
                _log.warning("%s: %s is damaged; it ends early (%s)", self._path, copy.name, error)
                self._copies = {key: other for key, other in self._copies.items() if other is not copy}


def _time(packet: Packet[Stream], ticks: int | None) -> Fraction:
    return (ticks or 0) * packet.time_base


def _name(stream: Stream) -> str:
    kind = {"video": "picture", "audio": "sound"}.get(stream.type, stream.type)
    codec = getattr(stream.codec_context, "name", None) or "unknown"
    language = stream.metadata.get("language", "und")
    return (
        f"{kind} {stream.index} ({codec})"
        if language == "und"
        else f"{kind} {stream.index} ({codec}, {language})"
    )


def _fits(stream: Stream, muxer: str) -> bool:
    """Whether the container takes the stream: a film of it alone is begun in memory."""
    if stream.type not in ("audio", "subtitle", "attachment"):
        return False
    if stream.type == "attachment" and muxer != "matroska":
        return False
    try:
        with av.open(io.BytesIO(), "w", format=muxer) as trial:
            _add(stream, trial)
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _add(stream: Stream, out: OutputContainer) -> Stream:
    added = out.add_stream_from_template(stream)
    if stream.type != "attachment":
        added.metadata.update(_titles(stream, out.format.name))
        # The new speech is the sound to play first.
        added.disposition = stream.disposition & ~Disposition.default
    return added


def _titles(stream: Stream, muxer: str) -> dict[str, str]:
    titles = {key: text for key, text in stream.metadata.items() if key in _STREAM_TITLES}
    # MP4 and MOV keep a track's title as the name of its handler, where most programs write their own.
    handler = stream.metadata.get("handler_name", "")
    if handler and not handler.lower().endswith("handler"):
        titles.setdefault("title", handler)
    if muxer in ("mp4", "mov") and "title" in titles:
        titles["handler_name"] = titles["title"]
    return titles


def _chapters(container: InputContainer, origin: Fraction) -> list[Chapter]:
    kept: list[Chapter] = []
    for chapter in container.chapters():
        tick = chapter["time_base"]
        if not tick:
            continue
        moved = round(origin / tick)
        begin, end = max(chapter["start"] - moved, 0), max(chapter["end"] - moved, 0)
        if begin < end:
            titles = {key: text for key, text in chapter["metadata"].items() if key in _STREAM_TITLES}
            kept.append({**chapter, "start": begin, "end": end, "metadata": titles})
    return kept

"""Interlaced film to whole pictures, one for one."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.filter import Graph

from keysync.clip import Frame

_log = logging.getLogger(__name__)

_LEAST_WIDTH, _LEAST_HEIGHT = 3, 4  # pixels that the filter needs


@dataclass(frozen=True, slots=True)
class _Clock:
    time: Fraction  # seconds
    pts: int | None
    duration: int
    time_base: Fraction | None
    interlaced: bool


def deinterlaced(frames: Iterator[Frame], path: Path) -> Iterator[tuple[Frame, bool]]:
    """``frames`` with both fields of each interlaced one brought to one moment; others pass as they are.

    Number and times of the frames stay. The work is done by FFmpeg's motion-adaptive filter bwdif, which
    looks one frame ahead. With each frame goes whether it was interlaced.
    """
    graph: Graph | None = None
    inside: deque[_Clock] = deque()  # of the frames in the filter
    for number, frame in enumerate(frames):
        picture = frame.picture
        if graph is None and picture.interlaced_frame and _large_enough(picture):
            _log.warning("%s: is interlaced; it is deinterlaced and stays so in the output", path)
            graph = _graph(picture)
        if graph is None:
            yield frame, picture.interlaced_frame
            continue
        inside.append(
            _Clock(frame.time, picture.pts, picture.duration, picture.time_base, picture.interlaced_frame)
        )
        # Numbers instead of times: the filter halves its clock, and times need not fit into it.
        picture.pts, picture.time_base = number, Fraction(1)
        graph.push(picture)
        yield from _ready(graph, inside)
    if graph is not None:
        graph.push(None)
        yield from _ready(graph, inside)


def _large_enough(picture: av.VideoFrame) -> bool:
    return picture.width >= _LEAST_WIDTH and picture.height >= _LEAST_HEIGHT


def _graph(picture: av.VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add(
        "buffer",
        video_size=f"{picture.width}x{picture.height}",
        pix_fmt=picture.format.name,
        time_base="1/1",
        pixel_aspect="1/1",
        colorspace=str(int(picture.colorspace)),
        range=str(int(picture.color_range)),
    )
    filters = [source, graph.add("bwdif", mode="send_frame", deint="interlaced"), graph.add("buffersink")]
    graph.link_nodes(*filters).configure()
    return graph


def _ready(graph: Graph, inside: deque[_Clock]) -> Iterator[tuple[Frame, bool]]:
    while True:
        try:
            picture = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        clock = inside.popleft()
        picture.pts, picture.duration = clock.pts, clock.duration
        picture.time_base = clock.time_base or Fraction(1)
        yield Frame(picture=picture, time=clock.time), clock.interlaced

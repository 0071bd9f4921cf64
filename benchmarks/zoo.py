"""Odd files in, the promised outcome out: small films and sounds, made here, through ``keysync sync``.

    python benchmarks/zoo.py [WORD …]

Prints one line for each; with words, only for those whose name holds one of them. Ends with 1 if any
differs from its expected outcome, shows a traceback, takes over 60 seconds or leaves a file behind.
About 10 minutes on two cores.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
from av.codec.context import Flags
from jaxtyping import Float32, UInt8

import keysync
from keysync.media.read import probe, read_frames

SAMPLE = Path(keysync.__file__).parent / "sample"
LIMIT_S = 60
SIZE, COUNT = 192, 12  # pixels a side and frames of a usual film
RATE_HZ = 16_000

Pictures = list[UInt8[np.ndarray, "h w 3"]]
Make = Callable[[Path], object]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One file or pair of files, and what must come of it."""

    name: str  # of the film, in a folder of its own
    make: Make
    speech: Callable[[Path], object] | None = None  # given the speech's path; None takes the sample's
    speech_name: str = "speech.wav"
    output: str = "out.mp4"
    options: Sequence[str] = ()
    code: int = 0
    says: str = ""  # pattern of the one error line, or of a warning
    frames: tuple[int, int] = (COUNT, COUNT)  # least and most
    synced: tuple[int, int] | None = None  # least and most; None: every frame
    size: tuple[int, int] = (SIZE, SIZE)
    pixels: str = "yuv420p"
    tracks: int = 2  # streams in the output


@cache
def faces() -> tuple[UInt8[np.ndarray, "h w 3"], ...]:
    """The shipped drawn head, small."""
    pictures = []
    for frame in read_frames(SAMPLE / "head.mp4"):
        pictures.append(cv2.resize(frame.rgb(), (SIZE, SIZE), interpolation=cv2.INTER_AREA))
        if len(pictures) == 24:
            break
    return tuple(pictures)


def usual() -> Pictures:
    return list(faces()[:COUNT])


def film(
    path: Path,
    *,
    pictures: Pictures | None = None,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    muxer: str | None = None,
    rate: Fraction | int = 25,
    times: Sequence[Fraction] | None = None,
    rotation: int = 0,
    tags: tuple[int, int, int, int] | None = None,
    interlaced: bool = False,
    sound: bool = False,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
) -> None:
    """Write pictures as a film; ``tags`` are primaries, curve, matrix and range as in ITU-T H.273."""
    pictures = pictures or usual()
    with av.open(str(path), "w", format=muxer, options=container or {}) as out:
        stream = out.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        context = stream.codec_context
        context.time_base = Fraction(1, 90_000) if times else 1 / Fraction(rate)
        context.bit_rate = 2_000_000
        if interlaced:
            context.flags |= Flags.interlaced_dct | Flags.interlaced_me
        if tags:
            context.color_primaries, context.color_trc, context.colorspace, context.color_range = tags
        if rotation:
            stream.set_display_rotation(rotation)
        track = out.add_stream("aac", rate=48_000, layout="mono") if sound else None
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format=pixels)
            frame.pts = round(times[index] / context.time_base) if times else index
            frame.time_base = context.time_base
            out.mux(stream.encode(frame))
        if track is not None:
            samples = np.full((1, 48_000 * len(pictures) // 25), 0.1, np.float32)
            block = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            block.sample_rate = 48_000
            out.mux(track.encode(block))
            out.mux(track.encode(None))
        out.mux(stream.encode(None))


def say(
    path: Path,
    samples: Float32[np.ndarray, "c n"] | None = None,
    *,
    rate_hz: int = RATE_HZ,
    layout: str = "mono",
    codec: str = "pcm_f32le",
    muxer: str | None = None,
) -> None:
    """Write samples, by default half a second of buzz, as a sound file."""
    channels = len(av.AudioLayout(layout).channels)
    if samples is None:
        buzz = 0.3 * np.sign(np.sin(2 * np.pi * 130 * np.arange(rate_hz // 2) / rate_hz))
        samples = np.repeat(buzz[None].astype(np.float32), channels, axis=0)
    with av.open(str(path), "w", format=muxer) as out:
        stream = out.add_stream(codec, rate=rate_hz, layout=layout)
        out.start_encoding()  # else a file without samples is not even begun
        if samples.shape[1]:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout)
            frame.sample_rate = rate_hz
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def made(**how: object) -> Make:
    return lambda path: film(path, **how)  # type: ignore[arg-type]


def said(**how: object) -> Make:
    return lambda path: say(path, **how)  # type: ignore[arg-type]


def cut(share: float, **how: object) -> Make:
    """A film of which only the first ``share`` is there."""

    def make(path: Path) -> None:
        film(path, **how)  # type: ignore[arg-type]
        data = path.read_bytes()
        path.write_bytes(data[: round(len(data) * share)])

    return make


def spoiled(seed: int, bytes_changed: int, **how: object) -> Make:
    """A film with random bytes changed behind its header."""

    def make(path: Path) -> None:
        film(path, **how)  # type: ignore[arg-type]
        data = bytearray(path.read_bytes())
        rng = np.random.default_rng(seed)
        for place in rng.integers(len(data) // 2, len(data), bytes_changed):
            data[place] ^= int(rng.integers(1, 256))
        path.write_bytes(data)

    return make


def linked(to: str) -> Make:
    def make(path: Path) -> None:
        if to == "film":
            film(path.with_name("real.mp4"))
            path.symlink_to("real.mp4")
        else:
            path.symlink_to(path.name if to == "itself" else "nothing.mp4")

    return make


def renamed(inner: str, **how: object) -> Make:
    """A film whose name says another container than it is."""

    def make(path: Path) -> None:
        film(path.with_name(inner), **how)  # type: ignore[arg-type]
        path.with_name(inner).rename(path)

    return make


def giant(path: Path) -> None:
    """An AVI whose header says 100,000 x 100,000."""
    film(path, codec="rawvideo")  # which has no size of its own
    data = bytearray(path.read_bytes())
    place = data.index(b"strf") + 12  # chunk name, its length, then the header's own length
    data[place : place + 8] = (100_000).to_bytes(4, "little") * 2
    path.write_bytes(data)


def two_faces() -> Pictures:
    return [np.hstack([picture, picture[:, ::-1]]) for picture in usual()]


def leaving() -> Pictures:
    bare = np.full((SIZE, SIZE, 3), 120, np.uint8)
    return [picture if not 4 <= index < 8 else bare for index, picture in enumerate(usual())]


def three_cuts() -> Pictures:
    shots = [lambda p: p, lambda p: p[:, ::-1], lambda p: 255 - (255 - p) // 2, lambda p: p[8:-8, 8:-8]]
    shown = [shots[index // 3](picture) for index, picture in enumerate(usual())]
    return [cv2.resize(picture, (SIZE, SIZE)) for picture in shown]


def patterns() -> Pictures:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8) for _ in range(COUNT)]


def turned(quarters: int) -> Pictures:
    return [np.rot90(picture, -quarters) for picture in usual()]


def odd() -> Pictures:
    return [picture[:-1, :-3] for picture in usual()]


def with_nan() -> Float32[np.ndarray, "1 n"]:
    sound = np.full((1, RATE_HZ // 2), 0.2, np.float32)
    sound[0, ::7] = np.nan
    return sound


def steps(*milliseconds: int) -> list[Fraction]:
    return [Fraction(value, 1000) for value in milliseconds]


_UNEVEN = steps(0, 40, 81, 120, 200, 240, 250, 290, 390, 420, 450, 520)
_LATE = [Fraction(3) + Fraction(index, 25) for index in range(COUNT)]
_PQ, _HLG = (9, 16, 9, 1), (9, 18, 9, 1)
_DAMAGED = r"is damaged, cut short, or no media file"

CASES = [
    # codecs and containers
    Case(name="h264.mp4", make=made()),
    Case(name="h264.mov", make=made()),
    Case(name="h264.mkv", make=made()),
    Case(name="h264.ts", make=made()),
    Case(name="h264.flv", make=made()),
    Case(name="bare.h264", make=made(muxer="h264")),
    Case(name="hevc.mp4", make=made(codec="libx265", options={"x265-params": "log-level=error"})),
    Case(name="av1.mkv", make=made(codec="libsvtav1", options={"preset": "11"})),
    Case(name="vp8.webm", make=made(codec="libvpx")),
    Case(name="vp9.webm", make=made(codec="libvpx-vp9")),
    Case(name="mpeg4.avi", make=made(codec="mpeg4")),
    Case(name="mpeg2.mpg", make=made(codec="mpeg2video")),
    Case(name="mjpeg.avi", make=made(codec="mjpeg", pixels="yuvj420p", tags=(1, 1, 1, 2)), pixels="yuvj420p"),
    Case(name="wmv2.wmv", make=made(codec="wmv2")),
    Case(name="ffv1.mkv", make=made(codec="ffv1")),
    Case(name="prores.mov", make=made(codec="prores_ks", pixels="yuv422p10le"), pixels="yuv422p10le"),
    Case(name="png.mov", make=made(codec="png", pixels="rgb24"), pixels="yuv444p"),
    Case(name="raw.avi", make=made(codec="rawvideo")),
    Case(name="webm out.mp4", make=made(), output="out.webm", options=("--video-codec", "av1")),
    Case(name="lossless out.mp4", make=made(), output="out.mkv", options=("--video-codec", "ffv1")),
    # pixels
    Case(name="444.mkv", make=made(pixels="yuv444p"), pixels="yuv444p"),
    Case(name="422.mkv", make=made(pixels="yuv422p"), pixels="yuv422p"),
    Case(name="full range.mkv", make=made(pixels="yuvj420p", tags=(1, 1, 1, 2)), pixels="yuvj420p"),
    Case(name="gray.mkv", make=made(codec="ffv1", pixels="gray")),
    Case(name="rgb.mkv", make=made(codec="ffv1", pixels="bgr0"), pixels="yuv444p"),
    Case(name="10 bit.mkv", make=made(pixels="yuv420p10le"), pixels="yuv420p10le", says="written as hevc"),
    Case(name="pq.mkv", make=made(pixels="yuv420p10le", tags=_PQ), pixels="yuv420p10le"),
    Case(name="hlg.mkv", make=made(pixels="yuv420p10le", tags=_HLG), pixels="yuv420p10le"),
    Case(
        name="odd.mkv",
        make=made(codec="ffv1", pictures=odd()),
        size=(SIZE - 3, SIZE - 1),
        pixels="yuv444p",
    ),
    Case(name="alpha.mkv", make=made(codec="ffv1", pixels="yuva420p"), code=3, says="see-through"),
    # times and place
    Case(name="23.976.mp4", make=made(rate=Fraction(24000, 1001))),
    Case(name="60.mp4", make=made(rate=60)),
    Case(name="uneven.mp4", make=made(times=_UNEVEN)),
    Case(name="late.mp4", make=made(times=_LATE)),
    Case(name="turned 90.mp4", make=made(pictures=turned(1), rotation=90)),
    Case(name="turned 180.mp4", make=made(pictures=turned(2), rotation=180)),
    Case(name="turned 270.mp4", make=made(pictures=turned(3), rotation=270)),
    Case(name="interlaced.mpg", make=made(codec="mpeg2video", interlaced=True), says="interlaced"),
    # people
    Case(name="one frame.mp4", make=made(pictures=usual()[:1]), frames=(1, 1)),
    Case(name="two faces.mp4", make=made(pictures=two_faces()), size=(2 * SIZE, SIZE)),
    Case(name="leaving.mp4", make=made(pictures=leaving()), synced=(4, 8)),
    # A mirrored face is somebody else.
    Case(name="three cuts.mp4", make=made(pictures=three_cuts()), options=("--speaker", "all")),
    Case(name="nobody.mp4", make=made(pictures=patterns()), code=3, says="no face"),
    # broken
    Case(name="empty.mp4", make=lambda path: path.touch(), code=3, says="the file is empty"),
    Case(name="text.mp4", make=lambda p: p.write_text("no film\n" * 99), code=3, says="media file|neither"),
    Case(
        name="noise.mp4",
        make=lambda path: path.write_bytes(np.random.default_rng(0).bytes(50_000)),
        code=3,
        says="media file|neither",
    ),
    Case(name="head only.mp4", make=cut(0.005), code=3, says=_DAMAGED),
    Case(name="no index.mp4", make=cut(0.7), code=3, says=_DAMAGED),
    Case(name="cut.mkv", make=cut(0.6, codec="ffv1"), frames=(2, COUNT - 1)),
    Case(name="cut early.mkv", make=cut(0.3, codec="ffv1"), frames=(1, COUNT // 2)),
    Case(name="cut.ts", make=cut(0.8), frames=(1, COUNT)),
    Case(
        name="cut index first.mp4",
        make=cut(0.7, codec="mpeg4", container={"movflags": "faststart"}),
        frames=(1, COUNT - 1),
    ),
    Case(name="spoiled.avi", make=spoiled(1, 40, codec="mpeg4"), frames=(1, COUNT), synced=(1, COUNT)),
    Case(name="spoiled.mkv", make=spoiled(2, 40, codec="ffv1"), frames=(1, COUNT), synced=(1, COUNT)),
    Case(name="giant.avi", make=giant, code=3, says="100000x100000|damaged"),
    # not a film
    Case(name="sound.wav", make=say, code=3, says="holds no picture"),
    Case(
        name="picture.png",
        make=made(pictures=usual()[:1], codec="png", pixels="rgb24"),
        frames=(1, 1),
        pixels="yuv444p",
    ),
    Case(name="list.m3u8", make=lambda p: p.write_text("#EXTM3U\n#EXTINF:1,\nx.ts\n"), code=3, says="list"),
    Case(name="missing.mp4", make=lambda _: None, code=3, says="no such file"),
    Case(name="folder.mp4", make=lambda path: path.mkdir(), code=3, says="is a folder"),
    Case(name="pipe.mp4", make=lambda path: os.mkfifo(path), code=3, says="is a pipe"),
    # names
    Case(name="with 'quotes\" and spaces.mp4", make=made()),
    Case(name="emoji 🗣 影 %03d.mp4", make=made()),
    Case(name="matroska.mp4", make=renamed("film.mkv")),
    Case(name="mpeg4.webm", make=renamed("film.mp4")),
    Case(name="link.mp4", make=linked("film")),
    Case(name="broken link.mp4", make=linked("nothing"), code=3, says="no such file"),
    Case(name="circle.mp4", make=linked("itself"), code=3, says="circle"),
    # speech
    Case(name="mono 8 kHz.mp4", make=made(), speech=said(rate_hz=8000)),
    Case(name="5.1 at 96 kHz.mp4", make=made(), speech=said(rate_hz=96_000, layout="5.1")),
    Case(name="u8.mp4", make=made(), speech=said(codec="pcm_u8")),
    Case(name="nan.mp4", make=made(), speech=lambda p: say(p, with_nan()), says="no number"),
    Case(name="silence.mp4", make=made(), speech=lambda p: say(p, np.zeros((1, 8000), np.float32))),
    Case(
        name="no samples.mp4",
        make=made(),
        speech=lambda p: say(p, np.zeros((1, 0), np.float32)),
        code=3,
        says="holds nothing",
    ),
    Case(name="wrong ending.mp4", make=made(), speech=said(muxer="wav"), speech_name="speech.mp3"),
    Case(name="speech in a film.mp4", make=made(), speech=made(sound=True), speech_name="speech.mp4"),
    Case(
        name="mute speech.mp4",
        make=made(),
        speech=made(),
        speech_name="speech.mp4",
        code=3,
        says="no sound",
    ),
    # the output
    Case(name="no folder.mp4", make=made(), output="none/out.mp4", code=2, says="folder does not exist"),
    Case(name="no container.mp4", make=made(), output="out.xyz", code=2, says=r"cannot write \.xyz"),
]


def run(case: Case, folder: Path) -> str:
    """Make the files and sync them; returns what differs from the expected outcome, or nothing."""
    inputs, outputs, scratch = (folder / name for name in ("in", "out", "tmp"))
    for path in (inputs, outputs, scratch):
        path.mkdir()
    video, speech, output = inputs / case.name, inputs / case.speech_name, outputs / case.output
    case.make(video)
    if case.speech is None:
        say(speech)
    else:
        case.speech(speech)
    before = sorted(inputs.iterdir())
    report = folder / "report.json"
    command = [
        *(sys.executable, "-c", "from keysync.interfaces.cli import main; main()"),
        *("sync", str(video), str(speech)),
        *("-o", str(output), "--model", "compact", "--device", "cpu", "--length", "video"),
        *("--json", str(report), *case.options),
    ]
    environment = {**os.environ, "TMPDIR": str(scratch), "COLUMNS": "1000"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_S, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return f"took over {LIMIT_S} s"
    left = sorted(inputs.iterdir()) != before or any(scratch.iterdir())
    left = left or {path.name for path in outputs.iterdir()} != ({case.output} if case.code == 0 else set())
    words = done.stdout + done.stderr
    if "Traceback" in words:
        return f"traceback: {done.stderr.strip().splitlines()[-1]}"
    if done.returncode != case.code:
        return f"exit code {done.returncode}: {_errors(done.stderr) or words[-200:]}"
    if case.says and not re.search(case.says, words):
        return f"does not say '{case.says}': {_errors(words)}"
    if case.code and len(_errors(done.stderr)) != 1:
        return f"not one line: {_errors(done.stderr)}"
    if left:
        return f"left behind: {[path.name for path in (*outputs.iterdir(), *scratch.iterdir())]}"
    return "" if case.code else _differs(case, output, report)


def _errors(words: str) -> list[str]:
    return [line for line in words.splitlines() if line.startswith("error:")]


def _differs(case: Case, output: Path, report: Path) -> str:
    info = probe(output)
    count = sum(1 for _ in read_frames(output))
    if not case.frames[0] <= count <= case.frames[1]:
        return f"{count} frames"
    least, most = case.synced or (count, count)
    synced = json.loads(report.read_text())["synced"]
    if not least <= synced <= most:
        return f"{synced} synced of {count}"
    if (info.width, info.height, info.pixel_format) != (*case.size, case.pixels):
        return f"{info.width}x{info.height} {info.pixel_format}"
    with av.open(str(output)) as container:
        tracks = len(container.streams)
    return "" if tracks == case.tracks else f"{tracks} tracks"


def main() -> None:
    os.environ.setdefault("SVT_LOG", "1")  # else the AV1 encoder prints a page of text
    words = sys.argv[1:]
    cases = [case for case in CASES if not words or any(word in case.name for word in words)]
    wrong = 0
    print("| file | expected | outcome |\n|---|---|---|", flush=True)
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            differs = run(case, Path(folder))
        wrong += bool(differs)
        least, most = case.frames
        expected = f"exit {case.code}: {case.says}" if case.code else f"{least} to {most} frames"
        print(f"| {case.name} | {expected} | {differs or 'as expected'} |", flush=True)
    print(f"\n{len(cases) - wrong} of {len(cases)} as expected")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

"""Damaged films through ``keysync check`` and the reader: no crash, no hang, no surprise, under 1 GB.

    python benchmarks/fuzz.py [COUNT]

COUNT (default 500) damages, drawn by seed: bytes changed, or the end cut off, in one of five small films of
the shipped drawn head. Each is checked as ``keysync check`` does, with its own sound as the speech, and then
read to its end, picture and sound, in a process that loads everything once and may then take 1 GB.
Prints how often each outcome came and the most memory that was in use; ends with 1 after a crash, a hang,
an exception that is none of ours or more memory than 1 GB.
"""

from __future__ import annotations

import collections
import re
import select
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
from av.container.core import Flags as ContainerFlags
from jaxtyping import UInt8

import keysync
from keysync.media.read import read_frames

SAMPLE = Path(keysync.__file__).parent / "sample"
WIDTH, HEIGHT, FRAMES = 112, 96, 12
LIMIT_S = 60  # of one damaged film, on a machine that may be busy
MEMORY_BYTES = 1_000_000_000

_WORKER = """
import gc, logging, os, resource, sys
from pathlib import Path
from keysync.check import check_file
from keysync.config import SyncConfig
from keysync.errors import KeySyncError
from keysync.face.track import face_tracker
from keysync.media.read import probe, read_frames, read_speech
from keysync.models import compact_ear
from keysync.outline import outline
logging.disable()
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever a library prints is no answer
known = outline("compact")
face_tracker(), compact_ear()
# Libraries that are loaded take addresses, not memory: the limit is what may come on top.
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + int(sys.argv[1]),) * 2)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
for line in sys.stdin:
    path = Path(line.rstrip("\\n"))
    # Decoders of refused films keep their threads until they are collected; a command would end by now.
    gc.collect()
    said = []
    for name, read in (
        ("check", lambda path: check_file(path, path, model=known, config=SyncConfig()).report.summary()),
        ("probe", probe),
        ("frames", lambda path: sum(1 for _ in read_frames(path))),
        ("speech", lambda path: read_speech(path).close()),
    ):
        try:
            read(path)
            said.append(name + " done")
        except KeySyncError as error:
            memory = "not enough memory" in str(error)
            said.append(name + (" refused: memory" if memory else " refused"))
            assert "\\n" not in str(error)
        except Exception as error:
            said.append(f"{name} SURPRISE {type(error).__name__}: {error}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(" | ".join([*said, f"{peak} MB"]).replace("\\n", " "), file=answers, flush=True)
"""


@dataclass(frozen=True)
class Seed:
    """A small healthy film."""

    name: str
    codec: str
    pixels: str = "yuv420p"
    sound: str = "aac"


SEEDS = [
    Seed("h264.mp4", "libx264"),
    Seed("ffv1.mkv", "ffv1", "yuv420p10le", "flac"),
    Seed("mpeg4.avi", "mpeg4", sound="pcm_s16le"),
    Seed("vp9.webm", "libvpx-vp9", sound="libopus"),
    Seed("mpeg2.ts", "mpeg2video", sound="mp2"),
]


@cache
def heads() -> list[UInt8[np.ndarray, "h w 3"]]:
    """The first frames of the sample, small."""
    frames = (frame.rgb() for frame, _ in zip(read_frames(SAMPLE / "head.mp4"), range(FRAMES), strict=False))
    return [cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for picture in frames]


def make(seed: Seed, path: Path) -> bytes:
    """Half a second of a head and a tone."""
    with av.open(str(path), "w") as out:
        out.flags |= ContainerFlags.bitexact.value  # no random numbers: the same damage each time
        video = out.add_stream(seed.codec, rate=25)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, seed.pixels
        sound = out.add_stream(seed.sound, rate=48_000, layout="stereo")
        for index, picture in enumerate(heads()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=seed.pixels)
            frame.pts = index
            out.mux(video.encode(frame))
        tone = (0.3 * np.sin(np.arange(24_000) / 20)).astype(np.float32)
        block = av.AudioFrame.from_ndarray(np.stack([tone, tone]), "fltp", "stereo")
        block.sample_rate, block.pts, block.time_base = 48_000, 0, Fraction(1, 48_000)
        resampled = av.AudioResampler(sound.format.name, "stereo", 48_000, sound.frame_size or None)
        for part in (*resampled.resample(block), *resampled.resample(None)):
            out.mux(sound.encode(part))
        out.mux(video.encode(None))
        out.mux(sound.encode(None))
    return path.read_bytes()


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """One in four times cut short, else up to 32 bytes changed, half of the times near the start."""
    if rng.random() < 0.25:
        return data[: rng.integers(len(data))]
    out = bytearray(data)
    reach = min(len(data), 2048) if rng.random() < 0.5 else len(data)
    for place in rng.integers(0, reach, rng.integers(1, 33)):
        out[place] ^= int(rng.integers(1, 256))
    return bytes(out)


class Worker:
    """Check and reader in a process of their own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(MEMORY_BYTES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # codecs talk
            text=True,
        )

    def read(self, path: Path) -> str:
        """What came of ``path``; after a CRASH or a HANG the process is gone."""
        assert self._process.stdin
        assert self._process.stdout
        print(path, file=self._process.stdin, flush=True)
        if not select.select([self._process.stdout], [], [], LIMIT_S)[0]:
            self.close()
            return "HANG"
        line = self._process.stdout.readline().strip()
        if not line:
            self.close()
            return f"CRASH {self._process.returncode}"
        return line

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    outcomes: collections.Counter[str] = collections.Counter()
    bad = []
    peak_mb = 0
    worker = Worker()
    with tempfile.TemporaryDirectory() as folder:
        healthy = [make(seed, Path(folder) / seed.name) for seed in SEEDS]
        for seed in SEEDS:
            outcome = worker.read(Path(folder) / seed.name)
            if not outcome.startswith("check done | probe done | frames done | speech done"):
                bad.append(f"{seed.name} undamaged: {outcome}")
        for number in range(count):
            rng = np.random.default_rng(number)
            which = int(rng.integers(len(SEEDS)))
            path = Path(folder) / f"{number}-{SEEDS[which].name}"
            path.write_bytes(damaged(healthy[which], rng))
            outcome = worker.read(path)
            path.unlink()
            for part in outcome.split(" | "):
                if part.endswith(" MB"):
                    peak_mb = max(peak_mb, int(part.removesuffix(" MB")))
                else:
                    outcomes[part] += 1
            if re.search("SURPRISE|HANG|CRASH", outcome):
                bad.append(f"damage {number} of {SEEDS[which].name}: {outcome}")
            if re.search("HANG|CRASH", outcome):
                worker = Worker()
    worker.close()
    print("| outcome | times |\n|---|---|")
    for outcome, times in sorted(outcomes.items()):
        print(f"| {outcome} | {times} |")
    print(f"most memory in use: {peak_mb} MB")
    if peak_mb >= MEMORY_BYTES / 1e6:
        bad.append(f"{peak_mb} MB in use")
    print(*bad, f"{len(bad)} of {count} failed", sep="\n")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

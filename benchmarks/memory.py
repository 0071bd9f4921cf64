"""Peak memory over length: the shipped sample, looped and scaled to 720p, in two lengths.

    python benchmarks/memory.py [SHORT_S LONG_S]

Defaults 60 and 600 seconds (about an hour on two cores). Each length runs in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

import keysync
from keysync.media.read import read_frames

SAMPLE = Path(keysync.__file__).parent / "sample"
_RUN = """
import resource, sys
from keysync import load_models, sync_file
report = sync_file(sys.argv[1], sys.argv[1], sys.argv[2], models=load_models("compact", "cpu"))
print(report.frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def looped(path: Path, seconds: int) -> None:
    """The sample forwards and backwards at 1280x720 and 25 frames per second, with a noisy sound track."""
    pictures = [frame.rgb() for frame in read_frames(SAMPLE / "head.mp4")]
    order = [*range(len(pictures)), *range(len(pictures) - 2, 0, -1)]
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "20"})
        video.width, video.height, video.pix_fmt = 1280, 720, "yuv420p"
        sound = container.add_stream("flac", rate=16000, layout="mono")
        for index in range(25 * seconds):
            wide = np.zeros((720, 1280, 3), np.uint8)
            wide[:, 280:1000] = cv2.resize(pictures[order[index % len(order)]], (720, 720))
            container.mux(video.encode(av.VideoFrame.from_ndarray(wide, format="rgb24")))
            block = av.AudioFrame.from_ndarray(
                rng.integers(-3000, 3000, (1, 640)).astype(np.int16), format="s16", layout="mono"
            )
            block.sample_rate, block.pts, block.time_base = 16000, 640 * index, Fraction(1, 16000)
            container.mux(sound.encode(block))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))


def main() -> None:
    lengths = [int(word) for word in sys.argv[1:3]] or [60, 600]
    peaks = []
    print("| seconds | frames | peak MB |\n|---|---|---|")
    for seconds in lengths:
        with tempfile.TemporaryDirectory() as folder:
            clip = Path(folder) / "clip.mkv"
            looped(clip, seconds)
            words = [sys.executable, "-c", _RUN, str(clip), str(Path(folder) / "out.mp4")]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
        frames, peak = map(int, done.stdout.split()[-2:])
        peaks.append(peak / 1e3)
        print(f"| {seconds} | {frames} | {peaks[-1]:.0f} |", flush=True)
    print(f"long over short: {peaks[-1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()

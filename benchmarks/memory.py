"""Peak memory and time per frame over length: the shipped sample, looped and scaled, to 720p by default.

    python benchmarks/memory.py [SECONDS ...] [--height 720]

Defaults 10, 60 and 600 seconds (about an hour on two cores). Each length runs in a process of its own,
with two threads for the networks; CPU time, which compares on a busy machine too.
"""

from __future__ import annotations

import argparse
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
import resource, sys, time
import torch
from keysync import load_models, sync_file
torch.set_num_threads(2)
models = load_models("compact", "cpu")
begin = time.process_time()
report = sync_file(sys.argv[1], sys.argv[1], sys.argv[2], models=models)
spent = time.process_time() - begin
print(report.frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, spent)
"""


def looped(path: Path, seconds: int, height: int) -> None:
    """The sample forwards and backwards at 16:9 and 25 frames per second, with a noisy sound track."""
    pictures = [frame.rgb() for frame in read_frames(SAMPLE / "head.mp4")]
    order = [*range(len(pictures)), *range(len(pictures) - 2, 0, -1)]
    width = height * 16 // 9
    left = (width - height) // 2
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "20"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        sound = container.add_stream("flac", rate=16000, layout="mono")
        for index in range(25 * seconds):
            wide = np.zeros((height, width, 3), np.uint8)
            wide[:, left : left + height] = cv2.resize(pictures[order[index % len(order)]], (height, height))
            container.mux(video.encode(av.VideoFrame.from_ndarray(wide, format="rgb24")))
            block = av.AudioFrame.from_ndarray(
                rng.integers(-3000, 3000, (1, 640)).astype(np.int16), format="s16", layout="mono"
            )
            block.sample_rate, block.pts, block.time_base = 16000, 640 * index, Fraction(1, 16000)
            container.mux(sound.encode(block))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("seconds", nargs="*", type=int, default=[10, 60, 600])
    parser.add_argument("--height", type=int, default=720)
    given = parser.parse_args()
    peaks = []
    print("| seconds | frames | peak MB | CPU ms per frame |\n|---|---|---|---|")
    for seconds in given.seconds:
        with tempfile.TemporaryDirectory() as folder:
            clip = Path(folder) / "clip.mkv"
            looped(clip, seconds, given.height)
            words = [sys.executable, "-c", _RUN, str(clip), str(Path(folder) / "out.mp4")]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
        frames, peak, spent = map(float, done.stdout.split()[-3:])
        peaks.append(peak / 1e3)
        print(f"| {seconds} | {frames:.0f} | {peaks[-1]:.0f} | {1000 * spent / frames:.1f} |", flush=True)
    print(f"highest over lowest peak: {max(peaks) / min(peaks):.3f}")


if __name__ == "__main__":
    main()

"""Seconds of compute per second of video, by stage, for one clip.

    python benchmarks/speed.py [VIDEO SPEECH]

Without arguments: the shipped sample. Threads as torch chooses; run on an otherwise idle machine. Stages run
side by side, and reading the film is none of them: they do not add up to the whole.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch

import keysync
from keysync import load_models, sync_file


def main() -> None:
    sample = Path(keysync.__file__).parent / "sample"
    video, speech = sys.argv[1:3] if len(sys.argv) == 3 else (sample / "head.mp4", sample / "speech.wav")
    models = load_models("compact", "cpu")
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        report = sync_file(video, speech, Path(folder) / "out.mp4", models=models)
        total = time.perf_counter() - begin
    seconds = float(report.end - report.start)
    print(f"{report.frames} frames, {seconds:.2f} s of video, {torch.get_num_threads()} threads")
    print("| stage | s per s of video | ms per frame |\n|---|---|---|")
    for stage, spent in {**report.seconds, "all, from start to end": total}.items():
        print(f"| {stage} | {spent / seconds:.2f} | {1000 * spent / report.frames:.1f} |")
    print(f"{report.frames / total:.1f} frames per second")


if __name__ == "__main__":
    main()

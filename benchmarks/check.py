"""What ``keysync check`` costs beside the sync that it plans, and how well it foretells the time.

    python benchmarks/check.py VIDEO SPEECH [VIDEO SPEECH …]

Both run as commands, imports included, on one thread; without arguments on the shipped sample. Seconds are
of the processor, so that a busy machine does not count, but for ``foretold``, which is of the clock.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import keysync

SAMPLE = Path(keysync.__file__).parent / "sample"


def processor_s(*words: str | Path) -> float:
    """User and system time of one command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    program = [sys.executable, "-c", "from keysync.interfaces.cli import main; main()"]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([*program, *map(str, words)], check=True, capture_output=True, env=one_thread)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    paths = [Path(word) for word in sys.argv[1:]] or [SAMPLE / "head.mp4", SAMPLE / "speech.wav"]
    print("| video | sync s | check s | share | foretold s |\n|---|---|---|---|---|")
    for video, speech in zip(paths[::2], paths[1::2], strict=True):
        with tempfile.TemporaryDirectory() as folder:
            told, out = Path(folder) / "told.json", Path(folder) / "out.mp4"
            check = processor_s("check", video, speech, "--model", "compact", "--json", told)
            foretold = json.loads(told.read_text())["estimate"]["seconds"]
            model = ("--model", "compact", "--device", "cpu")
            sync = processor_s("sync", video, speech, "-o", out, *model)
        print(
            f"| {video.name} | {sync:.1f} | {check:.1f} | {check / sync:.1%} | {foretold:.0f} |", flush=True
        )


if __name__ == "__main__":
    main()

"""Kill a sync at random moments, resume it, compare with an uninterrupted run.

    python benchmarks/kill.py [--times 20] [--seed 0]

The shipped sample, played forwards and backwards for 20 s, is synced losslessly; each trial is killed with
SIGKILL between 10 % and 95 % of the uninterrupted run's time and then resumed.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keysync
from keysync.media.read import read_frames

SAMPLE = Path(keysync.__file__).parent / "sample"
SECONDS = 20


def command(speech: Path, out: Path, *more: str) -> list[str]:
    words = [str(Path(sys.executable).with_name("keysync")), "sync", str(SAMPLE / "head.mp4"), str(speech)]
    return [*words, "-o", str(out), "--video-codec", "ffv1", "--model", "compact", "--device", "cpu", *more]


def same(a: Path, b: Path) -> bool:
    """Every frame's pixels and time."""
    pairs = zip(read_frames(a), read_frames(b), strict=True)
    return all(x.time == y.time and (x.rgb() == y.rgb()).all() for x, y in pairs)


def long_speech(path: Path) -> None:
    """The sample's sentence again and again."""
    import wave

    with wave.open(str(SAMPLE / "speech.wav")) as sound:
        layout, data = sound.getparams(), sound.readframes(sound.getnframes())
    with wave.open(str(path), "wb") as out:
        out.setparams(layout)
        out.writeframes((data * 20)[: SECONDS * layout.framerate * layout.sampwidth * layout.nchannels])


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill and resume.")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        speech = folder / "speech.wav"
        long_speech(speech)
        begin = time.monotonic()
        subprocess.run(command(speech, folder / "whole.mkv"), check=True, capture_output=True)
        whole = time.monotonic() - begin
        print(f"uninterrupted: {whole:.1f} s")
        print("| trial | killed after s | pieces kept | same film |\n|---|---|---|---|")
        good, standing = 0, [path.name for path in folder.iterdir()]
        for trial in range(options.times):
            out, wait = folder / f"{trial}.mkv", rng.uniform(0.1, 0.95) * whole
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            process = subprocess.Popen(command(speech, out), **quiet)
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
            process.wait()
            kept = len(list(folder.glob(f"{trial}.mkv.keysync/*.safetensors")))
            subprocess.run(command(speech, out, "--resume"), check=True, capture_output=True)
            equal = same(folder / "whole.mkv", out)
            left = [path.name for path in folder.iterdir() if path.name not in (*standing, out.name)]
            good += equal and not left
            print(
                f"| {trial} | {wait:.1f} | {kept} | {'yes' if equal else 'NO'} {' '.join(left)} |", flush=True
            )
            out.unlink()
        print(f"{good} of {options.times}")


if __name__ == "__main__":
    main()

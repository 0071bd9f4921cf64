"""Kill a sync at random moments, resume it, compare with an uninterrupted run.

    python benchmarks/kill.py [--times 20] [--seed 0]

The shipped sample, small and cut into shots of 1.2 s, each of which is a stretch of work of its own, is
synced losslessly. Each trial is killed with SIGKILL and then resumed. The moments are drawn
over the whole length of the uninterrupted run, one from each of ``--times`` equal parts of it: imports,
the look through the clip, painting, and the end of the file all get their share. Some 40 s a trial on
one busy core.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import av
import cv2
import numpy as np

import keysync
from keysync.media.read import read_frames

SAMPLE = Path(keysync.__file__).parent / "sample"
SIDE, SHOT, SHOTS = 256, 30, 5  # pixels; frames of a shot; shots


def command(folder: Path, out: Path, *more: str) -> list[str]:
    program = [sys.executable, "-c", "from keysync.interfaces.cli import main; main()"]
    words = ["sync", str(folder / "clip.mkv"), str(folder / "speech.wav"), "-o", str(out)]
    words += ["--speaker", "all"]  # a mirrored head is somebody else
    return [*program, *words, "--video-codec", "ffv1", "--model", "compact", "--device", "cpu", *more]


def make_clip(path: Path) -> None:
    """Every other shot is mirrored and closer: a cut that nobody can miss."""
    pictures = [frame.rgb() for frame in read_frames(SAMPLE / "head.mp4")]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for number in range(SHOT * SHOTS):
            picture = pictures[number % len(pictures)]
            if number // SHOT % 2:
                edge = len(picture) // 8
                picture = picture[edge:-edge, edge:-edge][:, ::-1]
            small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(small), format="rgb24")
            frame.pts = number
            out.mux(stream.encode(frame.reformat(format="yuv420p")))
        out.mux(stream.encode(None))


def make_speech(path: Path) -> None:
    """The sample's sentence, again until the clip is over."""
    with wave.open(str(SAMPLE / "speech.wav")) as sound:
        layout, data = sound.getparams(), sound.readframes(sound.getnframes())
    samples = SHOT * SHOTS * layout.framerate // 25
    with wave.open(str(path), "wb") as out:
        out.setparams(layout)
        out.writeframes((data * 9)[: samples * layout.sampwidth * layout.nchannels])


def same(a: Path, b: Path) -> bool:
    """Every frame's pixels and time."""
    pairs = zip(read_frames(a), read_frames(b), strict=True)
    return all(x.time == y.time and (x.rgb() == y.rgb()).all() for x, y in pairs)


def killed(words: list[str], after_s: float) -> bool:
    """Run for so long, then SIGKILL; false if it was over before."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return process.returncode == -signal.SIGKILL


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill and resume.")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_clip(folder / "clip.mkv")
        make_speech(folder / "speech.wav")
        begin = time.monotonic()
        subprocess.run(command(folder, folder / "whole.mkv"), check=True, capture_output=True)
        whole = time.monotonic() - begin
        print(f"uninterrupted: {SHOT * SHOTS} frames, {whole:.1f} s")
        print("| trial | killed after s | frames kept | resumed in s | outcome |\n|---|---|---|---|---|")
        good, standing = 0, {path.name for path in folder.iterdir()}
        for trial in range(options.times):
            out = folder / f"{trial}.mkv"
            while True:
                wait = whole * (trial + rng.random()) / options.times
                if killed(command(folder, out), wait):
                    break
                out.unlink()  # quicker than the uninterrupted run was: another moment
                whole *= 0.95
            kept = len(list(folder.glob(f"{trial}.mkv.keysync/*.safetensors"))) * SHOT
            begin = time.monotonic()
            done = subprocess.run(
                command(folder, out, "--resume"), check=False, capture_output=True, text=True
            )
            spent = time.monotonic() - begin
            if done.returncode:
                outcome = f"exit code {done.returncode}: {done.stderr.strip()[-200:]}"
            elif not same(folder / "whole.mkv", out):
                outcome = "ANOTHER FILM"
            else:
                left = {path.name for path in folder.iterdir()} - standing - {out.name}
                outcome = f"left behind: {left}" if left else "same film"
            good += outcome == "same film"
            print(f"| {trial} | {wait:.1f} | {kept} | {spent:.1f} | {outcome} |", flush=True)
            out.unlink(missing_ok=True)
        print(f"{good} of {options.times}")
    sys.exit(good != options.times)


if __name__ == "__main__":
    main()

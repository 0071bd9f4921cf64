"""Do generated lips follow the new speech? Drawn people, voices and words that training never saw.

    python benchmarks/lipsync.py [--people 10] [--seed 7] [--model compact] [--keep FOLDER]

Each person is drawn twice with one face, light and head motion and two texts. The first take gets the
second one's speech; the second take is the exact truth. Openings and widths of both the synced and the
true video are read by the face mesh, so a row `truth` with r = 1 needs no printing.

    r        Pearson's r of the opening with the truth        (1 is perfect)
    width r  the same for the distance of the mouth corners
    lag      frames that the generated mouth runs behind      (0 is in sync)
    leak     partial correlation with the old words           (0 is ideal)
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from keysync import load_models, sync_file
from keysync.evaluate.lipsync import best_lag, correlation, leakage, opening, width
from keysync.face.track import smooth
from keysync.media.read import read_frames
from keysync.models import face_tracker
from keysync.synthetic.make import make_clips, plan_clips


def landmarks(path: Path) -> np.ndarray:
    """[t 68 2] of the largest face; a frame without one takes the nearest one that has."""
    faces = [face for _, face in smooth(face_tracker().follow(read_frames(path)))]
    known = [index for index, face in enumerate(faces) if face is not None]
    nearest = [min(known, key=lambda k: abs(k - index)) for index in range(len(faces))]
    return np.stack([faces[index].landmarks for index in nearest])


def main() -> None:
    parser = argparse.ArgumentParser(description="Sync drawn people to words of another take.")
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder for the clips; drawn once, used again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        plans = plan_clips(
            2 * options.people,
            options.seed,
            split="test",
            takes=2,
            size=(512, 512),
            seconds=4.0,
            framing="head",
        )
        list(make_clips(plans, folder, options.jobs))
        models = load_models(options.model, "cpu")
        rows = []
        print(f"{'person':>6} {'r':>6} {'width r':>8} {'lag':>4} {'leak':>6}")
        for person in range(options.people):
            source, truth = folder / f"{2 * person:05d}", folder / f"{2 * person + 1:05d}"
            synced = Path(scratch) / "synced.mkv"
            sync_file(source / "clip.mp4", truth / "clip.wav", synced, models=models)
            seen, new, old = (landmarks(p) for p in (synced, truth / "clip.mp4", source / "clip.mp4"))
            row = (
                correlation(opening(seen), opening(new)),
                correlation(width(seen), width(new)),
                best_lag(opening(seen), opening(new), reach=5),
                leakage(opening(seen), opening(old), opening(new)),
            )
            rows.append(row)
            print(f"{person:>6} {row[0]:>6.3f} {row[1]:>8.3f} {row[2]:>4d} {row[3]:>6.3f}", flush=True)
        mean = np.mean(rows, axis=0)
        print(f"{'mean':>6} {mean[0]:>6.3f} {mean[1]:>8.3f} {mean[2]:>4.1f} {mean[3]:>6.3f}")
        print(f"lowest r {min(row[0] for row in rows):.3f}")


if __name__ == "__main__":
    main()

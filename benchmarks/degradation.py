"""Does every metric move the right way when a film is spoilt step by step? The plot in docs/evaluation.md.

    python benchmarks/degradation.py [--people 3] [--seed 7] [--out docs/degradation.png]

The true film of each drawn person is spoilt inside the mouth, always pasted and encoded as a synced film
is: blurred; late by 1 to 3 frames; with the old words' mouth blended in; with less movement; with a colour
that does not fit; flashing. For LipLeak, the old mouth is blended into a film at rest instead. Each metric
is watched where it is meant to react; the others may do as they like. Prints every metric's mean at each
step and for how many people each step went the right way (metrics that count frames or sounds may stay).
Ends with 1 if any mean did not. Some 3 minutes a person on one core.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import matplotlib
import numpy as np

from keysync.evaluate import lips
from keysync.evaluate.drawn import SEED, clips_folder, draw, kept_track
from keysync.evaluate.measure import Track, crops, picture_scores, track
from keysync.evaluate.pair import lip_scores, phones_beside
from keysync.evaluate.pool import pool
from keysync.evaluate.rows import CROP_SIZE, write_changed

matplotlib.use("Agg")
from matplotlib import pyplot

Crop = np.ndarray
Change = Callable[[int, Crop], Crop]
COUNTS = ("closure_rate", "lipleak")  # made of few events: a step may change none


@dataclass(frozen=True)
class Series:
    """One way to spoil a film, and which metrics must notice: +1 rises, -1 falls."""

    name: str
    steps: tuple[int, ...]
    watched: dict[str, int]


SIMILARITY = {"mask_psnr_db": -1, "mask_ssim": -1}
SERIES = (
    Series("blur, px", (0, 4, 8, 16), {"vl": -1, **SIMILARITY, "border_psnr_db": -1, "border_ssim": -1}),
    Series(
        "delay, ms",
        (0, 40, 80, 120),
        {"sync_offset_ms": 1, "opening_r": -1, "width_r": -1, "lip_distance": 1, **SIMILARITY},
    ),
    Series(
        "old mouth, %",
        (0, 25, 50, 75),
        {"leakage": 1, "opening_r": -1, "lip_distance": 1, "closure_rate": -1, **SIMILARITY},
    ),
    Series("held mouth, %", (0, 25, 50, 75), {"articulation": -1, "flicker": -1, "lip_distance": 1}),
    Series("colour, levels", (0, 8, 16, 32), {"seam": 1, **SIMILARITY, "border_psnr_db": -1}),
    Series("flashing, levels", (0, 4, 8, 16), {"flicker": 1, **SIMILARITY}),
    Series("at rest, old mouth, %", (0, 25, 50, 75), {"lipleak": 1}),
)


def spoil(name: str, step: int, old: list[Crop], rest: Crop) -> Change:
    """How to change one crop of 512 px.

    Args:
        old: the old words' crops.
        rest: the crop in which the true mouth is closed the most.
    """
    kept: list[Crop] = []

    def late(_: int, crop: Crop) -> Crop:
        kept.append(crop)
        return kept[max(len(kept) - 1 - step // 40, 0)]

    def mixed(one: Crop, other: Crop) -> Crop:
        return cv2.addWeighted(one, 1 - step / 100, other, step / 100, 0)

    changes: dict[str, Change] = {
        "blur, px": lambda _, crop: cv2.GaussianBlur(crop, (0, 0), step) if step else crop,
        "delay, ms": late,
        "old mouth, %": lambda index, crop: mixed(crop, old[index]),
        "held mouth, %": lambda _, crop: mixed(crop, rest),
        "colour, levels": lambda _, crop: cv2.add(crop, np.full_like(crop, step)),
        "flashing, levels": lambda index, crop: cv2.add(crop, np.full_like(crop, step * (index % 2))),
        "at rest, old mouth, %": lambda index, _: mixed(rest, old[index]),
    }
    return changes[name]


def measure(film: Path, new: Path, old: Path, where: Track, source: Track) -> dict[str, float | None]:
    """All metrics that need no weights."""
    truth = new / "clip.mp4"
    seen = track(film)
    values = lip_scores(seen, where, phones_beside(truth), source)
    values |= picture_scores(film, truth, where, old / "clip.mp4")
    return values | {"lipleak": lips.lipleak(seen.landmarks)}


def person_scores(new: Path, old: Path) -> dict[tuple[str, str], list[float]]:
    """Of every series and metric watched: one number per step."""
    where, source = kept_track(new / "clip.mp4"), kept_track(old / "clip.mp4")
    olds = list(crops(old / "clip.mp4", where, CROP_SIZE))
    closed = int(lips.opening(where.landmarks).argmin())
    rest = next(c for index, c in enumerate(crops(new / "clip.mp4", where, CROP_SIZE)) if index == closed)
    found: dict[tuple[str, str], list[float]] = {}
    untouched: dict[str, float | None] | None = None  # step 0 of all series but the last is one film
    for series in SERIES:
        for step in series.steps:
            whole = step == 0 and series is not SERIES[-1]
            if whole and untouched is not None:
                values = untouched
            else:
                with tempfile.TemporaryDirectory() as folder:
                    film = Path(folder) / "spoilt.mp4"
                    change = spoil(series.name, step, olds, rest)
                    write_changed(new / "clip.mp4", where, film, change)
                    values = measure(film, new, old, where, source)
                untouched = values if whole else untouched
            for metric in series.watched:
                value = values[metric]
                found.setdefault((series.name, metric), []).append(np.nan if value is None else value)
    return found


def right_way(metric: str, sign: int, line: list[float]) -> bool:
    """Whether every step changed the metric in its direction."""
    moves = [sign * (after - before) for before, after in pairwise(line)]
    return sum(moves) > 0 and all(move >= 0 if metric in COUNTS else move > 0 for move in moves)


def main() -> None:
    parser = argparse.ArgumentParser(description="Spoil true films step by step and measure.")
    parser.add_argument("--people", type=int, default=3)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=Path("docs/degradation.png"))
    options = parser.parse_args()
    clips = clips_folder(options.seed)
    with pool(1) as workers:
        numbers = draw(options.people, options.seed, workers, 1)
    people = [
        person_scores(clips / f"{2 * number + 1:05d}", clips / f"{2 * number:05d}") for number in numbers
    ]
    columns = max(len(series.watched) for series in SERIES)
    figure, axes = pyplot.subplots(len(SERIES), columns, figsize=(2.1 * columns, 12), layout="constrained")
    wrong = 0
    print(f"{'':22}{'':16}{'mean at each step':36}right way in every step")
    for row, series in zip(axes, SERIES, strict=True):
        for axis in row[len(series.watched) :]:
            axis.axis("off")
        for axis, (metric, sign) in zip(row, series.watched.items(), strict=False):
            lines = [scores[series.name, metric] for scores in people]
            mean = np.mean(lines, axis=0).tolist()
            good, all_good = (
                sum(right_way(metric, sign, line) for line in lines),
                right_way(metric, sign, mean),
            )
            wrong += not all_good
            steps = " ".join(f"{value:8.3f}" for value in mean)
            mark = "" if all_good else "  MEAN DOES NOT"
            print(f"{series.name:22}{metric:16}{steps}  {good} of {len(lines)}{mark}", flush=True)
            axis.plot(series.steps, np.array(lines).T, color="0.75", linewidth=1)
            axis.plot(series.steps, mean, color="black", marker="o", markersize=4)
            axis.set_title(metric, fontsize=9)
            axis.set_xlabel(series.name, fontsize=8)
            axis.tick_params(labelsize=7)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=70)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()

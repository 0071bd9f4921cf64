"""Does every metric fall when a film is spoilt step by step? A plot for docs/evaluation.md.

    python benchmarks/degradation.py [--people 3] [--seed 7] [--out docs/images/degradation.png]

The true film of each drawn person is spoilt inside the mouth: blurred, delayed by 1 to 3 frames, or with
the old words' mouth blended in. Prints each metric's mean at each step and whether it moved the right
way all along, for every person.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import matplotlib
import numpy as np

from keysync.evaluate.drawn import SEED, draw, kept_track
from keysync.evaluate.measure import crops, picture_scores, track
from keysync.evaluate.pair import lip_scores
from keysync.evaluate.rows import CROP_SIZE, write_changed

matplotlib.use("Agg")
from matplotlib import pyplot

Change = Callable[[int, np.ndarray], np.ndarray]
SERIES = {
    "blur, px": (0, 4, 8, 16),
    "delay, ms": (0, 40, 80, 120),
    "old mouth, %": (0, 25, 50, 75),
}
# What each series must move, and in which direction.
WATCHED = {
    "blur, px": (("vl", -1), ("mask_psnr_db", -1), ("mask_ssim", -1), ("border_ssim", -1)),
    "delay, ms": (("sync_offset_ms", 1), ("opening_r", -1), ("lip_distance", 1), ("mask_psnr_db", -1)),
    "old mouth, %": (("leakage", 1), ("opening_r", -1), ("mask_psnr_db", -1), ("mask_ssim", -1)),
}


def change(series: str, step: int, old: list[np.ndarray]) -> Change:
    """How to spoil one crop of 512 px."""
    kept: list[np.ndarray] = []

    def blur(_: int, crop: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(crop, (0, 0), step) if step else crop

    def delay(_: int, crop: np.ndarray) -> np.ndarray:
        kept.append(crop)
        return kept[max(len(kept) - 1 - step // 40, 0)]

    def blend(index: int, crop: np.ndarray) -> np.ndarray:
        return cv2.addWeighted(crop, 1 - step / 100, old[index], step / 100, 0)

    return {"blur, px": blur, "delay, ms": delay, "old mouth, %": blend}[series]


def main() -> None:
    parser = argparse.ArgumentParser(description="Spoil true films step by step and measure.")
    parser.add_argument("--people", type=int, default=3)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs/images/degradation.png"))
    options = parser.parse_args()
    clips = draw(options.people, options.seed, options.jobs)
    found: dict[tuple[str, str], list[list[float]]] = {}
    for person in range(options.people):
        old, new = (clips / f"{2 * person + take:05d}" for take in (0, 1))
        where, source = kept_track(new), kept_track(old)
        pictures = list(crops(old / "clip.mp4", where, CROP_SIZE))
        for series, steps in SERIES.items():
            scores = []
            for step in steps:
                with tempfile.TemporaryDirectory() as folder:
                    film = Path(folder) / "spoilt.mp4"
                    write_changed(new / "clip.mp4", where, film, change(series, step, pictures))
                    values = lip_scores(track(film), where, source=source)
                    values |= picture_scores(film, new / "clip.mp4", where, old / "clip.mp4")
                    scores.append(values)
            for metric, _ in WATCHED[series]:
                line = [float("nan") if (v := s[metric]) is None else v for s in scores]
                found.setdefault((series, metric), []).append(line)
    figure, axes = pyplot.subplots(len(SERIES), 4, figsize=(11, 7), layout="constrained")
    for row, (series, watched) in zip(axes, WATCHED.items(), strict=True):
        for axis, (metric, sign) in zip(row, watched, strict=True):
            lines = np.array(found[series, metric])
            right = [all(sign * (b - a) > 0 for a, b in pairwise(line)) for line in lines]
            means = " ".join(f"{value:8.3f}" for value in lines.mean(axis=0))
            print(f"{series:14} {metric:15} {means}  right way in all steps: {sum(right)} of {len(right)}")
            axis.plot(SERIES[series], lines.T, color="0.75", linewidth=1)
            axis.plot(SERIES[series], lines.mean(axis=0), color="black", marker="o", markersize=4)
            axis.set_title(metric, fontsize=9)
            axis.set_xlabel(series, fontsize=8)
            axis.tick_params(labelsize=7)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=80)


if __name__ == "__main__":
    main()

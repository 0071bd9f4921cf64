"""What SAM 2 costs, and what our prompts are worth to it. Its official weights are not needed for either.

    python benchmarks/sam2.py cost [--frames 64] [--threads 1] [--device cpu]
    python benchmarks/sam2.py prompts [--clips 10] [--seed 1]

``cost``: seconds and memory of the official smallest size, with random weights. One object is followed
through crops of noise by the code that a sync uses; the first frames are left out of the time, as SAM 2 has
little to remember yet. The peak is that of the whole process.

``prompts``: the drawn clips of ``benchmarks/occlusion.py``, with the truth in SAM 2's place: it answers with
the exact occluder whenever a prompt is on it, and loses the object at once if not. The table is what is
left to gain: all that is missing in it was never found, or found where nothing is.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import torch
from occlusion import FRAME_SIDE, SECONDS, Scores, film, judge_covered

from keysync.face.survey import Appearance, survey
from keysync.face.warp import warp
from keysync.mask.occlusion import Click
from keysync.mask.sam2 import Sam2Follower
from keysync.mask.segmenter import SIDE
from keysync.models import load_models, load_occlusion
from keysync.occluders import find_occluders, refine_occluders
from keysync.synthetic.make import draw_clip, plan_clips

_COLD = 8


def cost(options: argparse.Namespace) -> None:
    """Print seconds per frame and memory."""
    torch.manual_seed(0)
    from transformers import Sam2VideoConfig, Sam2VideoModel

    before = _peak_mb()
    network = Sam2VideoModel(Sam2VideoConfig()).to(options.device).eval().requires_grad_(False)
    network.mask_decoder.pred_obj_score_head.proj_out.bias += 9  # it is always there
    follower = Sam2Follower(network)
    rng = np.random.default_rng(0)

    def take(count: int, *clicks: Click) -> np.ndarray:
        """Seconds on the wall and of the processor."""
        crops = rng.integers(0, 256, (count, follower.side, follower.side, 3), dtype=np.uint8)
        begin = np.array([time.perf_counter(), time.process_time()])
        follower.take(crops, np.zeros((count, SIDE, SIDE), np.float32), clicks)
        return np.array([time.perf_counter(), time.process_time()]) - begin

    half = options.frames // 2
    take(_COLD, Click(0, 256.0, 256.0))
    spent, peak = take(half), _peak_mb()
    spent += take(half)
    assert follower._living, "the object got lost: nothing was measured"
    weights = sum(weight.numel() for weight in network.parameters())
    wall, processor = spent / (2 * half)
    print(f"{weights / 1e6:.1f} M weights, {network.config.image_size} pixels a side, on {options.device}")
    print(f"seconds per frame and object: {wall:.2f}, of the processor {processor:.2f}")
    print(
        f"memory: {before:.0f} MB before, peak {peak:.0f} MB, {_peak_mb():.0f} MB after as many frames again"
    )
    if options.device == "cuda":
        print(f"on the card: {torch.cuda.max_memory_allocated() / 1e6:.0f} MB")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


class Truth:
    """In SAM 2's place: knows where the occluder is in each frame of a run."""

    device, dtype = torch.device("cpu"), torch.float32
    config = SimpleNamespace(image_size=2 * SIDE)

    def __init__(self, alpha: np.ndarray, part: Appearance, counts: Counter[str]) -> None:
        self._alpha, self._part, self._counts = alpha, part, counts
        self._lost: set[int] = set()  # sessions whose prompt was beside it

    def __call__(
        self,
        session: object,
        frame_idx: int,
        frame: torch.Tensor,  # noqa: ARG002
        reverse: bool,  # noqa: ARG002
    ) -> SimpleNamespace:
        self._counts["looks"] += 1
        side = self.config.image_size
        to_crop = self._part.to_crop[frame_idx] * (side / 512)
        seen = torch.from_numpy(warp(self._alpha[self._part.first + frame_idx], to_crop, side, side) > 127)
        if session.obj_with_new_inputs:  # type: ignore[attr-defined]
            session.obj_with_new_inputs = []  # type: ignore[attr-defined]
            points = session.point_inputs_per_obj[0].get(frame_idx)  # type: ignore[attr-defined]
            self._counts["boxes" if points else "spots"] += 1
            if points:
                x, y = points["point_coords"][0, 0, -1].round().int().clamp(0, side - 1).tolist()
                on = bool(seen[y, x])
            else:
                asked = session.mask_inputs_per_obj[0][frame_idx][0, 0] > 0  # type: ignore[attr-defined]
                on = bool(2 * (seen & asked).sum() >= asked.sum())
            if not on:  # SAM 2 takes a mask for the truth, and of points it says that nothing is there
                self._lost.add(id(session))
                seen = torch.zeros_like(seen) if points else asked
        elif id(session) in self._lost:
            seen = torch.zeros_like(seen)
        score = torch.full((1, 1), 1.0 if seen.any() else -1.0)
        return SimpleNamespace(pred_masks=(seen.float() * 20 - 10)[None, None], object_score_logits=score)


def prompts(options: argparse.Namespace) -> None:
    """Print what is found without and with a follower that makes no mistakes."""
    models = load_models("compact", "cpu")
    looking = load_occlusion("auto", models.device)
    assert looking is not None
    plans = plan_clips(
        options.clips, 900 + options.seed, split="test", size=(FRAME_SIDE, FRAME_SIDE), seconds=SECONDS,
        framing="head", occluders=True,
    )  # fmt: skip
    found, followed, counts = Scores(), Scores(), Counter[str]()
    for plan in plans:
        clip = draw_clip(plan)
        alpha = clip.masks.occluder
        assert alpha is not None
        seen = survey(film(clip.frames), models.tracker, models.framing, models.image_size)
        first = find_occluders(film(clip.frames), seen, seen.people(), looking.finder, models.image_size)
        runs = iter(first.appearances)
        after = refine_occluders(
            film(clip.frames), first, seen.people(),
            lambda: Sam2Follower(Truth(alpha, next(runs), counts)), models.image_size,  # type: ignore[arg-type]  # noqa: B023
        )  # fmt: skip
        judge_covered(first, alpha, found, "drawn")
        judge_covered(after, alpha, followed, "drawn")
        counts["frames"] += len(clip.frames)
    print("found:   ", found.table())
    print("followed:", followed.table())
    print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["cost", "prompts"])
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    {"cost": cost, "prompts": prompts}[options.what](options)


if __name__ == "__main__":
    main()

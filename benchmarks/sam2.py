"""What SAM 2 costs: seconds and memory of the official smallest size, here with random weights.

    python benchmarks/sam2.py [--frames 64] [--threads 1] [--device cpu]

One object is followed through crops of noise, in two stretches, by the code that a sync uses. The first
frames are left out of the time: SAM 2 has little to remember yet. The peak is that of the whole process.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch

from keysync.mask.occlusion import Click
from keysync.mask.sam2 import Sam2Follower
from keysync.mask.segmenter import SIDE

_COLD = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    from transformers import Sam2VideoConfig, Sam2VideoModel

    before = _peak_mb()
    network = Sam2VideoModel(Sam2VideoConfig()).to(options.device).eval().requires_grad_(False)
    follower = Sam2Follower(network)
    rng = np.random.default_rng(0)

    def take(count: int, *clicks: Click) -> np.ndarray:
        """Seconds on the wall and of the processor."""
        crops = rng.integers(0, 256, (count, follower.side, follower.side, 3), dtype=np.uint8)
        begin = np.array([time.perf_counter(), time.process_time()])
        follower.take(crops, np.zeros((count, SIDE, SIDE), np.float32), clicks)
        return np.array([time.perf_counter(), time.process_time()]) - begin

    take(_COLD, Click(0, 256.0, 256.0))
    first = take(options.frames // 2)
    peak = _peak_mb()
    second = take(options.frames // 2)
    assert follower._living, "the object got lost: nothing was measured"
    weights = sum(weight.numel() for weight in network.parameters())
    print(f"{weights / 1e6:.1f} M weights, {network.config.image_size} pixels a side, on {options.device}")
    wall, processor = (first + second) / (options.frames // 2 * 2)
    print(f"seconds per frame and object: {wall:.2f}, of the processor {processor:.2f}")
    print(
        f"memory: {before:.0f} MB before, peak {peak:.0f} MB, {_peak_mb():.0f} MB after as many frames again"
    )
    if options.device == "cuda":
        print(f"on the card: {torch.cuda.max_memory_allocated() / 1e6:.0f} MB")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()

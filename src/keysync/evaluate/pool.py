"""Processes that measure, one core each."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import cv2
import torch

# What a worker's end without a word (out of memory, a crash of a codec) is called in a list of failures.
ENDED = "its process ended without a word, perhaps for want of memory; try fewer --jobs"


def pool(jobs: int) -> ProcessPoolExecutor:
    """A pool of ``jobs`` workers; spawned, not forked, so that they read the limits below at their start."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=_one_thread)


def _one_thread() -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)

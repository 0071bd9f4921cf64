"""From one number per clip to a mean and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 4000
_SEED = 0  # the same values always give the same interval


@dataclass(frozen=True, slots=True)
class Summary:
    """Of one metric over clips."""

    mean: float
    ci95: tuple[float, float] | None  # of the mean; None for a number that only a whole set has
    n: int  # clips that have a value
    lowest: float
    highest: float


def summarise(values: Sequence[float]) -> Summary | None:
    """Mean, and its 95 % interval by the percentile bootstrap (Efron 1979); None for no values.

    Clips are drawn anew with replacement, so people count as the sample, not frames. With one value the
    interval is that value: it then says nothing.
    """
    if not values:
        return None
    known = np.array(values, np.float64)
    picks = np.random.default_rng(_SEED).integers(0, len(known), (_RESAMPLES, len(known)))
    low, high = np.quantile(known[picks].mean(axis=1), [0.025, 0.975])
    return Summary(
        float(known.mean()), (float(low), float(high)), len(known), float(known.min()), float(known.max())
    )

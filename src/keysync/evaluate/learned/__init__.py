"""Metrics that need published weights, which the user brings (see docs/learned_metrics.md)."""

from keysync.evaluate.learned.cmmd import Cmmd
from keysync.evaluate.learned.frechet import Fid, Fvd
from keysync.evaluate.learned.lipscore import LipScore
from keysync.evaluate.learned.lpips import Lpips
from keysync.evaluate.learned.lse import LseC, LseD
from keysync.evaluate.learned.metric import LearnedMetric

METRICS: dict[str, type[LearnedMetric]] = {
    "lipscore": LipScore,
    "fvd": Fvd,
    "fid": Fid,
    "cmmd": Cmmd,
    "lse_c": LseC,
    "lse_d": LseD,
    "lpips": Lpips,
}

__all__ = ["METRICS", "LearnedMetric"]

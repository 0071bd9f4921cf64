"""All metrics by name, so that a misspelt one is noticed."""

from __future__ import annotations

from keysync.errors import ConfigError
from keysync.evaluate.learned import METRICS

NAMES = (
    *("opening_r", "width_r", "sync_offset_ms", "shifted_opening_r", "closure_rate", "leakage"),
    *("articulation", "lip_distance"),
    *("lipleak", "normalised_lipleak", "source_r"),
    *("mask_psnr_db", "mask_ssim", "border_psnr_db", "border_ssim", "outside_psnr_db", "outside_ssim"),
    *("vl", "flicker", "seam"),
    *METRICS,
)


def check_names(metrics: str | None) -> list[str] | None:
    """Names with commas between -> list; None stays None.

    Raises:
        ConfigError: a name is unknown.
    """
    if metrics is None:
        return None
    names = [name.strip() for name in metrics.split(",") if name.strip()]
    for name in names:
        if name not in NAMES:
            raise ConfigError(f"metric {name!r} is unknown; choose of {', '.join(NAMES)}")
    return names

"""Masks as a film for inspection: lossless grey, at the times of the frames that they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from keysync.errors import MediaError

_TIME_BASE = Fraction(1, 1000)  # Matroska's own


def write_masks(
    path: Path,
    masks: Iterable[UInt8[np.ndarray, "h w"]],
    times: Sequence[Fraction],
    shape: tuple[int, int],
) -> None:
    """Write ``path`` (.mkv), whole or not at all.

    Args:
        masks: one for each of ``times``, which are seconds.
        shape: height and width of all of them.
    Raises:
        MediaError: the file cannot be written.
    """
    partial = path.with_suffix(".partial.mkv")
    try:
        with av.open(str(partial), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.pix_fmt, stream.codec_context.time_base = "gray", _TIME_BASE
            stream.height, stream.width = shape
            for mask, time in zip(masks, times, strict=True):
                frame = av.VideoFrame.from_ndarray(mask, format="gray")
                frame.pts, frame.time_base = round((time - times[0]) / _TIME_BASE), _TIME_BASE
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        partial.replace(path)
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: cannot be written ({error}); give another folder") from error
    finally:
        partial.unlink(missing_ok=True)

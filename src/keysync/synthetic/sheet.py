"""A contact sheet: what a set of drawn clips looks like, at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
from jaxtyping import UInt8

from keysync.errors import ConfigError

FRAMES = 8  # of each clip, evenly spread
_TILE = 144  # pixels


def contact_sheet(clips: Sequence[Path], path: Path, most: int = 24) -> None:
    """Write a picture with one row of frames per clip folder, for the first ``most`` of them.

    Raises:
        ConfigError: ``path`` cannot be written as a picture.
    """
    rows = [_row(folder / "clip.mp4") for folder in clips[:most]]
    try:
        written = cv2.imwrite(str(path), cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))
    except cv2.error:
        written = False
    if not written:
        raise ConfigError(f"{path}: cannot be written; give a name that ends in .png in a folder that exists")


def _row(clip: Path) -> UInt8[np.ndarray, "h w 3"]:
    with av.open(str(clip)) as container:
        count = container.streams.video[0].frames
        wanted = set(np.linspace(0, count - 1, FRAMES).round().astype(int).tolist())
        frames = [f for k, f in enumerate(container.decode(video=0)) if k in wanted]
    tiles = [
        cv2.resize(frame.to_ndarray(format="rgb24"), (_TILE, _TILE), interpolation=cv2.INTER_AREA)
        for frame in frames
    ]
    tiles += [np.zeros_like(tiles[0])] * (FRAMES - len(tiles))
    return np.asarray(np.concatenate(tiles, axis=1), np.uint8)

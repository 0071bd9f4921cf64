"""Our keyframes and windows are the reference's wherever it is right; where it drops frames, ours go on."""

import json
from pathlib import Path
from typing import Any

import pytest

from keysync.generate.layout import Layout


@pytest.fixture(scope="session")
def records(parity_folder: Path) -> list[dict[str, Any]]:
    return json.loads((parity_folder / "layout.json").read_text())


def test_windows_start_with_the_reference_windows(records: list[dict[str, Any]]) -> None:
    layout = Layout()
    for record in records:
        pairs = [tuple(pair) for chunk in record["chunks"] for pair in chunk["pairs"]]
        frames = min(record["video_frames"], record["audio_frames"])
        ours = layout.windows(layout.keyframes(frames))
        assert ours[: len(pairs)] == pairs
        # Fault 3 of the reference: it ends up to 12 frames early. Ours reaches the last frame.
        assert ours[-1][1] >= frames - 1


def test_groups_hold_the_reference_keyframes(records: list[dict[str, Any]]) -> None:
    layout = Layout()
    for record in records:
        out = record["out_frames"]
        first = record["chunks"][0]["keyframes"]["gt"][:14]
        # The reference may put a dummy (frame 0) among the last entries; it is thrown away after sampling.
        wanted = [0] + [frame for frame in first[2:] if 0 < frame < out]
        ours = layout.groups(layout.keyframes(out))[0]
        padded = ours + [ours[-1]] * (13 - len(ours))
        assert padded[: len(wanted)] == wanted

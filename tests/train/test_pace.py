"""A step's time is that of the loop's middle, whatever goes before and behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from keysync.train import pace


@pytest.mark.parametrize(("step_s", "most"), [(0.5, 5), (0.02, 65), (0.0001, 257)])
def test_what_begins_and_ends_a_loop_does_not_count(
    step_s: float, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, asked = 0.0, list[int]()

    def work(folder: Path, steps: int) -> None:
        nonlocal now
        assert not list(folder.iterdir())  # a loop would go on from what another left
        (folder / "checkpoint.pt").touch()
        now += 3 + steps * step_s + (40 if not asked else 0)  # the first of all is slow
        asked.append(steps)

    monkeypatch.setattr(pace.time, "perf_counter", lambda: now)
    assert pace._seconds(work) == pytest.approx(step_s)
    assert max(asked) == most

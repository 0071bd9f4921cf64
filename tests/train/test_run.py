from pathlib import Path

import pytest
import torch
from torch import nn

from keysync.errors import ConfigError
from keysync.train import run
from keysync.train.run import Checkpoint, Progress, working_in


def _checkpoint(path: Path) -> Checkpoint:
    network = nn.Linear(2, 2)
    return Checkpoint(path, network, nn.Linear(2, 2), torch.optim.AdamW(network.parameters()))


def test_a_run_goes_on_with_all_that_it_had(tmp_path: Path) -> None:
    before, after = (_checkpoint(tmp_path / "checkpoint.pt") for _ in range(2))
    assert before.load() == {}
    before.network(torch.ones(2)).sum().backward()
    before.optimiser.step()
    before.save(7, mean_loss=0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert after.load() == {"step": 7, "mean_loss": 0.5}
    for ours, theirs in ((before.network, after.network), (before.average, after.average)):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)
    assert len(after.optimiser.state_dict()["state"]) == 2


def test_a_folder_keeps_to_one_plan(tmp_path: Path) -> None:
    for _ in range(2):
        with working_in(tmp_path / "out", {"seed": 1}):
            pass
    with pytest.raises(ConfigError, match="another plan"), working_in(tmp_path / "out", {"seed": 2}):
        pass


def test_a_folder_keeps_to_one_run(tmp_path: Path) -> None:
    with working_in(tmp_path, {"seed": 1}):
        with pytest.raises(ConfigError, match="another run is at work"), working_in(tmp_path, {"seed": 1}):
            pass
        with working_in(tmp_path / "other", {"seed": 1}):
            pass
    with pytest.raises(KeyboardInterrupt), working_in(tmp_path, {"seed": 1}):
        raise KeyboardInterrupt
    with working_in(tmp_path, {"seed": 1}):
        pass


def test_what_is_left_goes_by_the_pace_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, said = 50.0, list[str]()
    monkeypatch.setattr(run.time, "monotonic", lambda: now_s)
    progress = Progress(said.append, "steps", 400, 1000)
    now_s += 600.0
    progress.tell(500, loss=0.1234, held_out=2.0)
    now_s += 60.0
    progress.tell(990)
    progress.tell(1000)
    assert said[0] == "    500 of 1000 steps, loss 0.123, held out 2.000; about 50 min left"
    now_s += 20000.0
    progress.tell(700)
    assert said[1:3] == ["    990 of 1000 steps; about 0 min left", "    1000 of 1000 steps"]
    assert said[3] == "    700 of 1000 steps; about 5.7 h left"

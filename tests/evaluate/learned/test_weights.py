import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from keysync.errors import CheckpointError
from keysync.evaluate.learned.weights import WeightFile

FILE = WeightFile("network.pth", "their page")


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_an_absent_file_tells_name_folder_and_way_out(models: Path) -> None:
    line = FILE.absent()
    assert line is not None
    assert all(part in line for part in ("network.pth", str(models), "get it from their page"))
    assert "\n" not in line
    with pytest.raises(CheckpointError, match=r"network\.pth is not in"):
        FILE.load(network())


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_fills_the_network_wholly(models: Path, legacy: bool) -> None:
    theirs = network()
    torch.save(theirs.state_dict(), models / FILE.name, _use_new_zipfile_serialization=not legacy)
    ours = FILE.load(network())
    assert FILE.absent() is None
    assert not ours.training
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)


def test_a_safetensors_copy_in_the_cache_will_do(tmp_path: Path) -> None:
    theirs = network()
    cache = tmp_path / "cache" / "models"
    cache.mkdir(parents=True)
    save_file(theirs.state_dict(), cache / "network.safetensors")
    pinned = WeightFile(FILE.name, FILE.source, "0" * 64)  # the copy's hash is the user's own affair
    assert torch.equal(pinned.load(network())[0].weight, theirs[0].weight)  # type: ignore[index]


def test_an_altered_file_is_refused_by_its_hash(models: Path) -> None:
    torch.save(network().state_dict(), models / FILE.name)
    with pytest.raises(CheckpointError, match=r"SHA-256 .* is not the published 000000000000"):
        WeightFile(FILE.name, FILE.source, "0" * 64).load(network())


def test_a_missing_a_leftover_and_a_misshapen_weight_are_named(models: Path) -> None:
    state = network().state_dict()
    state["0.weight"] = torch.zeros(5, 3)
    state["extra"] = state.pop("0.bias")
    torch.save(state, models / FILE.name)
    with pytest.raises(CheckpointError, match=r"0\.bias.*extra.*0\.weight \(5, 3\) instead of \(2, 3\)"):
        FILE.load(network())


def test_unused_parts_and_missing_step_counters_are_no_fault(models: Path) -> None:
    state = network().state_dict()
    del state["1.num_batches_tracked"]
    state["decoder.weight"] = torch.zeros(1)
    torch.save(state, models / FILE.name)
    FILE.load(network(), unused=("decoder.",))


def test_a_pickle_is_refused_and_its_code_never_runs(models: Path, tmp_path: Path) -> None:
    proof = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(proof), "w")

    (models / FILE.name).write_bytes(pickle.dumps(Trap(), protocol=2))
    with pytest.raises(CheckpointError, match="not readable as plain weights") as caught:
        FILE.load(network())
    assert "\n" not in str(caught.value)
    torch.save({"weight": Trap()}, models / FILE.name)
    with pytest.raises(CheckpointError, match="not readable as plain weights"):
        FILE.load(network())
    assert not proof.exists()


def test_something_that_is_no_table_of_weights_is_refused(models: Path) -> None:
    torch.save({"step": 3}, models / FILE.name)
    with pytest.raises(CheckpointError, match="holds no table of weights"):
        FILE.load(network())

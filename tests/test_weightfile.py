import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from keysync.errors import CheckpointError
from keysync.weightfile import load_into, load_safetensors


def saved(path: Path, module: nn.Module) -> Path:
    save_file(module.state_dict(), path)
    return path


def test_weights_come_back_as_saved(tmp_path: Path) -> None:
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    path = saved(tmp_path / "w.safetensors", source)
    load_into(target, load_safetensors(path), path)
    torch.testing.assert_close(target.weight, source.weight)


@pytest.mark.parametrize("name", ["w.pt", "w.ckpt", "w.bin", "w.safetensors"])
def test_a_pickle_is_refused_whatever_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match=r"pickle.*keysync models convert"):
        load_safetensors(path)


def test_a_file_that_is_neither_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"hello, this is text")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_safetensors(path)
    path.write_bytes(b"\x20" + b"\0" * 7 + b"{" + b"x" * 40)
    with pytest.raises(CheckpointError, match="damaged"):
        load_safetensors(path)
    with pytest.raises(CheckpointError, match="no such weight file"):
        load_safetensors(tmp_path / "absent.safetensors")


def test_size_and_hash_are_checked_before_use(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.safetensors", nn.Linear(3, 2))
    with pytest.raises(CheckpointError, match="more than the limit of 10"):
        load_safetensors(path, limit_bytes=10)
    with pytest.raises(CheckpointError, match="not the expected 0000"):
        load_safetensors(path, sha256="0" * 64)
    assert load_safetensors(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_misfit_names_the_offenders_and_changes_nothing() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = dict(before) | {"0.weight": torch.zeros(3, 3), "extra": torch.zeros(1)}
    del state["1.bias"]
    with pytest.raises(CheckpointError) as caught:
        load_into(module, state, Path("w.safetensors"))
    message = str(caught.value)
    assert "1 missing (1.bias)" in message
    assert "1 unknown (extra)" in message
    assert "0.weight (3, 3) instead of (2, 3)" in message
    assert "\n" not in message
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, before[name])

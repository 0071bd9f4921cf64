import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from keysync.checkpoints import hash_file
from keysync.errors import CheckpointError, ConfigError
from keysync.face.track import FaceTracker
from keysync.models import load_models
from keysync.outline import COMPACT, model_folder


@pytest.fixture
def folder(
    tiny_folder: Path, tmp_path: Path, still_face: type[FaceTracker], monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setattr("keysync.models.face_tracker", still_face)
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def _rewrite(folder: Path, name: str, **changes: torch.Tensor | None) -> None:
    """Change tensors of a part and make its hash fit again, as an honest but wrong file would."""
    state = load_file(folder / name)
    state.update({key: value for key, value in changes.items() if value is not None})
    for key in [key for key, value in changes.items() if value is None]:
        del state[key]
    save_file(state, folder / name)
    description = json.loads((folder / "model.json").read_text())
    description["sha256"][name] = hash_file(folder / name)
    (folder / "model.json").write_text(json.dumps(description))


def _fails(folder: Path, fact: str) -> None:
    with pytest.raises(CheckpointError, match=fact) as caught:
        load_models(folder, "cpu")
    assert "\n" not in str(caught.value)


def test_a_missing_key_names_it(folder: Path) -> None:
    _rewrite(folder, "autoencoder.safetensors", latent_mean=None)
    _fails(folder, r"autoencoder\.safetensors: 1 missing \(latent_mean\)")


def test_an_extra_key_names_it(folder: Path) -> None:
    _rewrite(folder, "keyframes.safetensors", surplus=torch.zeros(1))
    _fails(folder, r"keyframes\.safetensors: 1 unknown \(surplus\)")


def test_a_wrong_shape_names_both(folder: Path) -> None:
    _rewrite(folder, "audio.safetensors", token_mean=torch.zeros(3))
    _fails(folder, r"audio\.safetensors: .*token_mean \(3,\) instead of \(5,\)")


def test_an_altered_file_is_refused(folder: Path) -> None:
    content = bytearray((folder / "keyframes.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "keyframes.safetensors").write_bytes(content)
    _fails(folder, r"keyframes\.safetensors: SHA-256 .* is not the expected")


def test_a_pickle_is_refused_and_never_opened(folder: Path) -> None:
    (folder / "keyframes.safetensors").write_bytes(pickle.dumps({"weight": [1.0]}))
    _fails(folder, r"keyframes\.safetensors: a pickle")


def test_a_missing_part_is_named(folder: Path) -> None:
    (folder / "interpolation.safetensors").unlink()
    _fails(folder, r"interpolation\.safetensors: no such weight file")


@pytest.mark.parametrize("content", ["", "[1]", '{"kind": "compact"}', '{"kind": 5'])
def test_a_broken_description_is_one_line(folder: Path, content: str) -> None:
    (folder / "model.json").write_text(content)
    _fails(folder, r"model\.json: ")


def test_no_model_in_a_folder_tells_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="use --model compact"):
        load_models(tmp_path, "cpu")


def test_an_unknown_device_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="choose auto, cpu, cuda or mps"):
        load_models(folder, "tpu")


def test_auto_takes_the_full_model_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYSYNC_CACHE", str(tmp_path))
    assert model_folder("auto") == COMPACT
    full = tmp_path / "models" / "full"
    full.mkdir(parents=True)
    (full / "model.json").write_text("{}")
    assert model_folder("auto") == full


def test_the_shipped_model_loads_and_is_small(
    still_face: type[FaceTracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keysync.models.face_tracker", still_face)
    models = load_models("compact", "cpu")
    assert models.name == "compact"
    assert sum(path.stat().st_size for path in COMPACT.glob("*.safetensors")) <= 40e6

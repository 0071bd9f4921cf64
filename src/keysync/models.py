"""A model folder on disk -> networks ready to run.

A folder holds ``model.json`` (sizes and settings, checked here) and one safetensors file per part. The
compact model ships inside the package; the full one is made from the official checkpoints by
``keysync models convert``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from keysync.audio.compact import CompactAudioConfig, CompactAudioEncoder
from keysync.audio.encoder import AudioEncoder, HubertEncoder, WavLMEncoder
from keysync.audio.window import AudioTokens, PastEnd, Sound
from keysync.checkpoints import cache_folder, load_into, load_safetensors, model_file
from keysync.config import Occlusion
from keysync.diffusion.autoencoder import Autoencoder, TemporalAutoencoder
from keysync.diffusion.compact_autoencoder import CompactAutoencoder, CompactAutoencoderConfig
from keysync.diffusion.compact_unet import CompactUNet, CompactUNetConfig
from keysync.diffusion.denoiser import Denoiser
from keysync.diffusion.guidance import SplitGuidance
from keysync.diffusion.schedule import ays_sigmas, power_sigmas
from keysync.diffusion.unet import InterpolationNetwork, KeyframeNetwork, VideoUNetConfig
from keysync.errors import CheckpointError, ConfigError
from keysync.face.crop import Framing
from keysync.face.detect import FaceDetector
from keysync.face.mesh import FaceMesh
from keysync.face.track import FaceTracker
from keysync.generate.layout import Layout
from keysync.generate.stage import Stage
from keysync.mask.hands import ByHands
from keysync.mask.occlusion import ByFace, FaceOrNot, Finder, Together
from keysync.mask.segmenter import Segmenter, SegmenterConfig

M = TypeVar("M", bound=nn.Module)
SILENT_TAIL_S = 1  # the compact encoder hears this much silence after the speech, then that for ever
COMPACT = Path(__file__).parent / "weights" / "compact"
OCCLUSION = COMPACT.with_name("occlusion")


@dataclass(frozen=True, kw_only=True, slots=True)
class StageModel:
    """One stage's network, its ear, and how to sample it."""

    name: str
    denoiser: Denoiser
    encoder: AudioEncoder
    tokens: int  # 20 ms tokens that each frame hears
    token_offset: int  # shift of the encoder's tokens that the network was trained with
    schedule: Callable[[int], torch.Tensor]
    steps: int
    guidance: SplitGuidance
    rows: int  # segments per network call
    device: torch.device

    def listen(self, sound: Sound) -> Callable[[Sequence[Fraction]], Float[Tensor, "frames tokens dim"]]:
        """The ear for one speech: frame times, seconds of the speech, to tokens."""
        tail_s: int = 0
        past_end: PastEnd = "zero"
        if isinstance(self.encoder, CompactAudioEncoder):
            tail_s, past_end = SILENT_TAIL_S, "repeat"
        heard = AudioTokens(self.encoder, sound, tail_s=tail_s, device=self.device)
        return lambda times: heard.at(times, self.tokens, self.token_offset, past_end)

    def stage(self, steps: int | None) -> Stage:
        """The sampler; ``steps`` overrides the model's own number."""
        return Stage(self.denoiser, self.guidance, self.schedule(steps or self.steps), self.rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class Models:
    """Everything one run needs."""

    name: str
    device: torch.device
    image_size: int  # side of the aligned crop, pixels
    framing: Framing
    layout: Layout
    tracker: FaceTracker
    autoencoder: Autoencoder
    keyframes: StageModel
    interpolation: StageModel
    digest: str  # of all its weights: two models with one digest paint alike


def load_models(choice: str | Path = "auto", device: str = "auto") -> Models:
    """Load ``compact``, ``full``, ``auto`` (full where its weights are, else compact) or a model folder.

    Raises:
        CheckpointError: files are missing, altered or do not fit.
        ConfigError: no such model or device.
    """
    folder = model_folder(choice)
    where = _device(device)
    description = _read_description(folder)
    digest = sha256(json.dumps(description["sha256"], sort_keys=True).encode()).hexdigest()
    kind = description.pop("kind")
    size = description.pop("image_size")
    framing, layout = Framing(**description.pop("framing")), Layout(**description.pop("layout"))
    tracker = face_tracker()
    build = {"compact": _compact, "full": _full}
    try:
        autoencoder, keyframes, interpolation = build[kind](folder, description, where)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / 'model.json'}: does not describe a model ({error})") from error
    return Models(
        name=kind if folder == COMPACT else folder.name,
        device=where,
        image_size=size,
        framing=framing,
        layout=layout,
        tracker=tracker,
        autoencoder=autoencoder,
        keyframes=keyframes,
        interpolation=interpolation,
        digest=digest,
    )


def compact_ear() -> CompactAudioEncoder:
    """The compact model's audio encoder, which can also tell how far a speaking mouth opens."""
    return _audio_encoder(COMPACT, _read_description(COMPACT), torch.device("cpu"))


def face_tracker() -> FaceTracker:
    """Detector and mesh from their files; fetched on first use."""
    return FaceTracker(
        FaceDetector(model_file("face_detection_full_range_sparse.tflite")),
        FaceMesh(model_file("face_landmark.tflite")),
    )


def load_finder(occlusion: Occlusion, device: torch.device, folder: Path = OCCLUSION) -> Finder | None:
    """What finds occluders; None for ``off``.

    Args:
        folder: of the segmenter, as ``keysync train occlusion`` makes it.
    Raises:
        CheckpointError: its files are missing, altered or do not fit.
    """
    if occlusion == "off":
        return None
    hands = ByHands(model_file("palm_detection_full.tflite"), model_file("hand_landmark_full.tflite"))
    if occlusion == "hands":
        return hands
    path = folder / "model.json"
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        network = Segmenter(SegmenterConfig(**_tuples(description["network"])))
        hashes = dict(description["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: does not describe a segmenter ({error})") from error
    network = _filled(network, folder / "segmenter.safetensors", hashes, device)
    return Together(ByFace(FaceOrNot(network, device)), hands)


def model_folder(choice: str | Path) -> Path:
    """Where the chosen model's files are."""
    full = cache_folder() / "full"
    if choice == "auto":
        return full if (full / "model.json").exists() else COMPACT
    folder = {"compact": COMPACT, "full": full}.get(str(choice), Path(choice))
    if not (folder / "model.json").exists():
        raise CheckpointError(
            f"{folder}: no model there (model.json is missing); "
            "use --model compact, or make a folder with 'keysync models convert'"
        )
    return folder


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if name not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"device is {name!r}; choose auto, cpu, cuda or mps")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is cuda, but this machine has no CUDA GPU; use --device cpu")
    if name == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device is mps, but this machine has no Apple GPU; use --device cpu")
    return torch.device(name)


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / "model.json"
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from error
    wanted = {
        "kind",
        "image_size",
        "framing",
        "layout",
        "autoencoder",
        "keyframes",
        "interpolation",
        "sha256",
    }
    if not isinstance(description, dict) or not wanted <= description.keys():
        raise CheckpointError(f"{path}: must name {', '.join(sorted(wanted))}")
    if description["kind"] not in ("compact", "full"):
        raise CheckpointError(f"{path}: kind is {description['kind']!r}; it must be compact or full")
    return description


def _filled(module: M, path: Path, hashes: dict[str, str], device: torch.device) -> M:
    """Weights into a network, strictly; half-precision files become float32."""
    load_into(module, load_safetensors(path, hashes.get(path.name)), path)
    return module.to(device).eval().requires_grad_(False)


def _audio_encoder(folder: Path, description: dict[str, Any], device: torch.device) -> CompactAudioEncoder:
    encoder = CompactAudioEncoder(CompactAudioConfig(**description["audio"]))
    return _filled(encoder, folder / "audio.safetensors", description["sha256"], device)


Parts = tuple[Autoencoder, StageModel, StageModel]


def _compact(folder: Path, description: dict[str, Any], device: torch.device) -> Parts:
    hashes = description["sha256"]
    autoencoder = CompactAutoencoder(CompactAutoencoderConfig(**_tuples(description["autoencoder"])))
    _filled(autoencoder, folder / "autoencoder.safetensors", hashes, device)
    encoder = _audio_encoder(folder, description, device)

    def stage(name: str) -> StageModel:
        settings = description[name]
        network = CompactUNet(CompactUNetConfig(**_tuples(settings["network"])))
        network = _filled(network, folder / f"{name}.safetensors", hashes, device)
        sampling = settings["sampling"]
        return StageModel(
            name=name,
            denoiser=Denoiser(network),
            encoder=encoder,
            tokens=network.config.audio_tokens,
            token_offset=0,
            schedule=lambda steps: power_sigmas(
                steps, sampling["sigma_max"], sampling["sigma_min"], sampling["rho"]
            ),
            steps=sampling["steps"],
            guidance=SplitGuidance(audio=sampling["audio_guidance"], reference=1.0),
            rows=sampling["rows"],
            device=device,
        )

    return autoencoder, stage("keyframes"), stage("interpolation")


def _full(folder: Path, description: dict[str, Any], device: torch.device) -> Parts:
    hashes = description["sha256"]
    autoencoder = TemporalAutoencoder(**description["autoencoder"])
    _filled(autoencoder, folder / "autoencoder.safetensors", hashes, device)

    def stage(name: str) -> StageModel:
        settings = description[name]
        build = KeyframeNetwork if name == "keyframes" else InterpolationNetwork
        network = build(VideoUNetConfig(**_tuples(settings["network"])))
        network = _filled(network, folder / f"{name}.safetensors", hashes, device)
        ears: dict[str, type[HubertEncoder] | type[WavLMEncoder]]
        ears = {"hubert": HubertEncoder, "wavlm": WavLMEncoder}
        sampling = settings["sampling"]
        return StageModel(
            name=name,
            denoiser=Denoiser(network),
            encoder=ears[settings["encoder"]].from_folder(folder / settings["encoder"], device),
            tokens=2,
            token_offset=settings["token_offset"],
            schedule=ays_sigmas,
            steps=sampling["steps"],
            guidance=SplitGuidance(
                audio=sampling["audio_guidance"], reference=sampling["reference_guidance"]
            ),
            rows=sampling["rows"],
            device=device,
        )

    return autoencoder, stage("keyframes"), stage("interpolation")


def _tuples(settings: dict[str, Any]) -> dict[str, Any]:
    """JSON knows lists only; the configs hold tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}

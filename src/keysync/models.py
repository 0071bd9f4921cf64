"""A model folder on disk (see ``outline.py``) -> networks ready to run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from keysync.audio.compact import SILENT_TAIL_S, CompactAudioConfig, CompactAudioEncoder
from keysync.audio.encoder import AudioEncoder, HubertEncoder, WavLMEncoder
from keysync.audio.window import AudioTokens, gather, token_indices
from keysync.checkpoints import MODELS, hash_file, model_file, sam2_folder
from keysync.config import Occlusion
from keysync.diffusion.autoencoder import Autoencoder, TemporalAutoencoder
from keysync.diffusion.compact_autoencoder import CompactAutoencoder, CompactAutoencoderConfig
from keysync.diffusion.compact_unet import CompactUNet, CompactUNetConfig
from keysync.diffusion.denoiser import Denoiser
from keysync.diffusion.guidance import SplitGuidance
from keysync.diffusion.half import fast_on, halve_convolutions
from keysync.diffusion.schedule import ays_sigmas, power_sigmas
from keysync.diffusion.unet import InterpolationNetwork, KeyframeNetwork, VideoUNetConfig
from keysync.errors import CheckpointError, ConfigError
from keysync.face.crop import Framing
from keysync.face.track import FaceTracker, face_tracker
from keysync.generate.layout import Layout
from keysync.generate.stage import Stage
from keysync.mask.hands import ByHands
from keysync.mask.occlusion import ByFace, FaceOrNot, Finder, Follower, Together
from keysync.mask.sam2 import Sam2Follower, open_sam2
from keysync.mask.segmenter import Segmenter, SegmenterConfig
from keysync.outline import COMPACT, model_folder, outline, read_description
from keysync.speech import Sound
from keysync.weightfile import load_into, load_safetensors

M = TypeVar("M", bound=nn.Module)
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

    def listen(
        self, sound: Sound, mouth: Float32[np.ndarray, "all curves"] | None = None
    ) -> Callable[[Sequence[Fraction]], Float[Tensor, "frames tokens dim"]]:
        """The ear for one speech: frame times, seconds of the speech, to tokens.

        Args:
            mouth: how it moves every 20 ms (see ``movement.py``), if an encoder shall not itself tell.
        """
        encoder = self.encoder
        if not isinstance(encoder, CompactAudioEncoder):
            heard = AudioTokens(encoder, sound, device=self.device)
            return lambda times: heard.at(times, self.tokens, self.token_offset)
        heard = AudioTokens(encoder, sound, tail_s=SILENT_TAIL_S, device=self.device)
        moved = None if mouth is None else torch.from_numpy(mouth)

        def told(times: Sequence[Fraction]) -> Float[Tensor, "frames tokens dim"]:
            tokens = heard.at(times, self.tokens, self.token_offset, "repeat")
            if moved is not None:
                indices = token_indices(times, self.tokens, self.token_offset)
                tokens = encoder.with_curves(tokens, gather(moved, indices, "repeat").to(tokens))
            # Drawn people tuck the lower lip wholly away for an F or V; told so, networks wipe it off.
            return encoder.half_tucked(tokens)

        return told

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
    where = pick_device(device)
    description = read_description(folder)
    known, layout = outline(folder), Layout(**description["layout"])
    tracker = face_tracker()
    build = {"compact": _compact, "full": _full}
    try:
        autoencoder, keyframes, interpolation = build[description["kind"]](folder, description, where)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / 'model.json'}: does not describe a model ({error})") from error
    return Models(
        name=known.name,
        device=where,
        image_size=known.image_size,
        framing=known.framing,
        layout=layout,
        tracker=tracker,
        autoencoder=autoencoder,
        keyframes=keyframes,
        interpolation=interpolation,
        digest=_digest(description["sha256"]),
    )


def compact_ear() -> CompactAudioEncoder:
    """The compact model's audio encoder, which can also tell how far a speaking mouth opens."""
    return _audio_encoder(COMPACT, read_description(COMPACT), torch.device("cpu"))


@dataclass(frozen=True, kw_only=True, slots=True)
class OcclusionModels:
    """What looks for things before a face."""

    finder: Finder
    follower: Callable[[], Follower] | None = None  # refines what was found: one for each run of a face
    digest: str = ""  # of all their weights


def load_occlusion(
    occlusion: Occlusion, device: torch.device, folder: Path = OCCLUSION
) -> OcclusionModels | None:
    """The networks that one way to look for occluders needs; None for ``off``.

    Args:
        folder: of the segmenter, as ``keysync train occlusion`` makes it.
    Raises:
        CheckpointError: files are missing, altered or do not fit.
    """
    if occlusion == "off":
        return None
    palm, hand = "palm_detection_full.tflite", "hand_landmark_full.tflite"
    hands = ByHands(model_file(palm), model_file(hand))
    hashes = {name: MODELS[name].sha256 for name in (palm, hand)}
    if occlusion == "hands":
        return OcclusionModels(finder=hands, digest=_digest(hashes))
    sam2 = open_sam2(sam2_folder(), device) if occlusion == "sam2" else None
    segmenter, known = _segmenter(folder, device)
    hashes |= known
    both = Together(ByFace(FaceOrNot(segmenter, device)), hands)
    if sam2 is None:
        return OcclusionModels(finder=both, digest=_digest(hashes))
    hashes |= {
        f"sam2/{name}": hash_file(sam2_folder() / name) for name in ("config.json", "model.safetensors")
    }
    return OcclusionModels(finder=both, follower=lambda: Sam2Follower(sam2), digest=_digest(hashes))


def _segmenter(folder: Path, device: torch.device) -> tuple[Segmenter, dict[str, str]]:
    """The network of a folder, and the hashes of its files."""
    path = folder / "model.json"
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        network = Segmenter(SegmenterConfig(**_tuples(description["network"])))
        hashes = dict(description["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: does not describe a segmenter ({error})") from error
    return _filled(network, folder / "segmenter.safetensors", hashes, device), hashes


def _digest(hashes: dict[str, str]) -> str:
    return sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is a GPU where there is one.

    Raises:
        ConfigError: no such device.
    """
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
    halve = fast_on(device)
    if halve:
        halve_convolutions(autoencoder)
    encoder = _audio_encoder(folder, description, device)

    def stage(name: str) -> StageModel:
        settings = description[name]
        network = CompactUNet(CompactUNetConfig(**_tuples(settings["network"])))
        network = _filled(network, folder / f"{name}.safetensors", hashes, device)
        if halve:
            halve_convolutions(network)
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

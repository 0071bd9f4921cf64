"""Official checkpoints -> a model folder that ``load_models`` reads.

The official files hold one stage each: the network, its audio projection and a copy of the decoder.
Names map one to one, so a conversion is complete exactly when every name on both sides is used up.
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from keysync.checkpoints import hash_file
from keysync.diffusion.autoencoder import TemporalAutoencoder
from keysync.diffusion.unet import InterpolationNetwork, KeyframeNetwork, VideoUNetConfig
from keysync.errors import CheckpointError

# Ours -> official. Order matters for the autoencoder: whole blocks first, then what is inside them.
_STAGE = (
    (r"^unet\.", "model.diffusion_model."),
    (r"^audio\.", "conditioner.embedders.2.linear."),
    (r"^learned_mask$", "model.learned_mask"),
)
_AUTOENCODER = (
    (r"^vae\.", ""),
    (r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2"),
    (r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample"),
    (r"up_blocks\.(\d+)\.resnets\.(\d+)", r"up.\1.block.\2"),
    (r"up_blocks\.(\d+)\.upsamplers\.0", r"up.\1.upsample"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
    (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
    (r"temporal_res_block\.norm1", "time_stack.in_layers.0"),
    (r"temporal_res_block\.conv1", "time_stack.in_layers.2"),
    (r"temporal_res_block\.norm2", "time_stack.out_layers.0"),
    (r"temporal_res_block\.conv2", "time_stack.out_layers.3"),
    (r"spatial_res_block\.", ""),
    (r"time_mixer\.mix_factor", "mix_factor"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"conv_norm_out", "norm_out"),
    (r"time_conv_out", "conv_out.time_mix_conv"),
)
_DECODER = "first_stage_model."
_UNUSED = "conditioner.embedders.0.encoder."  # the interpolation checkpoint's second, unused autoencoder


@dataclass(frozen=True, kw_only=True, slots=True)
class FullSizes:
    """Sizes of the networks in the official files."""

    network: VideoUNetConfig = field(default_factory=VideoUNetConfig)
    autoencoder_widths: tuple[int, ...] = (128, 256, 512, 512)
    autoencoder_blocks: int = 2


def stage_name(ours: str) -> str:
    """Official name of a weight of ``KeyframeNetwork`` or ``InterpolationNetwork``."""
    return _apply(_STAGE, ours)


def autoencoder_name(ours: str, levels: int) -> str:
    """Original name, without prefix, of a weight of ``TemporalAutoencoder`` with ``levels`` sizes.

    The original counts the decoder's levels from the finest, the library that we use from the coarsest.
    """
    name = _apply(_AUTOENCODER, ours)
    return re.sub(r"(?<=\bup\.)\d+", lambda found: str(levels - 1 - int(found[0])), name)


def _apply(rules: tuple[tuple[str, str], ...], name: str) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def read_official(path: Path) -> dict[str, Tensor]:
    """The weights in an official file: ``.safetensors``, ``.pt``, ``.ckpt`` or ``.bin``.

    Raises:
        CheckpointError: the file is missing, damaged, or holds anything but plain data. Code inside a
            file is never run.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file; check the path") from error
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"{path}: not readable as plain weights ({reason}); use the official file, or a .safetensors copy"
        ) from error
    for wrapper in ("module", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{path}: holds no table of weights; use the official file")
    return {str(name).removeprefix("_forward_module."): weight for name, weight in content.items()}


def renamed(
    source: Mapping[str, Tensor], network: nn.Module, official: Callable[[str], str], path: Path
) -> dict[str, Tensor]:
    """The weights of ``network``, under its names, out of ``source``; leftovers are the caller's affair.

    Raises:
        CheckpointError: a weight is missing or has another shape.
    """
    result = {}
    for ours, wanted in network.state_dict().items():
        theirs = official(ours)
        if theirs not in source:
            raise CheckpointError(f"{path}: {theirs} is missing; is this the file of another stage?")
        weight = source[theirs]
        if weight.shape == (*wanted.shape, 1, 1):
            weight = weight[..., 0, 0]  # the autoencoder's attention, written as 1x1 convolutions
        if weight.shape != wanted.shape:
            raise CheckpointError(
                f"{path}: {theirs} is {tuple(weight.shape)} instead of {tuple(wanted.shape)}; "
                "is this the file of another stage?"
            )
        result[ours] = weight.contiguous()
    return result


def split_official(
    source: Mapping[str, Tensor], network: nn.Module, autoencoder: TemporalAutoencoder, path: Path
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A stage's weights and the decoder's (names from ``vae.decoder.`` on) out of an official file.

    Both networks may live on the meta device: only names and shapes are read.

    Raises:
        CheckpointError: a weight is missing, left over, or has another shape.
    """
    levels = len(autoencoder.vae.config.block_out_channels)
    decoder = nn.ModuleDict({"vae": nn.ModuleDict({"decoder": autoencoder.vae.decoder})})

    def decoder_name(ours: str) -> str:
        return _DECODER + autoencoder_name(ours, levels)

    parts = renamed(source, network, stage_name, path), renamed(source, decoder, decoder_name, path)
    used = {stage_name(n) for n in parts[0]} | {decoder_name(n) for n in parts[1]}
    unknown = [name for name in source if name not in used and not name.startswith(_UNUSED)]
    if unknown:
        raise CheckpointError(
            f"{path}: {len(unknown)} weights have no place, such as {unknown[0]}; is this the right file?"
        )
    return parts


def convert_official(
    keyframes: Path,
    interpolation: Path,
    autoencoder: Path,
    hubert: Path,
    wavlm: Path,
    out: Path,
    sizes: FullSizes | None = None,
) -> None:
    """Make a model folder of the official files.

    Args:
        keyframes: ``keyframe_dub.pt``, or the same as ``.safetensors``.
        interpolation: ``interpolation_dub.pt``, or the same as ``.safetensors``.
        autoencoder: the weight file in the ``vae`` folder of Stable Video Diffusion; only its encoder is
            used, the decoder comes with the keyframe file.
        hubert: folder of HuBERT base (``config.json`` and its weight file).
        wavlm: folder of WavLM Base+, likewise.
        out: folder to make; it counts as a model once ``model.json``, written last, is there.
        sizes: of the networks, if not the official ones.
    Raises:
        CheckpointError: a file is missing, damaged or not what it should be.
    """
    sizes = sizes or FullSizes()
    with torch.device("meta"):
        coder = TemporalAutoencoder(sizes.autoencoder_widths, sizes.autoencoder_blocks)
        stages = {
            "keyframes": (keyframes, KeyframeNetwork(sizes.network)),
            "interpolation": (interpolation, InterpolationNetwork(sizes.network)),
        }
    out.mkdir(parents=True, exist_ok=True)
    (out / "model.json").unlink(missing_ok=True)
    decoders = {}
    for name, (path, network) in stages.items():
        weights, decoders[name] = split_official(read_official(path), network, coder, path)
        _save(weights, out / f"{name}.safetensors")
        del weights  # several GB, and the next stage brings as many
    encoder = {n: w for n, w in coder.state_dict().items() if not n.startswith("vae.decoder.")}
    source = read_official(autoencoder)
    faulty = [n for n, w in encoder.items() if source.get(n[4:], torch.empty(0)).shape != w.shape]
    if faulty:
        raise CheckpointError(
            f"{autoencoder}: {faulty[0][4:]} is missing or has another shape; use the file in the vae folder"
        )
    _save(decoders["keyframes"] | {n: source[n[4:]] for n in encoder}, out / "autoencoder.safetensors")
    _copy_encoder(hubert, out / "hubert")
    _copy_encoder(wavlm, out / "wavlm")
    description = _description(sizes) | {
        "sha256": {p.name: hash_file(p) for p in sorted(out.glob("*.safetensors"))}
    }
    (out / "model.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _save(weights: Mapping[str, Tensor], path: Path) -> None:
    part = path.with_suffix(".partial")
    save_file(dict(weights), part, metadata={"format": "pt"})
    part.replace(path)


def _copy_encoder(folder: Path, out: Path) -> None:
    """A speech encoder's configuration and weights; pickled weights become safetensors."""
    found = [folder / n for n in ("model.safetensors", "pytorch_model.bin") if (folder / n).is_file()]
    if not found or not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder}: needs config.json and model.safetensors or pytorch_model.bin")
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "config.json", out / "config.json")
    # Cloned: a pickle may hold two names for one memory, a safetensors file may not.
    _save({n: w.contiguous().clone() for n, w in read_official(found[0]).items()}, out / "model.safetensors")


def _description(sizes: FullSizes) -> dict[str, Any]:
    """``model.json``: sizes, and the reference's settings for sampling."""

    def stage(encoder: str, token_offset: int) -> dict[str, Any]:
        return {
            "network": asdict(sizes.network),
            "encoder": encoder,
            "token_offset": token_offset,
            "sampling": {"steps": 10, "audio_guidance": 5.0, "reference_guidance": 2.0, "rows": 2},
        }

    return {
        "kind": "full",
        "image_size": 8 * sizes.network.latent_size,
        # Head and shoulders, as in talking-head corpora; the training framing is not published.
        "framing": {"eye_distance": 0.22, "eye_y": 0.42},
        "layout": {"window": 14, "group": 14},
        "autoencoder": {"widths": sizes.autoencoder_widths, "blocks": sizes.autoencoder_blocks},
        "keyframes": stage("hubert", 0),
        # The reference stretches WavLM's tokens by doubling the first: all others come 20 ms late.
        "interpolation": stage("wavlm", -1),
    }

"""16 kHz samples -> 50 tokens a second: what every audio encoder promises, and the two large ones.

HuBERT (Hsu et al. 2021, arXiv:2106.07447) and WavLM (Chen et al. 2022, arXiv:2110.13900) are the
transformers library's; their weights are opened from a local folder and never looked up elsewhere.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from keysync.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import HubertModel, WavLMModel

RATE_HZ = 16_000
HOP = 320  # samples a token
# The convolutions of both encoders see 400 samples: 80 more than a token's own, so the last needs company.
_TAIL = 80
_UNUSED = {"masked_spec_embed"}  # serves pretraining only; many files leave it out
_CONTEXT_S = 2.0


@runtime_checkable
class AudioEncoder(Protocol):
    """Samples in, tokens out: exactly ceil(n / 320), token k for the 20 ms from sample 320 k on."""

    @property
    def dim(self) -> int:
        """Width of a token."""
        ...

    @property
    def context_s(self) -> float:
        """How much sound to either side a token should hear, in seconds."""
        ...

    def __call__(self, samples: Float[Tensor, " n"]) -> Float[Tensor, "tokens dim"]: ...


class HubertEncoder:
    """HuBERT's last layer.

    It was trained on sound of mean 0 and variance 1. Those of the *whole* clip must be given, else the
    loudness of a word would depend on what else is in its chunk.
    """

    context_s = _CONTEXT_S

    def __init__(self, model: HubertModel) -> None:
        self._model = model.eval()
        self.dim: int = model.config.hidden_size

    @classmethod
    def from_folder(cls, folder: Path, device: torch.device | None = None) -> HubertEncoder:
        """Open a folder in the transformers layout.

        Raises:
            CheckpointError: no such folder, no safetensors in it, or weights are missing.
        """
        from transformers import HubertModel

        return cls(_open(HubertModel, folder, device))

    def __call__(
        self, samples: Float[Tensor, " n"], mean: float = 0.0, variance: float = 1.0
    ) -> Float[Tensor, "tokens dim"]:
        """Tokens of ``samples``; ``mean`` and ``variance`` are those of the whole clip."""
        return _last_layer(self._model, standardise(samples, mean, variance))


class WavLMEncoder:
    """WavLM's last layer. It takes the sound as it is."""

    context_s = _CONTEXT_S

    def __init__(self, model: WavLMModel) -> None:
        self._model = model.eval()
        self.dim: int = model.config.hidden_size

    @classmethod
    def from_folder(cls, folder: Path, device: torch.device | None = None) -> WavLMEncoder:
        """Open a folder in the transformers layout.

        Raises:
            CheckpointError: no such folder, no safetensors in it, or weights are missing.
        """
        from transformers import WavLMModel

        return cls(_open(WavLMModel, folder, device))

    def __call__(self, samples: Float[Tensor, " n"]) -> Float[Tensor, "tokens dim"]:
        """Tokens of ``samples``."""
        return _last_layer(self._model, samples)


def standardise(samples: Float[Tensor, " n"], mean: float, variance: float) -> Float[Tensor, " n"]:
    """Mean 0, variance 1; the small constant keeps silence silent."""
    scaled: Tensor = (samples - mean) / (variance + 1e-7) ** 0.5
    return scaled


def _last_layer(model: Any, samples: Float[Tensor, " n"]) -> Float[Tensor, "tokens dim"]:
    tokens = -(-len(samples) // HOP)
    padded = F.pad(samples, (0, tokens * HOP + _TAIL - len(samples)))
    heard: Tensor = model(padded[None].to(model.device, model.dtype)).last_hidden_state[0]
    return heard


def _open(kind: Any, folder: Path, device: torch.device | None) -> Any:
    """Load a transformers model strictly, from this folder alone."""
    if not folder.is_dir():  # transformers would take the name for one to download
        raise CheckpointError(f"{folder}: no such folder; give one with config.json and model.safetensors")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of, we check
            model, report = kind.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise CheckpointError(
            f"{folder}: not a {kind.__name__} folder with safetensors weights ({reason}); "
            "convert pickled weights with `keysync models convert`"
        ) from error
    missing = sorted(set(report["missing_keys"]) - _UNUSED)
    if missing:
        told = ", ".join(missing[:3])
        raise CheckpointError(f"{folder}: {len(missing)} weights of {kind.__name__} are missing ({told})")
    return model.to(device).requires_grad_(False)

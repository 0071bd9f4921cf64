"""CMMD: how far the generated frames are from the true ones in CLIP's eyes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from keysync.evaluate.learned.distance import maximum_mean_discrepancy
from keysync.evaluate.learned.metric import LearnedMetric, check_pair, device_of, to_unit
from keysync.evaluate.learned.weights import WeightFile

CLIP = WeightFile(
    "clip-vit-large-patch14-336.bin",
    "pytorch_model.bin of openai/clip-vit-large-patch14-336 under this name",
    "c6032c2e0caae3dc2d4fba35535fa6307dbb49df59c7e182b1bc4b3329b81801",
)
_UNUSED = ("text_model.", "text_projection.", "logit_scale", "vision_model.embeddings.position_ids")
_MEAN, _SPREAD = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)  # CLIP's training set
_BATCH = 8  # frames at once


class Cmmd(LearnedMetric):
    """Maximum mean discrepancy of CLIP embeddings over all frames; 0 for equal sets, lower is better.

    Makes no assumption about how features are spread and needs fewer frames than FID; as blind to sync.

    Source: Jayasumana et al. 2024, arXiv:2401.09603.
    """

    files: ClassVar[tuple[WeightFile, ...]] = (CLIP,)
    higher_is_better: ClassVar[bool] = False

    def __init__(self, network: CLIPVisionModelWithProjection) -> None:
        self._network = network
        self._pred: list[Float[np.ndarray, "n dim"]] = []
        self._ref: list[Float[np.ndarray, "n dim"]] = []

    @staticmethod
    def build() -> CLIPVisionModelWithProjection:
        """ViT-L/14 at 336 pixels, the size of the published file."""
        config = CLIPVisionConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=24,
            num_attention_heads=16,
            image_size=336,
            patch_size=14,
            projection_dim=768,
        )
        return CLIPVisionModelWithProjection(config)

    @classmethod
    def load(cls, device: str) -> Cmmd:
        return cls(CLIP.load(cls.build(), unused=_UNUSED).to(device))

    def add(
        self,
        pred: UInt8[np.ndarray, "t h w 3"],
        ref: UInt8[np.ndarray, "u h w 3"],
        speech: Float32[np.ndarray, " n"] | None,  # noqa: ARG002
        mouth: Float32[np.ndarray, "v 68 2"] | None,  # noqa: ARG002
    ) -> None:
        check_pair(pred, ref)
        embedded = self._embed(pred), self._embed(ref)
        self._pred.append(embedded[0])
        self._ref.append(embedded[1])

    def total(self) -> float | None:
        if not self._pred:
            return None
        return maximum_mean_discrepancy(np.concatenate(self._pred), np.concatenate(self._ref))

    @torch.no_grad()
    def _embed(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, "t dim"]:
        side = self._network.config.image_size
        parts = []
        for start in range(0, len(frames), _BATCH):
            x = to_unit(frames[start : start + _BATCH], device_of(self._network))
            x = F.interpolate(x, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
            mean, spread = (torch.tensor(values).to(x)[:, None, None] for values in (_MEAN, _SPREAD))
            embeds = self._network(pixel_values=(x - mean) / spread).image_embeds
            parts.append(F.normalize(embeds, dim=1).cpu().numpy())
        return np.concatenate(parts)

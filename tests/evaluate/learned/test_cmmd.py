from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from keysync.errors import CheckpointError
from keysync.evaluate.learned import cmmd
from keysync.evaluate.learned.cmmd import Cmmd

from .conftest import Clip, lively

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def network() -> nn.Module:
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**SIZES, projection_dim=16))


def test_equal_sets_have_no_distance_and_a_changed_one_has(clip: Clip) -> None:
    same, other = (Cmmd(lively(network())) for _ in range(2))
    assert same.total() is None
    for seed in (0, 1):
        video = clip(9, seed)
        assert same.add(video, video, None, None) is None
        other.add(255 - video // 2, video, None, None)
    assert same.total() == pytest.approx(0, abs=1e-9)
    assert other.total() > 0.01
    assert not Cmmd.higher_is_better


@pytest.mark.usefixtures("unpinned")
def test_the_published_file_loads_without_its_text_half(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cmmd, "build", staticmethod(network))
    assert "clip-vit-large-patch14-336.bin" in str(Cmmd.absent())
    text = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "vocab_size": 9,
    }
    whole = CLIPModel(CLIPConfig(text_config=text, vision_config=SIZES, projection_dim=16))
    state = {**whole.state_dict(), "vision_model.embeddings.position_ids": torch.arange(5)[None]}
    torch.save(state, models / cmmd.CLIP.name)
    loaded = Cmmd.load("cpu")._network
    assert torch.equal(loaded.visual_projection.weight, whole.visual_projection.weight)
    del state["visual_projection.weight"]
    torch.save(state, models / cmmd.CLIP.name)
    with pytest.raises(CheckpointError, match=r"1 missing \(visual_projection\.weight\)"):
        Cmmd.load("cpu")


def test_size_of_the_published_network() -> None:
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in Cmmd.build().state_dict().items()}
    assert shapes["vision_model.embeddings.position_embedding.weight"] == (24 * 24 + 1, 1024)
    assert shapes["vision_model.encoder.layers.23.mlp.fc1.weight"] == (4096, 1024)
    assert shapes["visual_projection.weight"] == (768, 1024)

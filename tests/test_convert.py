from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from keysync.convert import FullSizes, autoencoder_name, convert_official, read_official, stage_name
from keysync.diffusion.autoencoder import TemporalAutoencoder
from keysync.diffusion.unet import InterpolationNetwork, KeyframeNetwork, VideoUNetConfig
from keysync.errors import CheckpointError

SIZES = FullSizes(
    network=VideoUNetConfig(
        width=32,
        multipliers=(1, 2),
        blocks=1,
        attention_at=(1,),
        head_width=16,
        audio_width=6,
        heard_width=12,
        latent_size=8,
    ),
    autoencoder_widths=(32, 64),
)


class Official:
    """Small networks, and files of them as the official ones are written."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.folder = folder
        self.keyframes = KeyframeNetwork(SIZES.network)
        self.interpolation = InterpolationNetwork(SIZES.network)
        self.autoencoder = TemporalAutoencoder(SIZES.autoencoder_widths)
        self.tables = {name: self.table(name) for name in ("keyframes", "interpolation")}
        self.tables["interpolation"]["conditioner.embedders.0.encoder.encoder.conv_in.bias"] = torch.zeros(3)
        torch.save(
            {"module": {f"_forward_module.{n}": w for n, w in self.tables["keyframes"].items()}, "step": 7},
            folder / "keyframe_dub.pt",
        )
        save_file(self.tables["interpolation"], folder / "interpolation.safetensors")
        save_file(
            {n.removeprefix("vae."): w for n, w in self.autoencoder.state_dict().items()},
            folder / "vae.safetensors",
        )
        for name in ("hubert", "wavlm"):
            (folder / name).mkdir()
            (folder / name / "config.json").write_text("{}")
            torch.save({"layer.weight": torch.ones(2)}, folder / name / "pytorch_model.bin")

    def table(self, name: str) -> dict[str, Tensor]:
        network = self.keyframes if name == "keyframes" else self.interpolation
        table = {stage_name(n): w for n, w in network.state_dict().items()}
        for ours, weight in self.autoencoder.state_dict().items():
            if ours.startswith("vae.decoder."):
                convolution = ".attentions.0.to_" in ours and weight.ndim == 2
                theirs = "first_stage_model." + autoencoder_name(ours, 2)
                table[theirs] = weight[..., None, None] if convolution else weight
        return table

    def convert(self, keyframes: str = "keyframe_dub.pt") -> Path:
        convert_official(
            self.folder / keyframes,
            self.folder / "interpolation.safetensors",
            self.folder / "vae.safetensors",
            self.folder / "hubert",
            self.folder / "wavlm",
            self.folder / "out",
            SIZES,
        )
        return self.folder / "out"


@pytest.fixture
def official(tmp_path: Path) -> Official:
    return Official(tmp_path)


def test_a_converted_folder_holds_the_very_weights(official: Official) -> None:
    out = official.convert()
    for name in ("keyframes", "interpolation", "autoencoder"):
        expected = getattr(official, name).state_dict()
        converted = load_file(out / f"{name}.safetensors")
        assert converted.keys() == expected.keys()
        assert all(torch.equal(converted[n], w) for n, w in expected.items())
    assert load_file(out / "wavlm" / "model.safetensors")["layer.weight"].tolist() == [1, 1]
    assert (out / "hubert" / "config.json").is_file()


def test_the_description_builds_the_same_networks(official: Official) -> None:
    out = official.convert()
    described = json.loads((out / "model.json").read_text())
    settings = described["keyframes"]["network"]
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    assert VideoUNetConfig(**settings) == SIZES.network
    rebuilt = TemporalAutoencoder(**described["autoencoder"])
    assert rebuilt.state_dict().keys() == official.autoencoder.state_dict().keys()
    assert described["interpolation"]["sampling"]["audio_guidance"] == 5
    written = hashlib.sha256((out / "keyframes.safetensors").read_bytes()).hexdigest()
    assert described["sha256"]["keyframes.safetensors"] == written
    assert len(described["sha256"]) == 3


def test_names_are_one_to_one(official: Official) -> None:
    names = list(official.autoencoder.state_dict())
    assert len({autoencoder_name(n, 2) for n in names}) == len(names)
    ours = "vae.decoder.up_blocks.0.resnets.1.temporal_res_block.conv2.weight"
    assert autoencoder_name(ours, 4) == "decoder.up.3.block.1.time_stack.out_layers.3.weight"
    assert stage_name("unet.time_embed.0.bias") == "model.diffusion_model.time_embed.0.bias"


def test_the_wrong_stages_file_is_refused_and_leaves_no_model(official: Official) -> None:
    with pytest.raises(CheckpointError, match="another stage"):
        official.convert(keyframes="interpolation.safetensors")
    assert not (official.folder / "out" / "model.json").exists()


def test_a_missing_weight_is_named(official: Official) -> None:
    table = official.tables["keyframes"]
    del table["model.diffusion_model.out.2.bias"]
    save_file(table, official.folder / "short.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.diffusion_model\.out\.2\.bias is missing"):
        official.convert(keyframes="short.safetensors")


def test_a_left_over_weight_is_named(official: Official) -> None:
    save_file(
        official.tables["keyframes"] | {"model_ema.decay": torch.zeros(1)},
        official.folder / "more.safetensors",
    )
    with pytest.raises(CheckpointError, match=r"1 weights have no place, such as model_ema\.decay"):
        official.convert(keyframes="more.safetensors")


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return open, ("trap-was-sprung", "w")


@pytest.mark.parametrize("how", ["zip", "plain"])
def test_code_in_a_file_is_never_run(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pt"
    if how == "zip":
        torch.save({"module": {"x": torch.zeros(1)}, "args": _Trap()}, path)
    else:
        path.write_bytes(pickle.dumps({"module": _Trap()}))
    with pytest.raises(CheckpointError, match="not readable as plain weights"):
        read_official(path)
    assert not (tmp_path / "trap-was-sprung").exists()


def test_lightning_and_bare_files_are_read_alike(tmp_path: Path) -> None:
    table = {"a.weight": torch.ones(2)}
    torch.save({"state_dict": table, "epoch": 3}, tmp_path / "a.ckpt")
    torch.save(table, tmp_path / "b.bin")
    save_file(table, tmp_path / "c.safetensors")
    for path in sorted(tmp_path.iterdir()):
        assert torch.equal(read_official(path)["a.weight"], table["a.weight"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for name in ("none.pt", "none.safetensors"):
        with pytest.raises(CheckpointError, match=f"{name}: no such file"):
            read_official(tmp_path / name)

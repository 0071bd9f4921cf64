"""The reference's numbers: small networks with random weights, run through the original code."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from diffusers.models.unets.unet_3d_blocks import MidBlockTemporalDecoder
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from keysync.convert import split_official
from keysync.diffusion.autoencoder import LATENT_SCALE, TemporalAutoencoder
from keysync.diffusion.condition import Condition
from keysync.diffusion.unet import InterpolationNetwork, KeyframeNetwork, VideoUNetConfig

Load = Callable[[str], dict[str, Tensor]]
Stage = KeyframeNetwork | InterpolationNetwork


@pytest.fixture(scope="session")
def parity_folder() -> Path:
    beside = Path(__file__).parents[3] / "shared" / "parity"
    folder = Path(os.environ.get("KEYSYNC_PARITY", beside))
    if not folder.is_dir():
        pytest.skip(f"no reference numbers in {folder}; set KEYSYNC_PARITY to their folder")
    return folder


@pytest.fixture(scope="session")
def numbers(parity_folder: Path) -> Load:
    return lambda name: load_file(parity_folder / f"{name}.safetensors")


def _sizes(path: Path) -> tuple[VideoUNetConfig, dict[str, list[int]]]:
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
    unet = config["unet"]
    return VideoUNetConfig(
        width=unet["model_channels"],
        multipliers=tuple(unet["channel_mult"]),
        blocks=unet["num_res_blocks"],
        attention_at=tuple(unet["attention_resolutions"]),
        head_width=unet["num_head_channels"],
        audio_width=unet["audio_dim"],
        heard_width=unet["context_dim"],
        latent_size=unet["latent"],
    ), config["vae"]


@pytest.fixture(scope="session")
def autoencoder(parity_folder: Path) -> TemporalAutoencoder:
    """The engines' decoder; the encoder's weights are in a file of their own."""
    path = parity_folder / "engine_keyframe.safetensors"
    config, vae = _sizes(path)
    widths = [vae["ch"] * m for m in vae["ch_mult"]]
    model = TemporalAutoencoder(widths, vae["num_res_blocks"], rows=3)
    # The library ties the middle's length to the levels'; the original's has two blocks, whatever they have.
    model.vae.decoder.mid_block = MidBlockTemporalDecoder(widths[-1], widths[-1], widths[-1], num_layers=2)
    decoder = split_official(load_file(path), KeyframeNetwork(config), model, path)[1]
    model.load_state_dict(model.state_dict() | decoder)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session", params=["keyframe", "interpolation"])
def stage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def networks(parity_folder: Path, autoencoder: TemporalAutoencoder) -> dict[str, Stage]:
    decoder = load_file(parity_folder / "engine_keyframe.safetensors")
    decoder = {n: w for n, w in decoder.items() if n.startswith("first_stage_model.")}
    built: dict[str, Stage] = {}
    for name, build in (("keyframe", KeyframeNetwork), ("interpolation", InterpolationNetwork)):
        path = parity_folder / f"engine_{name}.safetensors"
        built[name] = build(_sizes(path)[0]).eval()
        weights = split_official(load_file(path) | decoder, built[name], autoencoder, path)[0]
        built[name].load_state_dict(weights)
    return built


@pytest.fixture
def network(networks: dict[str, Stage], stage: str) -> Stage:
    return networks[stage].requires_grad_(False)


@pytest.fixture
def told_directly(network: Stage) -> Iterator[Callable[..., Condition]]:
    """A condition from what the original network got: projected sound and un-scaled references."""
    projection, network.audio = network.audio, nn.Identity()

    def build(
        crossattn: Tensor, concat: Tensor, kept: Tensor | None = None, mask: Tensor | None = None
    ) -> Condition:
        segments, frames = crossattn.shape[:2]
        reference = concat.unflatten(1, (-1, 4)) * LATENT_SCALE
        shape = (segments, frames, 4, *concat.shape[-2:])
        return Condition(
            audio=crossattn[:, :, None],
            reference=reference,
            kept=torch.zeros(shape) if kept is None else kept.movedim(2, 1),
            mask=torch.ones(shape)[:, :, :1] if mask is None else mask.movedim(2, 1),
        )

    yield build
    network.audio = projection

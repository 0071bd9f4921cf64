"""All the code keeps to the device of its network: shown on any machine, with no GPU in it.

``Elsewhere`` is a device whose tensors lie in ordinary memory and hide there: whatever would mix them with
ordinary ones, or draw them from the wrong generator, fails as it does on a GPU. Results are those of the CPU,
but for rounding: PyTorch takes other ways through attention and convolutions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from transformers import HubertConfig, HubertModel

from keysync import sync_file
from keysync.audio.compact import CompactAudioConfig, CompactAudioEncoder
from keysync.audio.encoder import HubertEncoder
from keysync.config import SyncConfig
from keysync.diffusion.autoencoder import TemporalAutoencoder
from keysync.diffusion.compact_autoencoder import CompactAutoencoder, CompactAutoencoderConfig
from keysync.diffusion.compact_unet import CompactUNet, CompactUNetConfig
from keysync.media.read import read_frames
from keysync.models import load_models
from keysync.synthetic.articulate import CURVES
from keysync.synthetic.utterance import PHONES
from keysync.train import audio, pace
from keysync.train.autoencoder import fit_components, train_decoder
from keysync.train.dataset import PreparedClip
from keysync.train.judge import train_judge
from keysync.train.loop import TrainConfig, train_stage
from keysync.train.spoken import Spoken

HERE, ELSEWHERE = torch.device("cpu"), torch.device("meta")  # meta: the one other device of every machine
aten = torch.ops.aten
_CARRY = (aten._to_copy.default, aten.copy_.default)  # these may go from one device to another
_INDEX = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)  # CPU indices are moved along


class Elsewhere(Tensor):
    """A tensor that says it is on another device, around one that is not."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        made = Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device=ELSEWHERE,
        )  # fmt: skip
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.held.tolist()

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(_places(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_places(key), value)


def _places(key: Any) -> Any:
    """Lists as tensors: PyTorch would make them where no mode sees it."""
    if isinstance(key, tuple):
        return tuple(_places(part) for part in key)
    return torch.as_tensor(key) if isinstance(key, list) else key


class _Machine(TorchDispatchMode):
    """The machine that has such a device."""

    def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = any(isinstance(tensor, Elsewhere) for tensor in tensors)
    ours = [tensor for tensor in tensors if tensor.ndim and not isinstance(tensor, Elsewhere)]
    if there and ours and func not in _CARRY and not (func in _INDEX and isinstance(args[0], Elsewhere)):
        raise RuntimeError(f"{func}: tensors on two devices")
    if kwargs.get("device") is not None:
        there = torch.device(kwargs["device"]).type == ELSEWHERE.type
        kwargs = kwargs | {"device": HERE}
    if func is aten.copy_.default:
        there = isinstance(args[0], Elsewhere)
    if any(tensor.is_meta and not isinstance(tensor, Elsewhere) for tensor in tensors):
        raise RuntimeError(f"{func}: a tensor that holds nothing")
    if there and kwargs.get("generator") is not None:
        raise RuntimeError(f"{func}: a generator of another device")
    held_args, held_kwargs = tree_map(
        lambda leaf: leaf.held if isinstance(leaf, Elsewhere) else leaf, (args, kwargs)
    )
    result = func(*held_args, **held_kwargs)
    if func._schema.name.endswith("_") and isinstance(result, Tensor):
        return args[0]  # changed in place
    return tree_map(lambda leaf: Elsewhere(leaf) if there and isinstance(leaf, Tensor) else leaf, result)


@pytest.fixture(autouse=True)
def _prepared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """PyTorch's ways around what a device that it does not know lacks."""
    make = torch.tensor

    def tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        made = make(data, **options)  # made before any mode looks
        return made if device is None else made.to(device)

    monkeypatch.setattr(torch, "tensor", tensor)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a mode is known to its own thread only
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    yield
    torch.__future__.set_overwrite_module_params_on_conversion(False)
    torch.set_num_threads(threads)


@contextmanager
def _on(device: torch.device) -> Iterator[None]:
    with _Machine() if device == ELSEWHERE else nullcontext():
        yield


def _figures(curve: Path) -> np.ndarray:
    """A learning curve without its second column, the seconds."""
    return np.delete(np.loadtxt(curve, delimiter=",", skiprows=1, ndmin=2), 1, axis=1)


def _clips() -> list[PreparedClip]:
    rng = np.random.default_rng(0)
    masks = np.zeros((16, 4, 4), np.float32)
    masks[:, 2:] = 1
    return [
        PreparedClip(
            rng.integers(0, 255, (16, 64, 64, 3)).astype(np.uint8),
            masks,
            masks.copy(),
            rng.random((16, 2)).astype(np.float32),
            rng.random((2, 16, 8, 3)).astype(np.float32),
        )
        for _ in range(3)
    ]


def test_the_two_devices_do_not_mix() -> None:
    with _on(ELSEWHERE):
        there = torch.ones(2).to(ELSEWHERE)
        assert (there + 1).tolist() == [2, 2]
        with pytest.raises(RuntimeError, match="two devices"):
            there + torch.ones(2)
        with pytest.raises(RuntimeError, match="generator"):
            torch.randn(2, generator=torch.Generator(), device=ELSEWHERE)


def test_every_part_of_training_is_the_same_there(tmp_path: Path) -> None:
    parts = CompactAutoencoderConfig(channels=4, patch=16, shrink=1, widths=(8, 8))
    sizes = CompactUNetConfig(
        latent_channels=4, cells=4, widths=(8, 16, 16), embedding=16, audio_dim=3, audio_width=8, heads=2
    )
    clips, results = _clips(), []
    for device in (HERE, ELSEWHERE):
        out = tmp_path / device.type
        torch.manual_seed(0)
        autoencoder, keyframes, interpolation = (
            CompactAutoencoder(parts),
            CompactUNet(sizes),
            CompactUNet(sizes),
        )
        fit_components(autoencoder, clips, 0)
        with _on(device):
            for network in (autoencoder, keyframes, interpolation):
                network.to(device)
            train_decoder(autoencoder, clips, clips[:1], out / "one", steps=2, seed=0, side=32, batch=2)
            judge, _ = train_judge(autoencoder, clips, 6, 0)
            config = TrainConfig(stage="keyframes", steps=4, frames_per_step=3, window=3, single_share=0.5)
            keyframes = train_stage(keyframes, autoencoder, clips, clips[:1], out / "two", config, judge)
            config = TrainConfig(stage="interpolation", steps=2, frames_per_step=6, window=3)
            train_stage(
                interpolation,
                autoencoder,
                clips,
                clips[:1],
                out / "three",
                config,
                judge,
                keyframes=keyframes,
            )
            autoencoder.train().requires_grad_(True)
            train_decoder(
                autoencoder,
                clips,
                clips[:1],
                out / "four",
                steps=2,
                seed=0,
                side=32,
                painter=keyframes,
                judge=judge,
                batch=3,
            )
        results.append([_figures(out / part / "curve.csv") for part in ("one", "two", "three", "four")])
    for here, there in zip(*results, strict=True):
        np.testing.assert_allclose(here, there, atol=0.02)


def test_how_fast_it_learns_there_can_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = CompactAutoencoderConfig(channels=4, patch=16, shrink=1, widths=(8, 8))
    sizes = CompactUNetConfig(
        latent_channels=4, cells=8, widths=(8, 16, 16), embedding=16, audio_dim=7, audio_width=8, heads=2
    )
    monkeypatch.setattr(pace, "CompactAutoencoderConfig", lambda: parts)
    monkeypatch.setattr(pace, "CompactUNetConfig", lambda: sizes)
    monkeypatch.setattr(audio, "_BATCH", 2)
    monkeypatch.setattr(pace, "_LEAST_S", 0.0)
    stages = TrainConfig(stage="keyframes", steps=1), TrainConfig(stage="interpolation", steps=1, window=3)
    with _on(ELSEWHERE):
        seconds = pace.step_seconds(ELSEWHERE, *stages)
    assert list(seconds) == ["audio", "judge", "keyframes", "interpolation", "decoder", "refine"]
    assert all(0 <= step_s < 60 for step_s in seconds.values())


def test_the_ear_learns_the_same_there(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    spoken = [
        Spoken(
            "slt",
            rng.integers(-3000, 3000, 320 * 120).astype(np.int16),
            rng.integers(0, len(PHONES), 120),
            rng.random((120, len(CURVES))).astype(np.float32),
        )
        for _ in range(2)
    ]
    results = []
    for device in (HERE, ELSEWHERE):
        torch.manual_seed(0)
        sizes = CompactAudioConfig(width=8, blocks=2, phones=len(PHONES))
        network, average = CompactAudioEncoder(sizes), CompactAudioEncoder(sizes).requires_grad_(False)
        (tmp_path / device.type).mkdir()
        now = audio._Round("exact", 2, 1e-3, [(spoken, 2)], spoken)
        with _on(device):
            audio._learn(now, tmp_path / device.type, network.to(device), average, 0, device, lambda _: None)
        results.append(list(average.parameters()))
    torch.testing.assert_close(*results)


def test_a_film_is_the_same_from_there(
    tiny_folder: Path, still_face: Any, make_clip: Any, make_speech: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("keysync.models.face_tracker", still_face)
    monkeypatch.setattr("keysync.models.fast_on", lambda _: False)
    films, config = [], SyncConfig(video_codec="ffv1", length="video", occlusion="off")
    for device in (HERE, ELSEWHERE):
        monkeypatch.setattr("keysync.models.pick_device", lambda _, device=device: device)
        out = tmp_path / f"{device.type}.mkv"
        with _on(device):
            sync_file(make_clip(9), make_speech(), out, models=load_models(tiny_folder), config=config)
        films.append(np.stack([frame.rgb() for frame in read_frames(out)]))
    assert np.abs(films[0].astype(int) - films[1]).max() <= 2


def test_the_large_networks_run_there() -> None:
    torch.manual_seed(0)
    ear = HubertModel(
        HubertConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            conv_dim=[8] * 7,
            num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2,
        )
    )
    autoencoder, sound, pictures = (
        TemporalAutoencoder((32, 64)).eval(),
        torch.randn(3200),
        torch.rand(2, 3, 32, 32),
    )
    results = []
    for device in (HERE, ELSEWHERE):
        with _on(device), torch.no_grad():
            heard = HubertEncoder(ear.to(device))(sound.to(device), 0.0, 1.0)
            latents = autoencoder.to(device).encode(pictures.to(device))
            results.append([heard.to(HERE), latents.to(HERE)])
    torch.testing.assert_close(*results)

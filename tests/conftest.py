"""A tiny model with random weights, a still face, small clips: enough to run the whole flow in seconds."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from jaxtyping import UInt8

from keysync.audio.compact import CompactAudioConfig, CompactAudioEncoder
from keysync.checkpoints import hash_file
from keysync.clip import Face
from keysync.diffusion.compact_autoencoder import CompactAutoencoder, CompactAutoencoderConfig
from keysync.diffusion.compact_unet import CompactUNet, CompactUNetConfig
from keysync.face.crop import Framing
from keysync.face.track import FaceTracker
from keysync.generate.layout import Layout
from keysync.models import Models, load_models
from keysync.train.compact import SAMPLING, save_half

SIZE = 64  # of the crop
MakeClip = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compact model folder: 4 latent channels on 4x4 cells."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    parts = CompactAutoencoderConfig(channels=4, patch=16, shrink=1, widths=(8, 8))
    network = CompactUNetConfig(
        latent_channels=4, cells=4, widths=(8, 16, 16), embedding=16, audio_dim=48, audio_width=8, heads=2
    )
    audio = CompactAudioConfig(width=8, blocks=1)
    autoencoder = CompactAutoencoder(parts)
    torch.nn.init.normal_(autoencoder.components, std=0.05)
    save_half(autoencoder, folder / "autoencoder.safetensors")
    save_half(CompactAudioEncoder(audio), folder / "audio.safetensors")
    for stage in ("keyframes", "interpolation"):
        unet = CompactUNet(network)
        for parameter in unet.parameters():  # zero starts would hide what the branches do
            torch.nn.init.normal_(parameter, std=0.1)
        save_half(unet, folder / f"{stage}.safetensors")
    description = {
        "kind": "compact",
        "image_size": SIZE,
        "framing": asdict(Framing()),
        "layout": asdict(Layout(window=5, group=4)),
        "autoencoder": asdict(parts),
        "audio": asdict(audio),
        "keyframes": {"network": asdict(network), "sampling": SAMPLING},
        "interpolation": {"network": asdict(network), "sampling": SAMPLING},
        "sha256": {path.name: hash_file(path) for path in folder.glob("*.safetensors")},
    }
    (folder / "model.json").write_text(json.dumps(description))
    return folder


class StillFace(FaceTracker):
    """Sees the same face in every frame, except where told that there is none."""

    def __init__(self, hidden: frozenset[int] = frozenset()) -> None:
        self.hidden, self.number = hidden, 0

    def faces(
        self,
        rgb: UInt8[np.ndarray, "h w 3"],  # noqa: ARG002
        last: Sequence[Face],
        *,
        search: bool = False,  # noqa: ARG002
        most: int = 6,  # noqa: ARG002
    ) -> list[Face | None]:
        points = np.zeros((68, 2), np.float32)
        turn = np.linspace(np.pi, 0, 17)
        points[:17] = np.stack([48 + 26 * np.cos(turn), 34 + 34 * np.sin(turn)], axis=1)
        points[17:27] = (48, 22)
        points[27:31] = np.stack([np.full(4, 48), np.linspace(30, 44, 4)], axis=1)
        points[31:36] = np.stack([np.linspace(42, 54, 5), np.full(5, 47)], axis=1)
        points[36:42], points[42:48] = (38, 30), (58, 30)
        points[36], points[39], points[42], points[45] = (34, 30), (42, 30), (54, 30), (62, 30)
        points[48:68] = (48, 56)
        points[48], points[54] = (40, 56), (56, 56)
        turn = np.linspace(0, 2 * np.pi, 468)
        mesh = np.stack([48 + 26 * np.cos(turn), 40 + 30 * np.sin(turn)], axis=1).astype(np.float32)
        number, self.number = self.number, self.number + 1
        if number in self.hidden:
            return [None] * len(last)
        return [Face(mesh, points, 1.0), *[None] * (len(last) - 1)]


@pytest.fixture
def still_face() -> type[StillFace]:
    return StillFace


@pytest.fixture
def tiny(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Models:
    """The tiny model with ``StillFace`` for eyes; nothing is ever before a face."""
    monkeypatch.setattr("keysync.models.face_tracker", StillFace)
    monkeypatch.setattr("keysync.check.face_tracker", StillFace)
    for place in ("keysync.pipeline", "keysync.models"):
        monkeypatch.setattr(f"{place}.load_occlusion", lambda *_: None)
    return load_models(tiny_folder, "cpu")


@pytest.fixture
def make_clip(tmp_path: Path) -> MakeClip:
    """make_clip(frames, rate, times, name): one lossless 96x80 shot with some noise."""

    def make(
        frames: int = 12,
        rate: Fraction = Fraction(25),
        times: list[Fraction] | None = None,
        name: str = "clip.mkv",
    ) -> Path:
        path = tmp_path / name
        rng = np.random.default_rng(0)
        scene = rng.integers(60, 180, (80, 96, 3))
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=rate)
            stream.width, stream.height, stream.pix_fmt = 96, 80, "yuv420p"
            stream.codec_context.time_base = Fraction(1, 1000) if times else 1 / rate
            for index in range(frames):
                picture = (scene + rng.integers(-9, 10, scene.shape)).astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = round(times[index] * 1000) if times else index
                frame.time_base = stream.codec_context.time_base
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make


@pytest.fixture
def make_speech(tmp_path: Path) -> MakeClip:
    """make_speech(seconds, rate_hz, channels): a noisy WAV."""

    def make(seconds: float = 0.5, rate_hz: int = 16000, channels: int = 1) -> Path:
        path = tmp_path / "speech.wav"
        samples = np.random.default_rng(1).normal(0, 0.1, (channels, round(seconds * rate_hz)))
        with av.open(str(path), "w") as container:
            layout = "mono" if channels == 1 else "stereo"
            stream = container.add_stream("pcm_s16le", rate=rate_hz, layout=layout)
            packed = (np.clip(samples, -1, 1) * 32767).astype(np.int16).T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), format="s16", layout=layout)
            frame.sample_rate = rate_hz
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make


@pytest.fixture(scope="session")
def sam2_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as SAM 2's, of a network with random weights that sees 128 pixels a side."""
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VideoModel, Sam2VisionConfig
    from transformers.utils import logging

    backbone = Sam2HieraDetConfig(
        hidden_size=16, image_size=[128, 128], blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[16, 32, 64, 128], num_attention_heads_per_stage=[1, 1, 2, 4],
        window_size_per_stage=[8, 4, 4, 2], global_attention_blocks=[3],
    )  # fmt: skip
    vision = Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[128, 64, 32, 16], fpn_hidden_size=128,
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
    )  # fmt: skip
    config = Sam2VideoConfig(
        vision_config=vision, image_size=128,
        prompt_encoder_config={"image_size": 128, "hidden_size": 128},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 64, "iou_head_hidden_dim": 64},
        memory_attention_hidden_size=128, memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=64, memory_attention_rope_feat_sizes=[8, 8],
        memory_encoder_hidden_size=128, mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128, memory_fuser_intermediate_dim=64,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("sam2")
    torch.manual_seed(0)
    logging.disable_progress_bar()
    Sam2VideoModel(config).save_pretrained(folder)
    return folder

"""How fast a machine learns: the training loops themselves, a few steps each, noise in place of people."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from keysync.audio.compact import TOKEN_HOP
from keysync.diffusion.compact_autoencoder import CompactAutoencoder, CompactAutoencoderConfig
from keysync.diffusion.compact_unet import CompactUNet, CompactUNetConfig
from keysync.synthetic.articulate import CURVES
from keysync.synthetic.utterance import PHONES
from keysync.train.audio import learn_exact
from keysync.train.autoencoder import train_decoder
from keysync.train.dataset import DISGUISES, PreparedClip
from keysync.train.judge import Judge, train_judge
from keysync.train.loop import TrainConfig, train_stage
from keysync.train.spoken import Spoken

_CLIPS, _FRAMES, _UTTERANCE_TOKENS = 4, 40, 240
_LEAST_S, _MOST_STEPS = 1.0, 256  # timed steps: until they take so long, or are so many


def step_seconds(
    device: torch.device, keyframes: TrainConfig, interpolation: TrainConfig
) -> dict[str, float]:
    """Seconds of one step of ``audio``, ``decoder``, ``judge``, ``keyframes``, ``interpolation``, ``refine``.

    Takes less than a minute on two cores. What is drawn for a batch is drawn beside the network's work, as
    in training, so a device is not called faster than the cores that feed it.

    Args:
        keyframes: how that stage is trained; steps and seed do not count.
        interpolation: likewise.
    """
    rng = np.random.default_rng(0)
    clips, spoken = [_noise_clip(rng) for _ in range(_CLIPS)], [_noise_speech(rng) for _ in range(_CLIPS)]
    autoencoder = CompactAutoencoder(CompactAutoencoderConfig()).to(device)
    stage_one, stage_two = (CompactUNet(CompactUNetConfig()).to(device) for _ in range(2))
    painter = CompactUNet(CompactUNetConfig()).to(device).eval().requires_grad_(False)
    judge = Judge(autoencoder.channels, CompactUNetConfig().cells).to(device)
    judge.eval().requires_grad_(False)

    def stage(network: CompactUNet, config: TrainConfig, painter: CompactUNet | None) -> _Work:
        return lambda out, steps: train_stage(
            network, autoencoder, clips, [], out, replace(config, steps=steps), judge, keyframes=painter,
            say=_unsaid,
        )  # fmt: skip

    def decoder(painter: CompactUNet | None, judge: Judge | None) -> _Work:
        autoencoder.requires_grad_(True)
        return lambda out, steps: train_decoder(
            autoencoder, clips, clips[:1], out, steps=steps, seed=0, painter=painter, judge=judge,
            say=_unsaid,
        )  # fmt: skip

    return {
        "audio": _seconds(lambda out, steps: learn_exact(out, spoken, steps, device)),
        "judge": _seconds(lambda _, steps: train_judge(autoencoder, clips, steps, 0)),
        "keyframes": _seconds(stage(stage_one, keyframes, None)),
        "interpolation": _seconds(stage(stage_two, interpolation, painter)),
        "decoder": _seconds(decoder(None, None)),
        "refine": _seconds(decoder(painter, judge)),
    }


_Work = Callable[[Path, int], object]  # takes a new folder and a number of steps


def _unsaid(_: str) -> None:
    pass


def _seconds(work: _Work) -> float:
    """Of one step more; what goes before the first step and behind the last does not count."""

    def took(steps: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            work(Path(folder), steps)
            return time.perf_counter() - begun

    took(1)  # the first of a kind is slow: compilers, caches
    least, more = took(1), 4
    while (extra := took(1 + more) - least) < _LEAST_S and more < _MOST_STEPS:
        more *= 4
    return max(extra, 0.0) / more


def _noise_clip(rng: np.random.Generator) -> PreparedClip:
    sizes, side = CompactUNetConfig(), CompactAutoencoderConfig().patch * CompactUNetConfig().cells
    cells = np.zeros((_FRAMES, sizes.cells, sizes.cells), np.float32)
    cells[:, sizes.cells // 2 :] = 1
    told = (1 + DISGUISES, _FRAMES, sizes.audio_tokens, sizes.audio_dim)
    return PreparedClip(
        rng.integers(0, 256, (_FRAMES, side, side, 3), np.uint8),
        cells,
        cells,
        rng.random((_FRAMES, 2), np.float32),
        rng.standard_normal(told, np.float32),
    )


def _noise_speech(rng: np.random.Generator) -> Spoken:
    count = _UTTERANCE_TOKENS
    return Spoken(
        "noise",
        rng.integers(-3000, 3000, count * TOKEN_HOP, np.int16),
        rng.integers(0, len(PHONES), count),
        rng.random((count, len(CURVES)), np.float32),
    )

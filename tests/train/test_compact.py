"""From seeds to a model folder, in miniature."""

from __future__ import annotations

import ctypes.util
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from keysync.errors import ConfigError
from keysync.models import load_models
from keysync.synthetic import make
from keysync.synthetic.articulate import CURVES
from keysync.train import audio, compact
from keysync.train.compact import Plan, train_compact
from keysync.train.dataset import load_clips

needs_voices = pytest.mark.skipif(
    shutil.which("flite") is None or ctypes.util.find_library("espeak-ng") is None,
    reason="flite or espeak-ng is not installed",
)
_STEP_S = dict.fromkeys(("audio", "judge", "keyframes", "interpolation", "decoder", "refine"), 60.0)
TINY = Plan(
    clips=4, seconds=0.6, speech_hours=0.003, audio_steps=3, natural_steps=0, decoder_steps=2,
    keyframe_steps=3, keyframe_again_steps=2, interpolation_steps=2, refine_steps=2,
)  # fmt: skip


@needs_voices
def test_a_tiny_plan_becomes_a_model_that_loads_and_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "_TEST_UTTERANCES", 1)
    monkeypatch.setattr(audio, "_BATCH", 2)
    monkeypatch.setattr(audio, "_SHARES", (0.5, 0.0, 0.0, 0.5))  # flite and espeak only
    monkeypatch.setattr(compact, "HELD_OUT", 1)
    monkeypatch.setattr(compact, "JUDGE_STEPS", 5)
    monkeypatch.setattr(compact, "step_seconds", lambda *_: _STEP_S)
    said: list[str] = []
    folder = train_compact(tmp_path, TINY, said.append)
    assert re.fullmatch(
        r"about 19 min on \w+ with \d+ cores: draw and audio encoder 3 min, prepare 0 min, "
        "autoencoder 2 min, keyframes 10 min, interpolation 2 min, decoder again 2 min",
        said[1],
    )
    assert [line[:3] for line in said if line[1:3] == "/7"] == [f"{step}/7" for step in range(1, 8)]
    for steps in (
        "3 of 3 steps (exact)",
        "2 of 2 steps, mouth psnr",
        "3 of 3 steps, latent",
        "2 of 2 steps, latent",
    ):
        assert any(line.startswith(f"    {steps}") for line in said)
    models = load_models(folder, "cpu")
    assert models.image_size == 512
    for stage in ("keyframes", "interpolation"):
        assert (tmp_path / stage / "curve.csv").exists()
        assert (tmp_path / stage / "strip.png").exists()

    # Disguises change what is heard, and what the mouth did stays true.
    prepared = load_clips(tmp_path / "prepared")[0]
    tokens, curves = prepared.tokens, len(CURVES)
    assert np.ptp(tokens[..., :curves], axis=0).max() == 0 < np.ptp(tokens[..., curves:], axis=0).max()
    assert np.ptp(tokens[0, ..., 0]) > 0
    assert np.allclose(np.clip(prepared.lips[:, 1], 3, 8), prepared.lips[:, 1])  # a mouth's width in cm
    assert np.ptp(prepared.lips, axis=0).min() > 0

    clips = sorted((tmp_path / "clips").iterdir())
    drawn = [clip.stat().st_mtime_ns for clip in clips]
    again = train_compact(tmp_path, TINY, said.append, jobs=3)
    assert load_models(again, "cpu").digest == models.digest
    assert [clip.stat().st_mtime_ns for clip in clips] == drawn
    assert (
        sum("the judge of lips" in line for line in said) == sum(line[:6] == "about " for line in said) == 1
    )
    with pytest.raises(ConfigError, match="holds another plan"):
        train_compact(tmp_path, Plan(clips=5), said.append)


def test_drawing_ends_when_the_audio_encoder_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Path] = []

    def draw(_plans: object, folder: Path, _jobs: int) -> Iterator[Path]:
        for number in range(1000):
            drawn.append(folder / str(number))
            time.sleep(0.01)
            yield drawn[-1]

    def fail(*_: object, **__: object) -> None:
        raise ConfigError("no sound")

    monkeypatch.setattr(compact, "HELD_OUT", 1)
    monkeypatch.setattr(make, "make_clips", draw)
    monkeypatch.setattr(audio, "train_audio", fail)
    with pytest.raises(ConfigError, match="no sound"):
        train_compact(tmp_path, TINY, lambda _: None)
    assert len(drawn) < 100


def test_the_decoder_begins_alike_whatever_was_drawn_at_random_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = list[torch.Tensor]()

    def train(network: torch.nn.Module, *_: object, **__: object) -> torch.nn.Module:
        begun.append(torch.nn.utils.parameters_to_vector(network.parameters()))
        return network

    monkeypatch.setattr(compact, "load_clips", lambda _: [])
    monkeypatch.setattr(compact, "fit_components", lambda *_: None)
    monkeypatch.setattr(compact, "train_decoder", train)
    for before, plan in ((1, TINY), (2, TINY), (2, replace(TINY, seed=5))):
        torch.manual_seed(before)
        compact.train_autoencoder(tmp_path, plan, torch.device("cpu"), lambda _: None)
    assert torch.equal(begun[0], begun[1])
    assert not torch.equal(begun[1], begun[2])


def test_the_hours_grow_with_the_work_and_shrink_with_cores_and_fast_steps() -> None:
    usual = Plan().hours(2, _STEP_S)
    first = "draw and audio encoder"
    more = Plan(clips=4900).hours(2, _STEP_S)[first] - usual[first]
    assert Plan(clips=8900).hours(2, _STEP_S)[first] - usual[first] == pytest.approx(2 * more)
    assert Plan(clips=4900).hours(4, _STEP_S)[first] - Plan().hours(4, _STEP_S)[first] == pytest.approx(
        more / 2
    )
    assert Plan(audio_steps=16000).hours(2, _STEP_S)[first] > usual[first]
    faster = Plan().hours(2, {name: step_s / 2 for name, step_s in _STEP_S.items()})
    for part in ("autoencoder", "keyframes", "interpolation", "decoder again"):
        assert faster[part] == pytest.approx(usual[part] / 2)
    assert faster["prepare"] == usual["prepare"]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan(clips=12), "clips is 12; it must be over 12"),
        (Plan(refine_steps=0), "refine_steps is 0; it must be a number over 0"),
        (Plan(keyframe_again_steps=-1), "keyframe_again_steps is -1; it must be a number over 0"),
        (Plan(natural_hours=0.0), "natural_hours is 0.0; it must be a number over 0"),
        (Plan(speech_hours=float("nan"), natural_steps=0), "speech_hours is nan; it must be a number over 0"),
        (Plan(seed=-1), "seed is -1; it must be 0 or more"),
    ],
)
def test_too_little_is_refused_before_anything_is_drawn(plan: Plan, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        train_compact(tmp_path / "out", plan, lambda _: pytest.fail("begun"))
    assert not (tmp_path / "out").exists()

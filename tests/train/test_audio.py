"""Training the audio encoder: labels lie under their sound, and a run can be taken up again."""

from __future__ import annotations

import ctypes.util
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from keysync.audio.compact import CompactAudioEncoder
from keysync.audio.mel import log_mel
from keysync.synthetic import kokoro
from keysync.synthetic.articulate import CURVES
from keysync.synthetic.utterance import PHONES
from keysync.train import audio
from keysync.train.audio import augment_mel, augment_sound, make_spoken, train_audio, travelled
from keysync.train.spoken import Said

pytestmark = pytest.mark.skipif(
    shutil.which("flite") is None or ctypes.util.find_library("espeak-ng") is None,
    reason="flite or espeak-ng is not installed",
)


def test_labels_lie_under_their_sound() -> None:
    spoken = make_spoken("slt", [0, 1])
    tokens = len(spoken.phones)
    assert len(spoken.samples) == 320 * tokens
    assert spoken.curves.shape == (tokens, len(CURVES))
    loud = np.abs(spoken.samples.reshape(tokens, 320).astype(float)).mean(1)
    silent = spoken.phones == PHONES.index("PAU")
    assert loud[~silent].mean() > 10 * loud[silent].mean()
    closed = np.isin(spoken.phones, [PHONES.index(name) for name in ("P", "B", "M")])
    closure = spoken.curves[:, CURVES.index("closure")]
    assert closure[closed].mean() > 2 * closure[~closed & ~silent].mean()


def test_augmentation_keeps_shapes_and_changes_sound() -> None:
    torch.manual_seed(0)
    samples = 0.1 * torch.randn(8, 32000)
    samples[3] = 0.0
    heard = augment_mel(log_mel(augment_sound(samples)))
    assert heard.shape == (8, 200, 80)
    assert heard.isfinite().all()


def test_an_interrupted_run_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said_by_flite: Callable[[str, int], Said],
) -> None:
    monkeypatch.setattr(audio, "_TEST_UTTERANCES", 1)
    monkeypatch.setattr(audio, "_BATCH", 2)
    monkeypatch.setattr(audio, "_SHARES", (0.5, 0.0, 0.0, 0.5))  # flite and espeak only
    monkeypatch.setattr(audio, "_EVALUATE_EVERY", 2)
    said = [said_by_flite(voice, seed) for seed, voice in enumerate(("one", "two", *kokoro.TEST_VOICES))]
    monkeypatch.setattr(audio, "natural_speech", lambda *_: said)
    plan = {"steps": 4, "hours_of_speech": 0.004, "natural_steps": 4, "natural_hours": 1.0, "seed": 0}
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train_audio(whole, **plan)
    follow = audio._set_learning_rate
    told: list[str] = []
    for rate, name in ((audio._LEARNING_RATE, "exact"), (audio._NATURAL[1][0], "natural2")):
        with monkeypatch.context() as patched:
            patched.setattr(audio, "_set_learning_rate", _interrupt_at(3, rate, follow))
            with pytest.raises(KeyboardInterrupt):
                train_audio(halves, **plan, say=told.append)
        assert not any(f"{name}: 4 steps, going on" in line for line in told)
    train_audio(halves, **plan, say=told.append)
    assert "    natural2: 4 steps, going on from step 2" in told
    assert any(line.startswith("    4 of 4 steps (natural2), loss ") for line in told)
    assert "    when each phone is said in 6 natural utterances" in told
    once, twice = (load_file(folder / "audio.safetensors") for folder in (whole, halves))
    assert all(torch.equal(once[name], twice[name]) for name in once)
    encoder = CompactAudioEncoder()
    encoder.load_state_dict(twice)
    assert encoder.token_std.std() > 0
    for name, steps in (("exact", 4), ("natural1", 4), ("natural2", 4), ("natural3", 8)):
        rows = (halves / f"{name}.csv").read_text().splitlines()
        assert [int(row.split(",")[0]) for row in rows[1:]] == list(range(2, steps + 1, 2))
    conditions = (halves / "conditions.csv").read_text()
    assert conditions.startswith("condition,voice,phones,jaw")
    assert all(f"clean,{voice}," in conditions for voice in ("awb", "en-us+f3", *kokoro.TEST_VOICES))


def _interrupt_at(step: int, rate: float, follow: Callable[..., None]) -> Callable[..., None]:
    def set_rate(optimiser: torch.optim.Optimizer, now: int, share: float, peak: float) -> None:
        if (now, peak) == (step, rate):
            raise KeyboardInterrupt
        follow(optimiser, now, share, peak)

    return set_rate


def test_speech_on_its_way_keeps_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    for share in ("_MUSIC_SHARE", "_NARROW_SHARE", "_CODED_SHARE"):
        monkeypatch.setattr(audio, share, 1.0)
    voice = np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32)
    heard = travelled(voice, np.random.default_rng(1))
    assert heard.shape == voice.shape
    assert np.isfinite(heard).all()
    assert not np.array_equal(heard, voice)

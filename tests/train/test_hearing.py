"""What the shipped ear makes of speech in quiet and in noise."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from keysync.models import compact_ear
from keysync.synthetic.articulate import CURVES
from keysync.synthetic.utterance import PHONES, RATE_HZ
from keysync.train.hearing import CONDITIONS, evaluate, write_conditions
from keysync.train.spoken import Spoken


def _spoken(voice: str, seed: int) -> Spoken:
    """Half silence, half noise: no speech, but something with a right answer for its silence."""
    rng = np.random.default_rng(seed)
    samples = np.zeros(RATE_HZ, np.int16)
    samples[RATE_HZ // 2 :] = rng.normal(0, 3000, RATE_HZ // 2)
    tokens = RATE_HZ // 320
    return Spoken(
        voice=voice,
        samples=samples,
        phones=np.full(tokens, PHONES.index("PAU")),
        curves=np.linspace(0, 1, tokens * len(CURVES), dtype=np.float32).reshape(tokens, len(CURVES)),
    )


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_keeps_length_and_stays_finite(condition: str) -> None:
    voice = np.random.default_rng(1).normal(0, 0.1, 8000).astype(np.float32)
    heard = CONDITIONS[condition](voice, np.random.default_rng(2))
    assert heard.shape == voice.shape
    assert np.isfinite(heard).all()
    assert np.array_equal(heard, voice) == (condition == "clean")


def test_silence_is_named_a_pause_and_scores_are_by_voice() -> None:
    scores = evaluate(compact_ear(), [_spoken("one", 0), _spoken("other", 1)])
    assert list(scores) == ["one", "other"]
    for by_name in scores.values():
        assert set(by_name) == {"phones", *CURVES}
        assert 0.4 < by_name["phones"] <= 1
        assert all(-1 <= by_name[name] <= 1 for name in CURVES)


def test_every_condition_and_voice_has_its_row(tmp_path: Path) -> None:
    said: list[str] = []
    write_conditions(compact_ear(), [_spoken("one", 0)], tmp_path / "conditions.csv", said.append)
    with (tmp_path / "conditions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["condition"] for row in rows] == list(CONDITIONS)
    assert len(said) == len(CONDITIONS)

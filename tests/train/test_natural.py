"""Natural speech: kept as it was said, and what does not agree with its phones is left out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keysync.models import compact_ear
from keysync.synthetic import kokoro
from keysync.synthetic.kokoro import Style
from keysync.train import natural, spoken
from keysync.train.natural import natural_speech, timed
from keysync.train.spoken import Said

needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")


@needs_flite
def test_wrong_words_are_left_out_and_silence_is_put_around_the_others(
    monkeypatch: pytest.MonkeyPatch, said_by_flite: Callable[[str, int], Said]
) -> None:
    monkeypatch.setattr(natural, "_WORST", 0.25)
    said = [said_by_flite("someone", seed) for seed in range(4)]
    wrong = replace(said[2], phones=said[2].phones[::-1].copy())
    hurried = replace(said[0], samples=said[0].samples[:640])  # no room for its phones
    kept = timed(compact_ear(), [said[0], said[1], wrong, said[3], hurried], seed=0)
    assert len(kept) == 3
    for item, source in zip(kept, (said[0], said[1], said[3]), strict=True):
        assert len(item.samples) == 320 * len(item.phones) == 320 * len(item.curves)
        assert 0 <= len(item.samples) - len(source.samples) <= 1.6 * 16000
        order = item.phones[np.concatenate([[True], np.diff(item.phones) != 0])]
        assert set(source.phones) == set(order)


def test_speech_is_made_once_and_the_same_for_a_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def say(text: str, how: Style, rng: np.random.Generator) -> tuple[np.ndarray, tuple[str, ...]]:
        made.append(how.name)
        return 0.5 * np.sin(np.arange(8000, dtype=np.float32) * rng.uniform(0.1, 0.2)), ("PAU", text, "PAU")

    some = Style("af_one", "en-us", np.zeros((510, 256), np.float32))
    monkeypatch.setattr(natural, "_TEST_UTTERANCES", 1)
    monkeypatch.setattr(natural, "draw_text", lambda *_: "AA")
    monkeypatch.setattr(natural, "draw_style", lambda _: some)
    monkeypatch.setattr(natural, "style", lambda voice: replace(some, name=voice))
    monkeypatch.setattr(natural, "utter", say)
    monkeypatch.setattr(spoken, "_BLOCK", 2)
    first = natural_speech(tmp_path / "a", hours=0.003, seed=1, jobs=1)
    assert [item.voice for item in first] == [*kokoro.TEST_VOICES, *["af_one"] * 3]
    assert len(made) == 7
    (tmp_path / "a" / "00002.npz").unlink()  # as if broken off there
    again = natural_speech(tmp_path / "a", hours=0.003, seed=1, jobs=1)
    assert len(made) == 9
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.samples, other.samples)
        assert np.array_equal(one.phones, other.phones)
    assert not np.array_equal(first[0].samples, first[1].samples)

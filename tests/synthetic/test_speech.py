"""Speech whose times can be trusted."""

from __future__ import annotations

import ctypes.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from keysync.errors import InputError, MissingProgram
from keysync.synthetic.speech import TEST_VOICES, TRAIN_VOICES, speak, speak_flite
from keysync.synthetic.text import WORDS, sentence
from keysync.synthetic.utterance import PHONES, Phone, Utterance, resample

needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
needs_espeak = pytest.mark.skipif(
    ctypes.util.find_library("espeak-ng") is None, reason="libespeak-ng is not installed"
)
either = pytest.mark.parametrize(
    "voice", [pytest.param("slt", marks=needs_flite), pytest.param("en-us+m3", marks=needs_espeak)]
)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_no_test_voice_is_trained_on() -> None:
    assert not set(TRAIN_VOICES) & set(TEST_VOICES)


def test_same_seed_gives_the_same_sentence_of_the_length_asked_for() -> None:
    assert sentence(_rng(), 6) == sentence(_rng(), 6)
    assert len(sentence(_rng(), 6).split()) == 6


@either
def test_same_seed_same_bytes(voice: str) -> None:
    first, second = (speak("Bobby made a pumpkin pie.", voice, _rng()) for _ in range(2))
    assert first.samples.tobytes() == second.samples.tobytes()
    assert first.phones == second.phones


@either
def test_phones_fill_the_sound_without_gaps(voice: str) -> None:
    said = speak(sentence(_rng()), voice, _rng())
    assert said.rate_hz == 16000
    assert said.phones[0].start_s == 0.0
    assert said.phones[-1].end_s == pytest.approx(said.duration_s)
    assert all(
        a.end_s == b.start_s and a.length_s > 0 for a, b in zip(said.phones, said.phones[1:], strict=False)
    )
    assert 0.3 <= np.abs(said.samples).max() <= 0.9001


@either
def test_vowels_are_louder_than_closed_lips(voice: str) -> None:
    """Wrong times would mix the two up."""
    said = speak("Papa, bobby, happy, puppy, paper, apple, baby.", voice, _rng(2))

    def level(names: set[str]) -> float:
        # The middle of each phone: its edges belong to its neighbours as well.
        pieces = [
            said.samples[
                int((p.start_s + 0.3 * p.length_s) * said.rate_hz) : int(
                    (p.end_s - 0.3 * p.length_s) * said.rate_hz
                )
            ]
            for p in said.phones
            if p.name in names
        ]
        return float(np.sqrt(np.mean(np.concatenate(pieces) ** 2)))

    assert level({"AA", "AE", "AH", "EY"}) > 5 * level({"P"})


@either
def test_every_word_can_be_said_in_phones_we_know(voice: str) -> None:
    names = set()
    for start in range(0, len(WORDS), 40):
        names |= {phone.name for phone in speak(" ".join(WORDS[start : start + 40]), voice, _rng()).phones}
    assert names <= set(PHONES)
    assert set(PHONES) - names <= {"OY", "ZH"} if voice == "slt" else not set(PHONES) - names


@either
def test_unknown_voice_is_refused_by_name(voice: str) -> None:
    wrong = "en-zz" if voice.startswith("en-") else "nobody"
    with pytest.raises(InputError, match=f"{wrong}: no such voice"):
        speak("hello", wrong, _rng())


def test_missing_program_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgram, match="apt install flite"):
        speak_flite("hello", "slt", stretch=1.0, pitch_scale=1.0)


def test_faster_playback_moves_sound_and_times_together() -> None:
    samples = np.zeros(22050, np.float32)
    samples[11025] = 1.0
    click = Utterance(samples, 22050, (Phone("PAU", 0.0, 0.5), Phone("T", 0.5, 1.0)))
    fast = resample(click, playback=1.1)
    heard_s = np.abs(fast.samples).argmax() / fast.rate_hz
    assert fast.rate_hz == 16000
    assert fast.duration_s == pytest.approx(1 / 1.1, abs=2e-3)
    assert fast.phones[1].start_s == pytest.approx(heard_s, abs=2e-4)

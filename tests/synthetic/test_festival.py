"""Voices of Festival: timed phones that we know, whatever the language."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from keysync.errors import InputError, MissingProgram
from keysync.synthetic import festival
from keysync.synthetic.festival import VOICES, language, speak_festival
from keysync.synthetic.speech import EAR_VOICES, TEST_VOICES, TRAIN_VOICES, speak
from keysync.synthetic.text import babble, sentence

_ROOT = Path("/usr/share/festival/voices")
needs_festival = pytest.mark.skipif(shutil.which("festival") is None, reason="festival is not installed")
each = pytest.mark.parametrize(
    "voice",
    [
        pytest.param(
            voice,
            marks=pytest.mark.skipif(not list(_ROOT.glob(f"*/{name}")), reason=f"{package} is not installed"),
        )
        for voice, (name, _, package) in VOICES.items()
    ],
)


def test_the_ear_hears_all_training_voices_and_no_test_voice() -> None:
    assert set(TRAIN_VOICES) | set(VOICES) == set(EAR_VOICES)
    assert not set(EAR_VOICES) & set(TEST_VOICES)


@each
def test_every_phone_it_says_is_known_and_they_fill_the_sound(voice: str) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        said = speak(sentence(rng) if language(voice) == "english" else babble(rng), voice, rng)
        assert said.rate_hz == 16000
        assert said.phones[0].start_s == 0.0
        assert said.phones[-1].end_s == pytest.approx(said.duration_s)
        assert len({phone.name for phone in said.phones}) > 8
        # Wrong times would mix up what rings and what does not.
        power = {"vowel": [], "silent": []}
        for phone in said.phones:
            middle = (phone.start_s + phone.end_s) / 2
            piece = said.samples[int((middle - 0.01) * 16000) : int((middle + 0.01) * 16000)]
            if phone.name in ("AA", "EH", "IY", "AO", "UW"):
                power["vowel"].append(float(np.sqrt(np.mean(piece**2))))
            elif phone.name in ("P", "PAU") and phone.length_s > 0.04:
                power["silent"].append(float(np.sqrt(np.mean(piece**2))))
        assert np.median(power["vowel"]) > 5 * np.median(power["silent"])


@each
def test_slower_speech_lasts_longer(voice: str) -> None:
    if voice in ("festival-slt", "festival-ona", "festival-nsh"):
        pytest.skip("not made of diphones: it keeps its own pace")
    text = "Papa made a pump." if language(voice) == "english" else "papa mapodu sitelo."
    quick, slow = (speak_festival(text, voice, stretch=stretch) for stretch in (0.9, 1.3))
    assert slow.duration_s > 1.1 * quick.duration_s
    assert [phone.name for phone in slow.phones if phone.name != "PAU"]


def test_babble_is_the_same_for_a_seed_and_plain_letters() -> None:
    first, again, other = (babble(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert first.isascii()
    assert 5 <= len(first.split()) <= 11


def test_without_the_program_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingProgram, match="apt install festival"):
        speak_festival("papa", "festival-ph", stretch=1.0)


@needs_festival
def test_a_voice_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(festival.VOICES, "festival-ph", ("czech_nobody", "czech", "festvox-czech-ph"))
    with pytest.raises(MissingProgram, match=r"festival-ph: .*apt install festvox-czech-ph"):
        speak_festival("papa", "festival-ph", stretch=1.0)


@each
def test_an_unknown_phone_is_refused(voice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(festival, "_COMMON", "#=PAU pau=PAU")
    monkeypatch.setattr(festival, "_OWN", dict.fromkeys(festival._OWN, "pau=PAU"))
    with pytest.raises(InputError, match="is not in our table"):
        speak_festival("papa", voice, stretch=1.0)


def test_text_that_could_end_the_program_is_refused() -> None:
    with pytest.raises(InputError, match="letters, blanks"):
        speak_festival('papa") (quit', "festival-ph", stretch=1.0)

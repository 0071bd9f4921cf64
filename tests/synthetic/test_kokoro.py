"""Kokoro's voices: sentences become symbols and phones that we know; voices for tests stay for tests."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from keysync.checkpoints import kokoro_file
from keysync.errors import CheckpointError, InputError, MissingProgram
from keysync.synthetic import kokoro, pronounce
from keysync.synthetic.kokoro import ENGLISH, OTHERS, TEST_VOICES, draw_style, read, speak_kokoro, style
from keysync.synthetic.text import WORDS, babble, sentence
from keysync.synthetic.utterance import PHONES

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


def _is_installed() -> bool:
    try:
        kokoro_file("model.onnx")
    except CheckpointError:
        return False
    return True


@pytest.fixture
def few_voices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
    """Some voices, each of one number throughout, in the place of the real ones."""
    names = ["af_one", "bm_two", "jf_three", "em_four", "ff_five", "if_six", "pf_seven"]
    numbers = {name: float(number) for number, name in enumerate(names)}
    numbers |= {name: 100.0 * (1 + number) for number, name in enumerate(TEST_VOICES)}
    path = tmp_path / "voices.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, number in numbers.items():
            content = np.full((510, 256), number, np.float32).tobytes()
            member = tarfile.TarInfo(f"package/voices/{name}.bin")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(kokoro, "kokoro_file", lambda _: path)
    kokoro._voices.cache_clear()
    yield numbers
    kokoro._voices.cache_clear()


@needs_espeak
@pytest.mark.parametrize("language", ENGLISH)
def test_every_word_can_be_said_in_phones_we_know(language: str) -> None:
    texts = [" ".join(WORDS[start : start + 40]) + "." for start in range(0, len(WORDS), 40)]
    _check(texts + [sentence(np.random.default_rng(seed)) for seed in range(20)], language)  # nonsense too


@needs_espeak
@pytest.mark.parametrize("language", OTHERS)
def test_other_languages_can_be_said_in_phones_we_know(language: str) -> None:
    _check([babble(np.random.default_rng(seed), ended=0.25) for seed in range(60)], language)


def _check(texts: list[str], language: str) -> None:
    for text in texts:
        script = read(text, language)
        assert set(script.phones) <= set(PHONES)
        assert script.phones[0] == script.phones[-1] == "PAU"
        assert set(script.symbols) <= set(kokoro._NUMBERS)


@needs_espeak
def test_what_is_read_is_what_is_heard() -> None:
    assert read("Papa, a bird.", "en-us").phones == (
        *("PAU", "P", "AA", "P", "AX", "PAU", "AX", "B", "ER", "D", "PAU"),
    )
    assert read("Around a burr", "en-gb").phones == (
        *("PAU", "AX", "R", "AW", "N", "D", "AX", "B", "ER", "PAU"),
    )
    assert read("A hot car", "en-gb").phones == (*("PAU", "AX", "HH", "AO", "T", "K", "AA", "PAU"),)
    assert read("Mañana", "es").phones == ("PAU", "M", "AA", "N", "Y", "AA", "N", "AA", "PAU")
    assert read("Un bon vin rouge", "fr-fr").phones == (
        *("PAU", "UH", "B", "AO", "V", "EH", "HH", "UW", "ZH", "PAU"),
    )
    assert read("Gnomo.", "it").phones == ("PAU", "N", "Y", "AO", "M", "AO", "PAU")
    assert read("Leite.", "pt-br").phones == ("PAU", "L", "EH", "IH", "CH", "IH", "PAU")


@needs_espeak
def test_what_cannot_be_said_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="give Kokoro a sentence"):
        read(",", "en-us")
    with pytest.raises(InputError, match="give Kokoro a sentence"):
        read("banana " * 100, "en-us")
    monkeypatch.delitem(pronounce._PHONES, "p")
    with pytest.raises(InputError, match=r"'p' in .* is not in our table"):
        read("Papa.", "en-us")


def test_missing_parts_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingProgram, match="apt install espeak-ng"):
        read("Papa.", "en-us")
    monkeypatch.setenv("KEYSYNC_CACHE", str(tmp_path))
    monkeypatch.delenv("KEYSYNC_MODELS", raising=False)
    kokoro._voices.cache_clear()
    with pytest.raises(CheckpointError, match="keysync models fetch kokoro"):
        style("af_heart")


def test_voices_for_tests_are_never_drawn_nor_mixed(few_voices: dict[str, float]) -> None:
    drawn = [draw_style(np.random.default_rng(seed)) for seed in range(400)]
    mixed = [how for how in drawn if "+" in how.name]
    assert 0.2 < len(mixed) / len(drawn) < 0.6
    assert {how.name for how in drawn if "+" not in how.name} == few_voices.keys() - set(TEST_VOICES)
    for how in mixed:
        first, other = how.name.split("+")
        assert how.language == style(first).language
        low, high = sorted((few_voices[first], few_voices[other]))
        assert low <= how.numbers.min() <= how.numbers.max() <= high
    assert style(TEST_VOICES[0]).numbers.max() == 100.0
    with pytest.raises(InputError, match=r"nobody: no such voice; take one of af_one, "):
        style("nobody")


@pytest.mark.usefixtures("few_voices")
def test_most_is_english_and_voices_speak_other_languages_than_their_own_too() -> None:
    drawn = [draw_style(np.random.default_rng(seed)) for seed in range(400)]
    english = [how for how in drawn if how.language in ENGLISH]
    assert 0.5 < len(english) / len(drawn) < 0.8
    assert {how.language for how in drawn} == {*ENGLISH, *OTHERS}
    assert {how.language for how in drawn if how.name == "ff_five"} >= {"fr-fr", "en-us"}
    assert {how.language for how in drawn if how.name == "jf_three"} >= {"en-us", "es"}
    assert style("jf_three").language == "en-us"  # we cannot read Japanese


@needs_espeak
@pytest.mark.skipif(not _is_installed(), reason="Kokoro is not installed: keysync models fetch kokoro")
def test_it_speaks_and_slower_speech_lasts_longer() -> None:
    script = read("Papa made a pump.", "en-us")
    quick, slow = (speak_kokoro(script, style("af_heart"), speed) for speed in (1.2, 0.8))
    assert 1.2 * len(quick) < len(slow) < 5 * 24000
    assert 0.05 < np.abs(slow).max() <= 1.0

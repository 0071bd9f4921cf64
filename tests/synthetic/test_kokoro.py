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
from keysync.synthetic import kokoro
from keysync.synthetic.kokoro import TEST_VOICES, draw_style, read, speak_kokoro, style
from keysync.synthetic.text import WORDS, sentence
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
    """Four voices, each of one number throughout, in the place of the real ones."""
    numbers = {"af_one": 1.0, "bm_two": 2.0, "jf_three": 3.0, TEST_VOICES[0]: 100.0, TEST_VOICES[1]: 200.0}
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
@pytest.mark.parametrize("british", [False, True])
def test_every_word_can_be_said_in_phones_we_know(british: bool) -> None:
    for start in range(0, len(WORDS), 40):
        script = read(" ".join(WORDS[start : start + 40]) + ".", british)
        assert set(script.phones) <= set(PHONES)
        assert script.phones[0] == script.phones[-1] == "PAU"
        assert set(script.symbols) <= set(kokoro._NUMBERS)
    for seed in range(20):  # nonsense too
        read(sentence(np.random.default_rng(seed)), british)


@needs_espeak
def test_what_is_read_is_what_is_heard() -> None:
    assert read("Papa, a bird.", british=False).phones == (
        *("PAU", "P", "AA", "P", "AX", "PAU", "AX", "B", "ER", "D", "PAU"),
    )
    assert read("A hot car", british=True).phones == (*("PAU", "AX", "HH", "AO", "T", "K", "AA", "PAU"),)


@needs_espeak
def test_what_cannot_be_said_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="give Kokoro a sentence"):
        read(",", british=False)
    with pytest.raises(InputError, match="give Kokoro a sentence"):
        read("banana " * 100, british=False)
    monkeypatch.delitem(kokoro._PHONES, "p")
    with pytest.raises(InputError, match=r"'p' in 'Papa\.' is not in our table"):
        read("Papa.", british=False)


def test_missing_parts_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingProgram, match="apt install espeak-ng"):
        read("Papa.", british=False)
    monkeypatch.setenv("KEYSYNC_CACHE", str(tmp_path))
    monkeypatch.delenv("KEYSYNC_MODELS", raising=False)
    kokoro._voices.cache_clear()
    with pytest.raises(CheckpointError, match="keysync models fetch kokoro"):
        style("af_heart")


def test_voices_for_tests_are_never_drawn_nor_mixed(few_voices: dict[str, float]) -> None:
    drawn = [draw_style(np.random.default_rng(seed)) for seed in range(200)]
    mixed = [how for how in drawn if "+" in how.name]
    assert 0.2 < len(mixed) / len(drawn) < 0.6
    assert {how.name for how in drawn if "+" not in how.name} == {"af_one", "bm_two", "jf_three"}
    for how in mixed:
        first, other = how.name.split("+")
        assert how.british == (first == "bm_two")
        assert first in ("af_one", "bm_two")
        low, high = sorted((few_voices[first], few_voices[other]))
        assert low <= how.numbers.min() <= how.numbers.max() <= high
    assert style(TEST_VOICES[0]).numbers.max() == 100.0
    with pytest.raises(InputError, match=r"nobody: no such voice; take one of af_one, "):
        style("nobody")


@needs_espeak
@pytest.mark.skipif(not _is_installed(), reason="Kokoro is not installed: keysync models fetch kokoro")
def test_it_speaks_and_slower_speech_lasts_longer() -> None:
    script = read("Papa made a pump.", british=False)
    quick, slow = (speak_kokoro(script, style("af_heart"), speed) for speed in (1.2, 0.8))
    assert 1.2 * len(quick) < len(slow) < 5 * kokoro.RATE_HZ
    assert 0.05 < np.abs(slow).max() <= 1.0

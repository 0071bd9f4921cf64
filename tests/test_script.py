"""Words are read out of any text; test_movement.py has them found in the sound that says them."""

from __future__ import annotations

import shutil

import pytest

from keysync.errors import InputError, MissingProgram
from keysync.script import read_words

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


@needs_espeak
def test_subtitles_are_read_without_their_times_and_tags() -> None:
    text = read_words("Mom, buy a boat. We move home", "en-us")
    assert text[0] == ("M", "AA", "M")
    first, second = "<i>Mom,</i> buy a boat.", "We move home"
    cues = [f"00:00:01,000 --> 00:00:02,500\r\n{first}", f"00:00:03,000 --> 00:00:04,000\r\n{second}"]
    srt = f"1\r\n{cues[0]}\r\n\r\n2\r\n{cues[1]}\r\n"
    assert read_words(srt, "en-us") == text
    vtt = f"WEBVTT - a film\n\n00:01.000 --> 00:02.500 line:0\n{first}\n\n00:03.000 --> 00:04.000\n{second}"
    assert read_words(vtt, "en-us") == text


@needs_espeak
def test_a_text_without_words_is_refused() -> None:
    with pytest.raises(InputError, match="no word that can be said"):
        read_words("… \n 1\n00:00:01,000 --> 00:00:02,500\n", "en-us")


def test_without_espeak_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingProgram, match="apt install espeak-ng"):
        read_words("Hello", "en-us")

from __future__ import annotations

import shutil
from typing import get_args

import pytest

from keysync.config import Language
from keysync.synthetic import pronounce
from keysync.synthetic.pronounce import ENGLISH, OTHERS, words

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


def test_transcripts_may_be_in_the_languages_that_can_be_read() -> None:
    assert get_args(Language) == ENGLISH + OTHERS


@needs_espeak
def test_words_are_told_apart_and_marks_say_nothing() -> None:
    assert words("Papa, a bird!", "en-us") == [("P", "AA", "P", "AX"), ("AX",), ("B", "ER", "D")]
    assert words("Mañana", "es") == [("M", "AA", "N", "Y", "AA", "N", "AA")]
    assert words(" … ", "en-us") == []


@needs_espeak
def test_a_sound_that_we_do_not_know_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(pronounce._PHONES, "b")
    assert words("A bird", "en-us") == [("AX",), ("ER", "D")]

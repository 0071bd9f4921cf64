"""A mouth follows the words it is told, where and when they are said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from itertools import pairwise, product

import numpy as np
import pytest
import torch

pytest.importorskip("scipy")

from keysync import script
from keysync.audio.compact import TOKEN_HOP
from keysync.errors import InputError, MissingProgram
from keysync.models import compact_ear
from keysync.script import Words, follow, read_words
from keysync.speech import Speech
from keysync.synthetic.articulate import CURVES, articulate
from keysync.synthetic.speech import speak
from keysync.synthetic.utterance import PAUSE, Utterance

needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
CPU = torch.device("cpu")
FIRST, SECOND = "Bob gave my father five maps, we move home.", "A small boat came over the blue water."


@cache
def said(text: str, seed: int = 0) -> Utterance:
    """By a voice that the ear has never heard."""
    return speak(text, "awb", np.random.default_rng(seed))


def words(text: str) -> Words:
    """What the synthesiser says, cut into words of three phones."""
    phones = [phone.name for phone in said(text).phones if phone.name != PAUSE]
    return [tuple(phones[k : k + 3]) for k in range(0, len(phones), 3)]


def true_curves(utterance: Utterance, tokens: int) -> np.ndarray:
    mouth = articulate(utterance, utterance.duration_s, np.random.default_rng(1), jaw_gain=1.0, lip_gain=1.0)
    return mouth.curves_at((np.arange(tokens) + 0.5) * 0.02)


@needs_flite
def test_lips_told_the_words_are_nearer_to_the_truth_than_those_that_listen() -> None:
    ear, heard, told = compact_ear(), [], []
    for text, seed in product((FIRST, SECOND), range(2)):
        utterance = said(text, seed)
        tokens = ear(torch.from_numpy(utterance.samples))
        known = torch.from_numpy(follow(Speech([utterance.samples]), words(text), ear, CPU))
        true = true_curves(utterance, len(tokens))
        for scores, found in ((heard, tokens), (told, ear.with_curves(tokens, known[: len(tokens)]))):
            curves = ear.told_curves(found).numpy()
            scores.append(
                [np.corrcoef(curve, other)[0, 1] for curve, other in zip(curves.T, true.T, strict=True)]
            )
    gain = np.mean(told, axis=0) - np.mean(heard, axis=0)
    assert (gain > 0.01).all(), dict(zip(CURVES, gain, strict=True))


@needs_flite
def test_what_the_text_does_not_hold_is_left_to_the_ear() -> None:
    order = (FIRST, SECOND, FIRST, FIRST)
    told = follow(Speech([said(text).samples for text in order]), words(FIRST) * 3, compact_ear(), CPU)
    edges = np.cumsum([0, *(len(said(text).samples) // TOKEN_HOP for text in order)])
    left = [np.isnan(told[begin:end]).any(axis=1).mean() for begin, end in pairwise(edges)]
    assert left[1] > 0.5  # the rest are its pauses, which need no text
    assert max(left[0], left[2], left[3]) < 0.3


@needs_flite
def test_long_speech_is_searched_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Speech([said(text).samples for text in (FIRST, SECOND, FIRST, SECOND)])
    line = words(FIRST) + words(SECOND)
    whole = follow(sound, line * 2, compact_ear(), CPU)
    monkeypatch.setattr(script, "_WINDOW", 200)
    monkeypatch.setattr(script, "_STEP", 100)
    pieces = follow(sound, line * 2, compact_ear(), CPU)
    assert pieces.shape == whole.shape
    assert (np.abs(pieces - whole).max(axis=1) < 0.05).mean() > 0.9
    monkeypatch.setattr(script, "_LONGEST", 150)
    parts = follow(sound, line * 2, compact_ear(), CPU)
    assert (np.isnan(parts) == np.isnan(pieces)).all()
    jaw, known = CURVES.index("jaw"), ~np.isnan(parts).any(axis=1)
    assert np.corrcoef(parts[known, jaw], pieces[known, jaw])[0, 1] > 0.95


@needs_flite
@pytest.mark.parametrize(
    ("sound", "told"),
    [(lambda: said(FIRST).samples, SECOND), (lambda: np.zeros(32_000, np.float32), FIRST)],
    ids=["other words", "silence"],
)
def test_words_that_are_not_said_are_refused(sound: Callable[[], np.ndarray], told: str) -> None:
    with pytest.raises(InputError, match=r"heard in \d+ % of the speech; check that they belong together"):
        follow(Speech([sound()]), words(told), compact_ear(), CPU)


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

"""A mouth moves as a speech says, the nearer to the truth the more is known of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
import torch

from keysync import movement, script
from keysync.audio.compact import TOKEN_HOP, CompactAudioConfig, CompactAudioEncoder
from keysync.audio.recognise import Passage, Recogniser
from keysync.audio.voice import Gated, gate
from keysync.errors import ConfigError, InputError
from keysync.models import compact_ear
from keysync.movement import follow, hear, knows_our_phones, move
from keysync.report import Report
from keysync.script import Words, find
from keysync.speech import SPEECH_RATE_HZ as RATE_HZ
from keysync.speech import Speech
from keysync.synthetic.articulate import CURVES, articulate
from keysync.synthetic.speech import speak
from keysync.synthetic.utterance import PAUSE, Utterance

needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
CPU = torch.device("cpu")
FIRST, SECOND = "Bob gave my father five maps, we move home.", "A small boat came over the blue water."
SCOTTISH = (
    "The cook found a house below our road.",
    "Our father shouts about a hot car.",
    "A stout cow stood out on the south road.",
    "Now put the good book down by the pool.",
    "Our loud hound found four old coats.",
    "Go home along the cold coast road now.",
)


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


def likeness(curves: np.ndarray, true: np.ndarray) -> list[float]:
    """Pearson's r of each of ``CURVES``."""
    return [np.corrcoef(curve, other)[0, 1] for curve, other in zip(curves.T, true.T, strict=True)]


@needs_flite
def test_lips_that_also_move_by_rule_are_nearer_to_the_truth_and_words_bring_them_nearer() -> None:
    ear = compact_ear()
    heard, moved, told = [], [], []
    for text, seed in product((FIRST, SECOND), range(2)):
        utterance = said(text, seed)
        sound, tokens = Speech([utterance.samples]), ear(torch.from_numpy(utterance.samples))
        true = true_curves(utterance, len(tokens))
        heard.append(likeness(ear.told_curves(tokens).numpy(), true))
        for scores, known in ((moved, None), (told, words(text))):
            found = follow(sound, known, ear, CPU) if known else None
            scores.append(likeness(move(sound, ear, CPU, found).curves[: len(tokens)], true))
    means = np.mean([heard, moved, told], axis=1)
    assert np.diff(means[:2].mean(axis=1)) > 0.005, means
    assert (means[2] > means[0] + 0.01).all(), dict(zip(CURVES, means.T.tolist(), strict=True))


@needs_flite
def test_words_are_found_where_an_accent_has_other_vowels_for_them() -> None:
    right = []
    for text, seed in product(SCOTTISH, (0, 1)):
        spoken = said(text, seed)  # Scottish, by American names: the ear names half of these vowels otherwise
        phones = [phone.name for phone in spoken.phones if phone.name != PAUSE]
        found, _ = script.find(Speech([spoken.samples]), [tuple(phones)], compact_ear(), CPU)
        ends_s = np.array([phone.end_s for phone in spoken.phones])
        times_s = (np.arange(len(spoken.samples) // TOKEN_HOP) + 0.5) * 0.02
        true = [spoken.phones[k].name for k in np.searchsorted(ends_s, times_s).clip(max=len(ends_s) - 1)]
        right.append(np.mean([found.phones[k] == name for k, name in zip(found.at, true, strict=False)]))
    assert np.mean(right) > 0.86, right


@needs_flite
def test_what_is_hardly_heard_is_not_moved_by_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    ear, rng, jaw = compact_ear(), np.random.default_rng(0), np.s_[:, [CURVES.index("jaw")]]
    heard, moved, believed = [], [], []
    for text, seed in product((FIRST, SECOND, *SCOTTISH), range(2)):
        clean = said(text, seed)
        hiss = rng.normal(size=len(clean.samples)).astype(np.float32)  # as loud as the speech
        samples = clean.samples + np.float32(clean.samples.std()) * hiss
        tokens = ear(torch.from_numpy(samples))
        true = true_curves(clean, len(tokens))[jaw]
        heard.append(likeness(ear.told_curves(tokens).numpy()[jaw], true))
        for scores, unsure in ((moved, movement._UNSURE), (believed, -1e9)):
            with monkeypatch.context() as patched:
                patched.setattr(movement, "_UNSURE", unsure)
                curves = move(Speech([samples]), ear, CPU).curves[: len(tokens)]
                scores.append(likeness(curves[jaw], true))
    means = [np.mean(scores) for scores in (heard, moved, believed)]
    assert means[1] > means[2] + 0.01, means
    assert means[1] > means[0] - 0.015, means


@needs_flite
def test_speech_that_drowns_is_hard_to_hear() -> None:
    clean = said(FIRST).samples
    hiss = np.float32(2 * clean.std()) * np.random.default_rng(0).normal(size=len(clean)).astype(np.float32)
    hard = [move(Speech([sound]), compact_ear(), CPU).hard_to_hear for sound in (clean, clean + hiss)]
    assert hard == [False, True]
    assert not move(Speech([np.zeros(32_000, np.float32)]), compact_ear(), CPU).hard_to_hear


@needs_flite
def test_what_the_text_does_not_hold_is_left_to_the_ear() -> None:
    ear, order = compact_ear(), (FIRST, SECOND, FIRST, FIRST)
    sound = Speech([said(text).samples for text in order])
    found, _ = find(sound, words(FIRST) * 3, ear, CPU)
    told, heard = move(sound, ear, CPU, found), move(sound, ear, CPU)
    edges = np.cumsum([0, *(len(said(text).samples) // TOKEN_HOP for text in order)])
    same = (told.curves == heard.curves).all(axis=1)
    left = [same[begin:end].mean() for begin, end in pairwise(edges)]
    assert left[1] > 0.5  # the rest are its pauses, which need no text
    assert max(left[0], left[2], left[3]) < 0.3
    assert told.unsaid == pytest.approx(same.mean(), abs=0.1)
    assert heard.unsaid == 0


class Writer(Recogniser):
    """Understands as it is told to."""

    def __init__(self, *understood: Passage) -> None:
        self._understood = understood

    def passages(self, _: Gated) -> Iterator[Passage]:
        return iter(self._understood)


@needs_flite
@needs_espeak
def test_lips_follow_what_is_recognised_where_the_ear_agrees(tmp_path: Path) -> None:
    ear, pause = compact_ear(), np.zeros(RATE_HZ, np.float32)
    sounds = [said(FIRST).samples, pause, said(SECOND).samples, pause, said(FIRST).samples]
    edges = np.cumsum([0, *map(len, sounds)]).tolist()
    speech = gate(Speech(sounds))
    texts = (FIRST, FIRST, FIRST)  # the second one is misunderstood
    spans = [(edges[0], edges[1]), (edges[2], edges[3]), (edges[4], edges[5])]
    sure, unsure = (
        Writer(*(Passage(text, *span, belief) for text, span in zip(texts, spans, strict=True)))
        for belief in (1.0, 0.25)
    )
    report, path = Report(model="compact"), tmp_path / "speech.wav"
    moved = [
        hear(path, speech, ear, CPU, report, text=None, language="en-us", recogniser=by)
        for by in (sure, unsure, None, Writer())
    ]
    followed, doubted, heard, nothing = (np.asarray(curves) for curves in moved)
    assert (nothing == heard).all()
    np.testing.assert_allclose(doubted, 0.75 * heard + 0.25 * followed, atol=1e-5)
    same = (followed == heard).all(axis=1)
    left = [same[begin // TOKEN_HOP : end // TOKEN_HOP].mean() for begin, end in spans]
    assert left[1] == 1
    assert max(left[0], left[2]) < 0.3
    tokens = len(said(FIRST).samples) // TOKEN_HOP
    true = true_curves(said(FIRST), tokens)
    for begin, _ in (spans[0], spans[2]):
        here = slice(begin // TOKEN_HOP, begin // TOKEN_HOP + tokens)
        assert np.mean(likeness(followed[here], true)) > np.mean(likeness(heard[here], true)) + 0.01
    assert report.recognised == {str(path): ""}
    assert report.notes[0].startswith(f"speech.wav: understood as “{FIRST} {FIRST}”")
    assert report.notes[2:] == ["speech.wav: nothing was understood for sure; lips follow the sound alone"]


def test_a_model_that_can_only_listen_recognises_nothing(tmp_path: Path) -> None:
    speech, report = gate(Speech([np.zeros(RATE_HZ, np.float32)])), Report(model="full")
    with pytest.raises(ConfigError, match="the full model can only listen"):
        hear(tmp_path, speech, None, CPU, report, text=None, language="en-us", recogniser=Writer())


@needs_flite
@pytest.mark.parametrize("known", [True, False], ids=["words known", "words unknown"])
def test_long_speech_is_listened_to_piece_by_piece(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Speech([said(text).samples for text in (FIRST, SECOND, FIRST, SECOND)])
    ear, line = compact_ear(), (words(FIRST) + words(SECOND)) * 2

    def curves() -> np.ndarray:
        return move(sound, ear, CPU, follow(sound, line, ear, CPU) if known else None).curves

    whole = curves()
    monkeypatch.setattr(script, "_WINDOW", 200)
    monkeypatch.setattr(script, "_STEP", 100)
    monkeypatch.setattr(movement, "_CHUNK", 70)
    pieces = curves()
    assert pieces.shape == whole.shape
    assert (np.abs(pieces - whole).max(axis=1) < 0.05).mean() > 0.9
    monkeypatch.setattr(movement, "_LONGEST", 150)
    parts = curves()
    jaw = CURVES.index("jaw")
    assert np.corrcoef(parts[:, jaw], pieces[:, jaw])[0, 1] > 0.97


@needs_flite
@pytest.mark.parametrize(
    ("sound", "told"),
    [(lambda: said(FIRST).samples, SECOND), (lambda: np.zeros(32_000, np.float32), FIRST)],
    ids=["other words", "silence"],
)
def test_words_that_are_not_said_are_refused(sound: Callable[[], np.ndarray], told: str) -> None:
    with pytest.raises(InputError, match="does not sound like the transcript; check that this holds"):
        follow(Speech([sound()]), words(told), compact_ear(), CPU)


def test_an_encoder_of_other_phones_is_known_as_such() -> None:
    assert knows_our_phones(compact_ear())
    assert not knows_our_phones(CompactAudioEncoder(CompactAudioConfig(width=8, blocks=1, phones=5)))

"""Plain English is written down where it is said; what is no English is left out."""

from __future__ import annotations

import shutil
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from keysync.audio import recognise
from keysync.audio.recognise import Recogniser, open_recogniser
from keysync.audio.voice import Gated, VoiceActivity, gate
from keysync.checkpoints import installed_moonshine
from keysync.errors import CheckpointError, MissingProgram
from keysync.speech import SPEECH_RATE_HZ as RATE_HZ
from keysync.speech import Speech
from keysync.synthetic.speech import speak

needs_moonshine = pytest.mark.skipif(
    not all(row.path for row in installed_moonshine()),
    reason="Moonshine is not installed: keysync models fetch moonshine",
)
needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
PLAIN = "My brother bought a small boat last summer and he still cannot swim."
NONSENSE = "Voyb mushik deet, pawth ruzzle foomp gayv, lisht wubbow keem zaff."


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return open_recogniser()


def said(text: str) -> np.ndarray:
    return speak(text, "awb", np.random.default_rng(0)).samples


def plain_words(text: str) -> list[str]:
    return ["".join(filter(str.isalpha, word)).lower() for word in text.split()]


@needs_moonshine
@needs_flite
def test_plain_english_is_written_down_where_it_is_said_and_nonsense_is_left_out(
    recogniser: Recogniser,
) -> None:
    pause, nonsense = np.zeros(16 * RATE_HZ, np.float32), said(NONSENSE)
    sound = Speech([said(PLAIN), pause, nonsense, pause, said(PLAIN)])
    found = list(recogniser.passages(gate(sound)))
    assert [plain_words(passage.text) for passage in found] == [plain_words(PLAIN)] * 2
    assert [passage.belief for passage in found] == [1.0, 1.0]
    assert found[0].stop <= len(said(PLAIN)) + RATE_HZ
    assert found[1].start >= len(sound) - len(said(PLAIN)) - RATE_HZ


@needs_moonshine
@needs_flite
def test_words_that_are_hardly_heard_are_less_sure(recogniser: Recogniser) -> None:
    samples, rng = said(PLAIN), np.random.default_rng(0)
    noise = rng.normal(0, 3 * samples.std(), len(samples)).astype(np.float32)
    clear, drowned = (
        np.mean([sure for _, sure in recogniser.words(sound)]) for sound in (samples, samples + noise)
    )
    assert clear > -0.3
    assert drowned < clear - 0.3


@needs_moonshine
@needs_flite
def test_what_may_be_a_guess_is_believed_the_less(
    recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech = gate(Speech([said(PLAIN)]))
    beliefs = []
    for sure in (-0.2, -0.35, -0.5, -0.65):
        monkeypatch.setattr(Recogniser, "words", lambda *_, sure=sure: [("maybe", sure), ("so", sure)])
        beliefs.append([passage.belief for passage in recogniser.passages(speech)])
    assert beliefs == [[1.0], [pytest.approx(5 / 6)], [pytest.approx(1 / 3)], []]


@needs_moonshine
def test_no_sound_and_noise_hold_no_words(recogniser: Recogniser) -> None:
    hiss = np.random.default_rng(0).normal(0, 0.05, 4 * RATE_HZ).astype(np.float32)
    for samples in (np.zeros(0, np.float32), np.zeros(2 * RATE_HZ, np.float32), hiss):
        assert list(recogniser.passages(gate(Speech([samples])))) == []


def test_speech_is_cut_in_pauses_and_never_too_long() -> None:
    loud = np.random.default_rng(0).normal(0, 0.1, 60 * RATE_HZ).astype(np.float32)
    loud[22 * RATE_HZ : 22 * RATE_HZ + RATE_HZ // 4] = 0  # within the one that goes on for half a minute
    spans = np.array([[0, 4], [5, 9], [12, 41], [45, 46], [59, 60]]) * RATE_HZ
    cuts = list(recognise._stretches(Gated(Speech([loud]), VoiceActivity(spans))))
    assert cuts[0] == (0, 9 * RATE_HZ)
    assert cuts[1][1] == pytest.approx(22.125 * RATE_HZ, abs=RATE_HZ / 10)
    assert cuts[-1] == (59 * RATE_HZ, 60 * RATE_HZ)
    assert all(0 < stop - start <= 15 * RATE_HZ for start, stop in cuts)
    assert all(start >= stop for (_, stop), (start, _) in pairwise(cuts))
    for start, stop in spans.tolist():  # nothing that is said is lost
        assert sum(max(0, min(last, stop) - max(first, start)) for first, last in cuts) == stop - start


def test_pieces_of_words_may_be_long_and_begin_with_a_blank() -> None:
    long = "x" * 300
    content = b"\x02ab" + b"\x05\xe2\x96\x81cd" + bytes([128 + 300 % 128, 300 // 128]) + long.encode()
    assert recognise._read_tokens(content) == ["ab", " cd", long]


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(MissingProgram, match=r"pip install 'keysync\[recognise\]'"):
            Recogniser(tmp_path, tmp_path, tmp_path)
    monkeypatch.setenv("KEYSYNC_CACHE", str(tmp_path))
    monkeypatch.delenv("KEYSYNC_MODELS", raising=False)
    with pytest.raises(CheckpointError, match="run keysync models fetch moonshine"):
        open_recogniser()

"""A speech and its words -> how the mouth moves that says them.

Where the words are known, the ear need not guess them: it only finds when each is said, and the mouth moves
by the rules that our drawn people speak by. So an accent, an odd voice or noise costs less. Where the ear
hears something else than the text says, it is believed, not the text.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64

from keysync.audio.compact import SILENT_TAIL_S, TOKEN_HOP, CompactAudioEncoder
from keysync.audio.window import TOKENS_PER_SECOND, AudioTokens
from keysync.errors import InputError, MissingProgram
from keysync.speech import Sound

Words = list[tuple[str, ...]]  # the phones of each
_LINE = 2000  # letters that are read at a time
_WINDOW, _STEP = 60 * TOKENS_PER_SECOND, 30 * TOKENS_PER_SECOND  # searched at a time, and kept of it
_DENSEST = 25  # phones a second
# Log likelihoods of 20 ms: of any phone at least, of speech that the text does not hold, and, as the mean of
# a word, from where on it is taken to be said.
_LEAST, _OTHER, _TRUSTED = -8.0, -4.0, -2.5
_HEARD = 0.65  # ``Found.share`` of a text that is accepted, at least (benchmarks/transcript.py)
# Of 20 ms: pauses at which speech falls into parts, and the longest part.
_QUIET, _LONGEST = 15, 30 * TOKENS_PER_SECOND


@dataclass(frozen=True, slots=True)
class _Line:
    """The phones of all words in a row, a pause that need not be made before each and after the last."""

    phones: tuple[str, ...]
    word: Int64[np.ndarray, " n"]  # number of its word; -1 of a pause


def read_words(text: str, language: str) -> Words:
    """The phones of every word of a text or of subtitles (SRT or WebVTT; their times are not used).

    Raises:
        InputError: there is nothing to say.
        MissingProgram: SciPy or espeak-ng is not installed.
    """
    try:
        from keysync.synthetic.pronounce import words
    except ModuleNotFoundError as error:
        raise MissingProgram("a transcript needs SciPy: run pip install 'keysync[synthetic]'") from error
    spoken = re.sub(r"(?m)^(?:[ \t]*\d+[ \t]*\r?\n)?.*-->.*$|^WEBVTT.*$|<[^<>\n]*>", " ", text)
    found = [word for line in textwrap.wrap(spoken, _LINE) for word in words(line, language)]
    if not found:
        raise InputError("the transcript holds no word that can be said; give the words of the speech")
    return found


@dataclass(frozen=True, slots=True)
class Found:
    """Where words lie in a sound, every 20 ms of it."""

    line: _Line
    at: Int64[np.ndarray, " tokens"]  # the place in the line that is said
    trusted: Bool[np.ndarray, " tokens"]  # whether the word, or pause, that it belongs to sounds like it

    @property
    def share(self) -> float:
        """Of the time that is not silent, in words that sound as they should."""
        spoken = ~(self.trusted & (self.line.word[self.at] < 0))
        return float(self.trusted[spoken].mean()) if spoken.any() else 0.0


def follow(
    sound: Sound, said: Words, encoder: CompactAudioEncoder, device: torch.device
) -> Float32[np.ndarray, "tokens 7"]:
    """``CURVES`` of a mouth that says ``said``, every 20 ms of ``sound``; NaN where the ear knows better.

    Args:
        sound: the speech alone, see ``voice.Gated``.
        device: where ``encoder`` lives.
    Raises:
        InputError: too little of the speech is what the words say.
    """
    found = find(sound, said, encoder, device)
    if found.share < _HEARD:
        raise InputError(
            f"the transcript is heard in {100 * found.share:.0f} % of the speech; check that they belong "
            "together and what --language it is, or leave it out"
        )
    curves = np.full((len(found.at), 7), np.nan, np.float32)
    for first, stop in _parts(found.line, found.at):
        part = slice(first, stop)
        moved = _mouth(sound, found.line, found.at[part], first)
        curves[part] = np.where(found.trusted[part, None], moved, np.nan)
    return curves


def find(sound: Sound, said: Words, encoder: CompactAudioEncoder, device: torch.device) -> Found:
    """Where in ``sound`` the words are said, as far as they are."""
    line = _line(said)
    at, likely = _places(sound, line, encoder, device)
    return Found(line, at, _trusted(line, at, likely))


def _line(said: Words) -> _Line:
    from keysync.synthetic.utterance import PAUSE

    phones, word = [PAUSE], [-1]
    for number, name in enumerate(said):
        phones += [*name, PAUSE]
        word += [number] * len(name) + [-1]
    return _Line(tuple(phones), np.array(word))


def _places(
    sound: Sound, line: _Line, encoder: CompactAudioEncoder, device: torch.device
) -> tuple[Int64[np.ndarray, " tokens"], Float32[np.ndarray, " tokens"]]:
    """Which phone of the line each 20 ms hold, and the log likelihood of just that."""
    from keysync.synthetic.align import best_path
    from keysync.synthetic.utterance import PHONES

    heard = AudioTokens(encoder, sound, tail_s=SILENT_TAIL_S, device=device)
    columns = np.array([PHONES.index(name) for name in line.phones])
    optional = line.word < 0
    places: list[Int64[np.ndarray, " _"]] = []
    likelihoods: list[Float32[np.ndarray, " _"]] = []
    here = 0  # what is being said when the window begins
    for first in range(0, len(heard), _STEP):
        stop = min(first + _WINDOW, len(heard))
        told = _told(heard, encoder, first, stop)
        ahead = slice(here, here + (stop - first) * _DENSEST // TOKENS_PER_SECOND + 2)
        likely = told[:, columns[ahead]]
        passing = likely.copy()
        passing[:, optional[ahead]] = passing[:, optional[ahead]].clip(min=_OTHER)
        path, _ = best_path(passing, optional[ahead])
        keep = path[: None if stop == len(heard) else _STEP]
        places.append(here + keep)
        likelihoods.append(likely[np.arange(len(keep)), keep])
        here += int(keep[-1])
        if stop == len(heard):
            break
    return np.concatenate(places), np.concatenate(likelihoods)


def _told(
    heard: AudioTokens, encoder: CompactAudioEncoder, first: int, stop: int
) -> Float32[np.ndarray, "t 41"]:
    """Log likelihood of each phone."""
    tokens = heard.at([Fraction(k, TOKENS_PER_SECOND) for k in range(first, stop)], 1, -1)[:, 0]
    return encoder.told_phones(tokens).clamp(min=1e-9).log().clamp(min=_LEAST).cpu().numpy()


def _trusted(
    line: _Line, at: Int64[np.ndarray, " tokens"], likely: Float32[np.ndarray, " tokens"]
) -> Bool[np.ndarray, " tokens"]:
    """Whether the word, or the pause, that is said at each moment sounds like it."""
    group = np.concatenate([[0], np.cumsum(np.diff(line.word[at]) != 0)])
    mean = np.bincount(group, likely) / np.bincount(group)
    return np.asarray(mean[group] > _TRUSTED)


def _parts(line: _Line, at: Int64[np.ndarray, " tokens"]) -> Iterator[tuple[int, int]]:
    """Cut in the middle of a long pause; where there is none, between any two words."""
    words = line.word[at]
    edges = [0, *(np.flatnonzero(np.diff(words)) + 1).tolist(), len(at)]
    quiet = [
        (begin + end) // 2 for begin, end in pairwise(edges) if words[begin] < 0 and end - begin >= _QUIET
    ]
    first = 0
    while len(at) - first > _LONGEST:
        latest = first + _LONGEST
        cut = max((k for k in quiet if first < k <= latest), default=0)
        cut = cut or max((k for k in edges if first < k <= latest), default=latest)
        yield first, cut
        first = cut
    yield first, len(at)


def _mouth(sound: Sound, line: _Line, at: Int64[np.ndarray, " t"], first: int) -> Float32[np.ndarray, "t 7"]:
    """``CURVES`` of one part of the speech, which begins with 20 ms number ``first``."""
    from keysync.synthetic.articulate import articulate
    from keysync.synthetic.utterance import RATE_HZ, Utterance, fill

    begins = np.flatnonzero(np.diff(at, prepend=-1))
    timed = [(line.phones[at[k]], float(k / TOKENS_PER_SECOND)) for k in begins]
    samples = sound.samples(first * TOKEN_HOP, (first + len(at)) * TOKEN_HOP)
    said = Utterance(samples, RATE_HZ, fill(timed, len(samples) / RATE_HZ))
    mouth = articulate(said, said.duration_s, np.random.default_rng(0), jaw_gain=1.0, lip_gain=1.0)
    return mouth.curves_at((np.arange(len(at)) + 0.5) / TOKENS_PER_SECOND)

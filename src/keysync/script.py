"""A speech and its words -> when each is said, and which of them do not sound like it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64

from keysync.audio.compact import SILENT_TAIL_S, CompactAudioEncoder
from keysync.audio.window import TOKENS_PER_SECOND, AudioTokens
from keysync.errors import InputError
from keysync.speech import Sound
from keysync.synthetic.align import best_path, forgiving
from keysync.synthetic.pronounce import words
from keysync.synthetic.utterance import PAUSE, PHONES

Words = list[tuple[str, ...]]  # the phones of each
_LINE = 2000  # letters that are read at a time
_WINDOW, _STEP = 60 * TOKENS_PER_SECOND, 30 * TOKENS_PER_SECOND  # searched at a time, and kept of it
_DENSEST = 25  # phones a second
# Log likelihoods of 20 ms: of any phone at least, of speech that the text does not hold, and, as the mean of
# a word, from where on it is taken to be said.
_LEAST, _OTHER, _TRUSTED = -8.0, -3.0, -3.2


@dataclass(frozen=True, slots=True)
class Line:
    """The phones of all words in a row, a pause that need not be made before each and after the last."""

    phones: tuple[str, ...]
    word: Int64[np.ndarray, " n"]  # number of its word; -1 of a pause


def read_words(text: str, language: str) -> Words:
    """The phones of every word of a text or of subtitles (SRT or WebVTT; their times are not used).

    Raises:
        InputError: there is nothing to say.
        MissingProgram: espeak-ng is not installed.
    """
    spoken = re.sub(r"(?m)^(?:[ \t]*\d+[ \t]*\r?\n)?.*-->.*$|^WEBVTT.*$|<[^<>\n]*>", " ", text)
    found = [word for line in textwrap.wrap(spoken, _LINE) for word in words(line, language)]
    if not found:
        raise InputError("the transcript holds no word that can be said; give the words of the speech")
    return found


@dataclass(frozen=True, slots=True)
class Found:
    """Where words lie in a sound, every 20 ms of it."""

    phones: tuple[str, ...]  # of all words, with the pauses that may be between them
    at: Int64[np.ndarray, " tokens"]  # which of them is said
    belief: Float32[np.ndarray, " tokens"]  # 0 to 1; none where it does not sound like its word or pause


def find(
    sound: Sound, said: Words, encoder: CompactAudioEncoder, device: torch.device
) -> tuple[Found, float]:
    """Where in ``sound`` the words are said, as far as they are.

    Returns:
        that, and how well sound and words agree: mean log likelihood of the words' 20 ms, 0 at best.
    """
    line = _line(said)
    at, likely = _places(sound, line, encoder, device)
    spoken = line.word[at] >= 0
    agreement = float(likely[spoken].mean()) if spoken.any() else _LEAST
    return Found(line.phones, at, _trusted(line, at, likely).astype(np.float32)), agreement


def joined(parts: Sequence[tuple[int, Found]], tokens: int) -> Found:
    """What was found in passages of a sound, as found in all of it.

    Args:
        parts: in order, each with the 20 ms at which its passage begins; it ends with the silent tail that it
            was heard with.
        tokens: of the whole sound.
    """
    phones: tuple[str, ...] = (PAUSE,)
    at, belief = np.zeros(tokens, np.int64), np.zeros(tokens, np.float32)
    for first, found in parts:
        length = len(found.at) - SILENT_TAIL_S * TOKENS_PER_SECOND
        at[first : first + length] = found.at[:length] + len(phones)
        belief[first : first + length] = found.belief[:length]
        phones += found.phones
    return Found(phones, at, belief)


def _line(said: Words) -> Line:
    phones, word = [PAUSE], [-1]
    for number, name in enumerate(said):
        phones += [*name, PAUSE]
        word += [number] * len(name) + [-1]
    return Line(tuple(phones), np.array(word))


def _places(
    sound: Sound, line: Line, encoder: CompactAudioEncoder, device: torch.device
) -> tuple[Int64[np.ndarray, " tokens"], Float32[np.ndarray, " tokens"]]:
    """Which phone of the line each 20 ms hold, and the log likelihood of just that."""
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
        likely = told[:, columns[ahead]].clip(min=_LEAST)
        passing = forgiving(told).clip(min=_LEAST)[:, columns[ahead]]
        passing[:, optional[ahead]] = passing[:, optional[ahead]].clip(min=_OTHER)
        path = best_path(passing, optional[ahead])
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
    return encoder.told_phones(heard.span(first, stop)).clamp(min=1e-9).log().cpu().numpy()


def _trusted(
    line: Line, at: Int64[np.ndarray, " tokens"], likely: Float32[np.ndarray, " tokens"]
) -> Bool[np.ndarray, " tokens"]:
    """Whether the word, or the pause, that is said at each moment sounds like it."""
    group = np.concatenate([[0], np.cumsum(np.diff(line.word[at]) != 0)])
    mean = np.bincount(group, likely) / np.bincount(group)
    return np.asarray(mean[group] > _TRUSTED)

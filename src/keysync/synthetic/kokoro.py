"""Text -> speech that sounds like people, by Kokoro's voices: what is said in order, but not when.

Other synthesisers tell exactly when each phone starts and sound like machines. Kokoro's voices, and mixtures
of them, sound like people, and its own idea of when a phone starts is some 65 ms late and 25 ms uncertain. So
it is not asked: ``synthetic/align.py`` finds the times in the sound.

Source: Kokoro-82M v1.0 (hexgrad, 2025), its 8-bit ONNX file and phone alphabet; espeak-ng's IPA.
"""

from __future__ import annotations

import math
import re
import tarfile
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
from jaxtyping import Float32

from keysync.checkpoints import KOKORO, kokoro_file, open_onnx
from keysync.config import Language
from keysync.errors import InputError
from keysync.synthetic.pronounce import ENGLISH, OTHERS, phones, spell
from keysync.synthetic.text import babble, sentence, words_filling
from keysync.synthetic.utterance import PAUSE, at_any_level, resample_sound

_RATE_HZ = 24000
TEST_VOICES = ("am_michael", "bf_emma", "em_alex", "if_sara")  # never trained on, nor mixed into others
_STYLE, _LONGEST = 256, 510  # numbers of a style, symbols of a sentence
_ENDED = 0.25  # of the syllables of what is no language's, closed: nasal vowels, clusters
_ABROAD = 0.4  # of what is said, in one of OTHERS
_MIXED = 0.4  # of the voices drawn; the rest are voices as they are
_LANGUAGES: dict[str, Language] = dict(zip("abefip", get_args(Language), strict=True))  # by first letter
_GUESTS, _GUESTS_ABROAD = 0.2, 0.5  # of the voices drawn: of another language than they speak here

# Kokoro's number of each symbol, which its weights were trained with.
_NUMBERS = dict(zip(",. AIOQSTWY", (3, 4, 16, 24, 25, 31, 33, 35, 36, 39, 41), strict=True)) | {
    **{letter: 43 + index for index, letter in enumerate("abcdefghijklmnopqrstuvwxyz") if letter not in "g"},
    **{"ᵊ": 42, "ɑ": 69, "ɒ": 71, "æ": 72, "ɔ": 76, "ð": 81, "ʤ": 82, "ə": 83, "ɛ": 86, "ɜ": 87, "ɡ": 92},
    **{"ɪ": 102, "ŋ": 112, "θ": 119, "ɹ": 123, "ʃ": 131, "ʧ": 133, "ʊ": 135, "ʌ": 138, "ʒ": 147, "ˈ": 156},
    **{"ˌ": 157, "ː": 158, "ᵻ": 177, "\u0303": 17, "ʣ": 18, "ʦ": 20, "ɐ": 70, "β": 75, "ɥ": 99},
    **{"ʝ": 103, "ɲ": 114, "ø": 116, "œ": 120, "ɾ": 125, "ʁ": 128, "ɣ": 139, "χ": 142, "ʎ": 143},
}


@dataclass(frozen=True, slots=True)
class Style:
    """One way to sound: a voice, or a mixture of two, and what it speaks."""

    name: str
    language: str  # of ENGLISH or OTHERS
    numbers: Float32[np.ndarray, "lengths 256"]  # for a sentence of each length


@dataclass(frozen=True, slots=True)
class Script:
    """A sentence as Kokoro reads it, and its phones of ``PHONES``, from a pause to a pause."""

    symbols: str
    phones: tuple[str, ...]


def draw_style(rng: np.random.Generator) -> Style:
    """A voice, or a mixture of one with any other; most speak their own language, and most English.

    Raises:
        CheckpointError: Kokoro is not on this machine.
    """
    known = [name for name in sorted(_voices()) if name not in TEST_VOICES]
    abroad = rng.random() < _ABROAD
    said = [str(rng.choice(OTHERS))] if abroad else ENGLISH
    natives = [name for name in known if _LANGUAGES.get(name[0]) in said]
    guests = [name for name in known if name not in natives]
    kind = rng.random()
    if kind < (_GUESTS_ABROAD if abroad else _GUESTS):
        return replace(style(str(rng.choice(guests))), language=said[0])
    first = style(str(rng.choice(natives)))
    if kind < 1 - _MIXED:
        return first
    other, share = style(str(rng.choice(known))), np.float32(rng.uniform(0.3, 0.75))
    mixed = share * first.numbers + (1 - share) * other.numbers
    return Style(f"{first.name}+{other.name}", first.language, mixed)


def style(voice: str) -> Style:
    """A voice as it is; those of languages that we cannot read speak English.

    Raises:
        CheckpointError: Kokoro is not on this machine.
        InputError: it has no such voice.
    """
    if voice not in _voices():
        raise InputError(f"{voice}: no such voice; take one of {', '.join(sorted(_voices()))}")
    return Style(voice, language_of(voice), _voices()[voice])


def language_of(voice: str) -> Language:
    """What a voice speaks."""
    return _LANGUAGES.get(voice[0], "en-us")


def read(text: str, language: str) -> Script:
    """What to say, by espeak-ng's reading; each comma and full stop is a pause.

    Args:
        language: of ``ENGLISH`` or ``OTHERS``.
    Raises:
        MissingProgram: espeak-ng is not installed.
        InputError: it says a phone that our tables do not have, or nothing.
    """
    parts = [spell(clause, language) + mark for clause, mark in re.findall(r"([^,.]+)([,.]?)", text)]
    symbols = " ".join(parts)
    said = phones(symbols, language)
    if len(said) < 3 or len(symbols) > _LONGEST:
        raise InputError(f"{text!r}: give Kokoro a sentence, {_LONGEST} sounds at most")
    return Script(symbols, said if said[-1] == PAUSE else (*said, PAUSE))


def draw_text(language: str, rng: np.random.Generator, seconds: float | None = None) -> str:
    """A sentence of English words, or of made-up ones that ``language`` can read; about ``seconds`` long."""
    if language in ENGLISH:
        return sentence(rng, None if seconds is None else words_filling(seconds))
    return babble(rng, None if seconds is None else max(2, math.ceil(2.5 * seconds)), _ENDED)


def utter(
    text: str, how: Style, rng: np.random.Generator
) -> tuple[Float32[np.ndarray, " n"], tuple[str, ...]]:
    """Say ``text`` at a pace, size of throat and level that are drawn: sound at 16 kHz, and its phones.

    Raises:
        CheckpointError: Kokoro is not on this machine.
        MissingProgram: onnxruntime or espeak-ng is not installed.
        InputError: there is nothing to say in it, or too much.
    """
    script = read(text, how.language)
    sound = speak_kokoro(script, how, float(rng.uniform(0.8, 1.25)))
    samples, _ = resample_sound(sound, _RATE_HZ, playback=rng.uniform(0.92, 1.09))
    return at_any_level(samples, rng), script.phones


def speak_kokoro(script: Script, how: Style, speed: float) -> Float32[np.ndarray, " n"]:
    """Say it at 24 kHz; ``speed`` above 1 is faster.

    Raises:
        CheckpointError: Kokoro is not on this machine.
        MissingProgram: onnxruntime is not installed.
    """
    numbers = [_NUMBERS[symbol] for symbol in script.symbols]
    told = {
        "tokens": np.array([[0, *numbers, 0]]),
        "style": how.numbers[len(numbers) - 1][None],
        "speed": np.array([speed], np.float32),
    }
    samples: Float32[np.ndarray, " n"] = _network().run(None, told)[0].ravel()
    return samples


@lru_cache(maxsize=1)
def _network() -> Any:
    return open_onnx(kokoro_file("model.onnx"), "synthetic")


@lru_cache(maxsize=1)
def _voices() -> dict[str, Float32[np.ndarray, "lengths 256"]]:
    """By name; the file is one we know, so what is in it needs no doubt."""
    folder, found = KOKORO["voices.tgz"].member, {}
    with tarfile.open(kokoro_file("voices.tgz")) as archive:
        for member in archive:
            path, content = Path(member.name), archive.extractfile(member)
            if str(path.parent) == folder and content is not None:
                found[path.stem] = np.frombuffer(content.read(), np.float32).reshape(_LONGEST, _STYLE)
    return found

"""A speech -> how the mouth moves that says it.

The ear tells two things of every 20 ms: how the mouth moves, and which phone is said. Where it is sure of its
phones, the mouth is also moved along them, by the rules that our drawn people speak by; the mean of both is
nearer to the truth than either. Known words take the place of the phones that it names, so that an accent, an
odd voice or noise costs less; where it hears something else than they say, it is believed, not they. Words
that nobody has given can be recognised, if they are English.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeGuard

import numpy as np
import torch
from jaxtyping import Float32, Int64
from scipy.ndimage import uniform_filter1d

from keysync.audio.compact import SILENT_TAIL_S, TOKEN_HOP, CompactAudioEncoder
from keysync.audio.encoder import AudioEncoder
from keysync.audio.recognise import Recogniser
from keysync.audio.voice import Gated
from keysync.audio.window import TOKENS_PER_SECOND, AudioTokens
from keysync.config import Language
from keysync.errors import ConfigError, InputError
from keysync.report import Report
from keysync.script import Found, Words, find, joined, read_words
from keysync.speech import Sound, Speech
from keysync.synthetic.articulate import CURVES, articulate
from keysync.synthetic.utterance import PAUSE, PHONES, RATE_HZ, Utterance, fill

HARD_TO_HEAR = (
    "the speech is hard to hear (noise, or a language that the model does not know) and lips will miss some "
    "of it; clean it, give its words with --transcript, or, if it is English, add --recognise"
)
_HEARD = -2.65  # agreement (``find``) of words that are accepted, at least (benchmarks/movement.py)
_TOLD = 0.65  # share of the rules where words are known, the rest is what is heard
# Probability of the likeliest phone, mean of 100 ms, up to which rules do not count, and from where on they
# count as much as what is heard. In noise a phone named wrongly would do harm (benchmarks/movement.py).
_UNSURE, _SURE = 0.6, 0.9
_NEAR = 5  # times 20 ms
# ``Movement.sure`` of what is hard to hear is less. Two voices never heard have .77 and .87, and the opening
# follows the truth with r .93 and .97; in noise as loud, .50 and .68, .82 and .87 (benchmarks/movement.py).
_HARD = 0.5
# Of 20 ms: pauses at which speech falls into parts, and the longest part.
_QUIET, _LONGEST = 15, 30 * TOKENS_PER_SECOND
_CHUNK = 60 * TOKENS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Movement:
    """How a mouth moves, every 20 ms of a speech and on for a second of silence."""

    curves: Float32[np.ndarray, "tokens 7"]  # ``CURVES`` in units of their scale
    sure: float  # how likely the ear holds the phones that it names, mean; 1 if it names none
    unsaid: float  # share of the time that belongs to no known word, where words are known; else 0

    @property
    def hard_to_hear(self) -> bool:
        """Whether lips that only listen will miss much of it."""
        return self.sure < _HARD


def knows_our_phones(encoder: AudioEncoder) -> TypeGuard[CompactAudioEncoder]:
    """Whether it tells ``CURVES`` and ``PHONES``."""
    sizes = (len(CURVES), len(PHONES))
    return (
        isinstance(encoder, CompactAudioEncoder) and (encoder.config.curves, encoder.config.phones) == sizes
    )


def hear(
    path: Path,
    speech: Gated,
    ear: CompactAudioEncoder | None,
    device: torch.device,
    report: Report,
    *,
    text: str | None,
    language: Language,
    recogniser: Recogniser | None = None,
) -> Float32[np.ndarray, "tokens 7"] | None:
    """How the mouth moves that says the speech of a file, or, where it is given, its text; see ``Movement``.

    Args:
        ear: one that ``knows_our_phones``, on ``device``; None if the model has none, which gives None.
        report: told what the user should know of it.
        recogniser: writes the text down if none is given.
    Raises:
        InputError: the speech does not sound like the text, or the text is none of that language.
        ConfigError: there are words, or a recogniser, but no ear that can follow them.
        MissingProgram: espeak-ng is not installed, and there are words to be read.
    """
    if ear is None:
        if text is not None or recogniser is not None:
            raise ConfigError(
                f"lips shall follow words, but the {report.model} model can only listen; add --model compact"
            )
        return None
    found = None
    try:
        with report.clock("audio"):
            if text is not None:
                found = follow(speech, read_words(text, language), ear, device)
            elif recogniser is not None:
                found, report.recognised[str(path)] = recognise(speech, recogniser, ear, device, language)
            moved = move(speech, ear, device, found)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if moved.hard_to_hear and found is None:
        report.note(f"{path.name}: {HARD_TO_HEAR}")
    if text is None and recogniser is not None:
        report.note(f"{path.name}: {_understood(report.recognised[str(path)])}")
    elif moved.unsaid > 0.02:
        report.note(
            f"{path.name}: {100 * moved.unsaid:.0f} % is not what the words say; there lips follow the sound"
        )
    return moved.curves


def _understood(text: str) -> str:
    if not text:
        return "nothing was understood for sure; lips follow the sound alone"
    return (
        f"understood as “{textwrap.shorten(text, 90, placeholder=' …')}”; if that is wrong, give --transcript"
    )


def follow(sound: Sound, words: Words, encoder: CompactAudioEncoder, device: torch.device) -> Found:
    """Where the words lie in a speech that is known to say them.

    Raises:
        InputError: it does not sound like them.
    """
    found, agreement = find(sound, words, encoder, device)
    if agreement < _HEARD:
        raise InputError(
            "the speech does not sound like the transcript; check that this holds all that is said, and what "
            "--language it is, or leave it out"
        )
    return found


def recognise(
    speech: Gated,
    recogniser: Recogniser,
    encoder: CompactAudioEncoder,
    device: torch.device,
    language: Language,
) -> tuple[Found, str]:
    """What is said as far as the recogniser is sure of it and the ear agrees, and that as text.

    Raises:
        MissingProgram: espeak-ng is not installed.
    """
    parts, texts = list[tuple[int, Found]](), list[str]()
    for passage in recogniser.passages(speech):
        first = passage.start // TOKEN_HOP
        alone = Speech([speech.samples(first * TOKEN_HOP, passage.stop)])
        found, agreement = find(alone, read_words(passage.text, language), encoder, device)
        if agreement >= _HEARD:
            parts.append((first, replace(found, belief=passage.belief * found.belief)))
            texts.append(passage.text)
    tokens = AudioTokens(encoder, speech, tail_s=SILENT_TAIL_S, device=device)
    return joined(parts, len(tokens)), " ".join(texts)


def move(
    sound: Sound, encoder: CompactAudioEncoder, device: torch.device, found: Found | None = None
) -> Movement:
    """Listen to a speech, and say it by rule.

    Args:
        sound: the speech alone, see ``voice.Gated``.
        encoder: one that ``knows_our_phones``, on ``device``.
        found: where words lie in it, if any are known.
    """
    heard, named, sure = _listen(sound, encoder, device)
    begins = np.diff(named, prepend=-1) != 0
    ruled = _by_rule(sound, [PHONES[k] for k in named[begins]], np.cumsum(begins) - 1)
    share = 0.5 * ((uniform_filter1d(sure, _NEAR, mode="nearest") - _UNSURE) / (_SURE - _UNSURE)).clip(0, 1)
    curves = heard + share[:, None] * (ruled - heard)
    speaks, unsaid = named != PHONES.index(PAUSE), 0.0
    if found is not None:
        said = heard + np.float32(_TOLD) * (_by_rule(sound, found.phones, found.at) - heard)
        curves += found.belief[:, None] * (said - curves)
        unsaid = float((found.belief == 0).mean())
    return Movement(curves, float(sure[speaks].mean()) if speaks.any() else 1.0, unsaid)


def _listen(
    sound: Sound, encoder: CompactAudioEncoder, device: torch.device
) -> tuple[Float32[np.ndarray, "t 7"], Int64[np.ndarray, " t"], Float32[np.ndarray, " t"]]:
    """What the ear tells: the curves, the likeliest phone, and how likely that is."""
    tokens = AudioTokens(encoder, sound, tail_s=SILENT_TAIL_S, device=device)
    curves = np.empty((len(tokens), len(CURVES)), np.float32)
    named, sure = np.empty(len(tokens), np.int64), np.empty(len(tokens), np.float32)
    for first in range(0, len(tokens), _CHUNK):
        here = slice(first, first + _CHUNK)
        told = tokens.span(first, first + _CHUNK)
        curves[here] = encoder.told_curves(told).cpu()
        sure[here], named[here] = (of.cpu() for of in encoder.told_phones(told).max(dim=-1))
    return curves, named, sure


def _by_rule(sound: Sound, phones: Sequence[str], at: Int64[np.ndarray, " t"]) -> Float32[np.ndarray, "t 7"]:
    """``CURVES`` of a mouth that says ``phones``; ``at`` is the place in them every 20 ms."""
    curves = np.empty((len(at), len(CURVES)), np.float32)
    for first, stop in _parts(phones, at):
        begins = first + np.flatnonzero(np.diff(at[first:stop], prepend=-1))
        timed = [(phones[at[k]], float((k - first) / TOKENS_PER_SECOND)) for k in begins]
        samples = sound.samples(first * TOKEN_HOP, stop * TOKEN_HOP)
        said = Utterance(samples, RATE_HZ, fill(timed, len(samples) / RATE_HZ))
        mouth = articulate(said, said.duration_s, None, jaw_gain=1.0, lip_gain=1.0)
        curves[first:stop] = mouth.curves_at((np.arange(stop - first) + 0.5) / TOKENS_PER_SECOND)
    return curves


def _parts(phones: Sequence[str], at: Int64[np.ndarray, " t"]) -> Iterator[tuple[int, int]]:
    """Cut in the middle of a long pause; where there is none, between any two phones."""
    edges = np.concatenate([[0], np.flatnonzero(np.diff(at)) + 1, [len(at)]])
    pause = np.array([phones[k] == PAUSE for k in at[edges[:-1]]]) & (np.diff(edges) >= _QUIET)
    quiet = ((edges[:-1] + edges[1:]) // 2)[pause]
    first = 0
    while len(at) - first > _LONGEST:
        latest = first + _LONGEST
        cut = _last(quiet, latest)
        if cut <= first:
            cut = _last(edges, latest)
        if cut <= first:
            cut = latest
        yield first, cut
        first = cut
    yield first, len(at)


def _last(moments: Int64[np.ndarray, " n"], latest: int) -> int:
    """The last of some moments, in order, up to ``latest``; 0 if there is none."""
    before = int(np.searchsorted(moments, latest, side="right"))
    return int(moments[before - 1]) if before else 0

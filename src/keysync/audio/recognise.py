"""Speech -> what it says in English, as text, and where.

A recogniser knows the language, which our ear does not: an accent, noise or music costs it less. It guesses
where it does not understand, though, so what it is unsure of is left out.

Source: Moonshine tiny (Jeffries et al., "Moonshine: Speech Recognition for Live Transcription and Voice
Commands", 2024), its published 8-bit ONNX files for English, MIT licence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import uniform_filter1d

from keysync.audio.voice import Gated
from keysync.checkpoints import moonshine_file, open_onnx
from keysync.speech import SPEECH_RATE_HZ as RATE_HZ

_LONGEST = 15 * RATE_HZ  # samples of a passage; longer ones are understood no better
_AROUND = RATE_HZ // 4  # silence before and after it
_CUT = RATE_HZ // 20  # how long it must be quiet where a passage is cut without a pause
_TOKENS_PER_SECOND = 6.5  # at most, as published; more is a loop
_BEGIN, _END = 1, 2
# Mean log probability of the words of a passage, each of which is as likely as its least likely token: from
# where on it is believed a little, and wholly. Of random words with nonsense between them most have less, of
# other languages all; of plain sentences, unless they drown, nearly all have more (benchmarks/recognise.py).
_UNSURE, _SURE = -0.6, -0.3


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of speech, and what it says."""

    text: str
    start: int  # samples of the speech
    stop: int
    belief: float  # that it says that, above 0, up to 1


class Recogniser:
    """Moonshine on the CPU."""

    def __init__(self, encoder: Path, decoder: Path, tokens: Path) -> None:
        """Open the files; they are known ones, verified by hash.

        Raises:
            MissingProgram: onnxruntime is not installed.
        """
        self._encoder, self._decoder = (open_onnx(path, "recognise") for path in (encoder, decoder))
        self._tokens = _read_tokens(tokens.read_bytes())

    def passages(self, speech: Gated) -> Iterator[Passage]:
        """What is said, passage by passage, where that can be believed; long speech takes no more memory."""
        for start, stop in _stretches(speech):
            words = self.words(speech.samples(start, stop))
            sure = float(np.mean([sure for _, sure in words])) if words else _UNSURE
            if sure > _UNSURE:
                belief = min((sure - _UNSURE) / (_SURE - _UNSURE), 1.0)
                yield Passage(" ".join(word for word, _ in words), start, stop, belief)

    def words(self, samples: Float32[np.ndarray, " n"]) -> list[tuple[str, float]]:
        """The likeliest words of some seconds at 16 kHz, each with the least log probability of its parts."""
        sound = np.pad(samples, _AROUND)[None]
        everything = np.ones(sound.shape, np.int64)
        heard = self._encoder.run(None, {"input_values": sound, "attention_mask": everything})[0]
        names = [output.name for output in self._decoder.get_outputs()]
        past = {
            put.name: np.zeros((1, put.shape[1], 0, put.shape[3]), np.float32)
            for put in self._decoder.get_inputs()
            if put.name.startswith("past_key_values")
        }
        token, words = _BEGIN, list[tuple[str, float]]()
        for step in range(math.ceil(sound.size / RATE_HZ * _TOKENS_PER_SECOND)):
            told = {
                "input_ids": np.array([[token]]),
                "encoder_hidden_states": heard,
                "encoder_attention_mask": everything,
                "use_cache_branch": np.array([step > 0]),
            }
            found = dict(zip(names, self._decoder.run(None, told | past), strict=True))
            scores = found["logits"][0, -1].astype(np.float64)
            token = int(scores.argmax())
            if token == _END:
                break
            sure = -float(np.logaddexp.reduce(scores - scores[token]))
            piece = self._tokens[token]
            if piece.startswith(" ") or not words:
                words.append((piece.strip(), sure))
            else:
                words[-1] = (words[-1][0] + piece, min(words[-1][1], sure))
            for name in past:
                if not step or ".encoder." not in name:  # what it knows of the sound comes once, and stays
                    past[name] = found[name.replace("past_key_values", "present")]
        return [(word, sure) for word, sure in words if re.search("[A-Za-z0-9]", word)]


def open_recogniser() -> Recogniser:
    """The recogniser in the cache or in ``$KEYSYNC_MODELS/moonshine``; fetches nothing.

    Raises:
        CheckpointError: it is not there, or altered.
        MissingProgram: onnxruntime is not installed.
    """
    return Recogniser(
        *map(moonshine_file, ("encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin"))
    )


def _read_tokens(content: bytes) -> list[str]:
    """The pieces of words: each a length, one byte or two, and as many bytes; U+2581 begins a word."""
    tokens, place = list[str](), 0
    while place < len(content):
        length = content[place]
        place += 1
        if length >= 128:
            length += 128 * (content[place] - 1)
            place += 1
        tokens.append(content[place : place + length].decode("utf-8", "ignore").replace("\u2581", " "))
        place += length
    return tokens


def _stretches(speech: Gated) -> Iterator[tuple[int, int]]:
    """Speech cut into passages, first and last sample: in pauses, else where it is quietest."""
    first = last = 0
    for start, stop in speech.activity.spans.tolist():
        if last and stop - first > _LONGEST:
            yield first, last
            last = 0
        first, last = (first if last else start), stop
        while last - first > _LONGEST:
            cut = first + _LONGEST // 2 + _quietest(speech.samples(first + _LONGEST // 2, first + _LONGEST))
            yield first, cut
            first = cut
    if last:
        yield first, last


def _quietest(samples: Float32[np.ndarray, " n"]) -> int:
    """The middle of the quietest moment."""
    return int(uniform_filter1d(samples.astype(np.float64) ** 2, _CUT)[_CUT:-_CUT].argmin()) + _CUT

"""Speech that sounds like people, to learn from: Kokoro says it, the ear that is to learn times it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keysync.audio.compact import TOKEN_HOP, CompactAudioEncoder
from keysync.synthetic.align import align
from keysync.synthetic.kokoro import TEST_VOICES, draw_style, draw_text, style, utter
from keysync.synthetic.utterance import PHONES
from keysync.train.hearing import label, to_float
from keysync.train.run import Say, to_log
from keysync.train.spoken import Said, Spoken, make_once

_LENGTH_S = 3.5  # of an utterance, on average
_TEST_UTTERANCES = 20  # for each test voice
_WORST = 0.03  # of the utterances, where sound and phones agree least: said otherwise than read


def say(voice: str | None, seed: list[int]) -> Said:
    """One random sentence at 16 kHz by ``voice``, or by one that is drawn.

    Raises:
        CheckpointError: Kokoro is not on this machine.
        MissingProgram: onnxruntime or espeak-ng is not installed.
    """
    rng = np.random.default_rng(seed)
    how = draw_style(rng) if voice is None else style(voice)
    samples, phones = utter(draw_text(how.language, rng), how, rng)
    whole = np.round(samples * 32767).astype(np.int16)
    return Said(how.name, whole, np.array([PHONES.index(name) for name in phones]))


def natural_speech(folder: Path, hours: float, seed: int, jobs: int, tell: Say = to_log) -> list[Said]:
    """``hours`` of it to train on and some of each test voice, made once and kept in ``folder``.

    Raises:
        CheckpointError: Kokoro is not on this machine.
        MissingProgram: onnxruntime or espeak-ng is not installed.
    """
    voices: list[str | None] = [voice for voice in TEST_VOICES for _ in range(_TEST_UTTERANCES)]
    voices += [None] * max(1, round(hours * 3600 / _LENGTH_S))
    return make_once(folder, Said, say, voices, [seed, 3], jobs, tell)


def timed(network: CompactAudioEncoder, said: list[Said], seed: int) -> list[Spoken]:
    """Label all whose sound agrees with its phones, at the times where ``network`` hears them."""
    fits = [item for item in said if len(item.samples) // TOKEN_HOP >= len(item.phones)]
    found = [
        align(network, to_float(item.samples).numpy(), [PHONES[place] for place in item.phones])
        for item in fits
    ]
    least = np.quantile([agreement for _, agreement in found], _WORST)
    return [
        label(utterance, item.voice, np.random.default_rng([seed, 4, index]))
        for index, (item, (utterance, agreement)) in enumerate(zip(fits, found, strict=True))
        if agreement >= least or item.voice in TEST_VOICES
    ]

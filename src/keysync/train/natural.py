"""Speech that sounds like people, to learn from: Kokoro says it, the ear that is to learn times it."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int16, Int64

from keysync.audio.compact import TOKEN_HOP, CompactAudioEncoder
from keysync.synthetic.kokoro import RATE_HZ as KOKORO_RATE_HZ
from keysync.synthetic.kokoro import TEST_VOICES, draw_style, read, speak_kokoro, style
from keysync.synthetic.text import sentence
from keysync.synthetic.utterance import PHONES, resample_sound
from keysync.train.align import align
from keysync.train.hearing import Spoken, label, to_float

_LENGTH_S = 3.5  # of an utterance, on average
_BLOCK = 200  # utterances in a file: what an interrupted run may lose
_TEST_UTTERANCES = 20  # for each test voice
_WORST = 0.03  # of the utterances, where sound and phones agree least: said otherwise than read
_PEAK = (0.3, 0.9)


@dataclass(frozen=True, slots=True)
class Said:
    """One utterance and what was said in it, without times."""

    voice: str
    samples: Int16[np.ndarray, " n"]
    phones: Int64[np.ndarray, " p"]  # place in PHONES, in order


def say(voice: str | None, seed: list[int]) -> Said:
    """One random sentence at 16 kHz by ``voice``, or by one that is drawn.

    Raises:
        CheckpointError: Kokoro is not on this machine.
        MissingProgram: onnxruntime or espeak-ng is not installed.
    """
    rng = np.random.default_rng(seed)
    how = draw_style(rng) if voice is None else style(voice)
    script = read(sentence(rng), how.british)
    sound = speak_kokoro(script, how, float(rng.uniform(0.8, 1.25)))
    samples, _ = resample_sound(sound, KOKORO_RATE_HZ, playback=rng.uniform(0.92, 1.09))
    peak = rng.uniform(*_PEAK) / max(float(np.abs(samples).max()), 1e-4)
    whole = np.round(samples * (32767 * peak)).astype(np.int16)
    return Said(how.name, whole, np.array([PHONES.index(name) for name in script.phones]))


def natural_speech(folder: Path, hours: float, seed: int, jobs: int) -> list[Said]:
    """``hours`` of it to train on and some of each test voice, made once and kept in ``folder``.

    Raises:
        CheckpointError: Kokoro is not on this machine.
        MissingProgram: onnxruntime or espeak-ng is not installed.
    """
    voices: list[str | None] = [voice for voice in TEST_VOICES for _ in range(_TEST_UTTERANCES)]
    voices += [None] * max(1, round(hours * 3600 / _LENGTH_S))
    seeds = [[seed, 3, index] for index in range(len(voices))]
    folder.mkdir(parents=True, exist_ok=True)
    said: list[Said] = []
    with ProcessPoolExecutor(jobs) if jobs > 1 else nullcontext() as pool:
        for start in range(0, len(voices), _BLOCK):
            path, block = folder / f"{start:05}.npz", slice(start, start + _BLOCK)
            if not path.exists():
                _save(path, list((pool.map if pool else map)(say, voices[block], seeds[block])))
                print(f"natural speech: {min(block.stop, len(voices))} of {len(voices)}", flush=True)
            said += _load(path)
    return said


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


def _save(path: Path, said: list[Said]) -> None:
    part = path.with_suffix(".part.npz")
    np.savez(
        part,
        voices=np.array([item.voice for item in said]),
        lengths=np.array([len(item.samples) for item in said]),
        counts=np.array([len(item.phones) for item in said]),
        samples=np.concatenate([item.samples for item in said]),
        phones=np.concatenate([item.phones for item in said]),
    )
    part.replace(path)


def _load(path: Path) -> list[Said]:
    with np.load(path) as held:
        voices = [str(voice) for voice in held["voices"]]
        samples = np.split(held["samples"], np.cumsum(held["lengths"])[:-1])
        phones = np.split(held["phones"], np.cumsum(held["counts"])[:-1])
    return [Said(*parts) for parts in zip(voices, samples, phones, strict=True)]

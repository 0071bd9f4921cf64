"""What the audio encoder makes of voices it was never trained on, in quiet and in what speech meets."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int16
from torch import Tensor

from keysync.audio.compact import TOKEN_HOP, CompactAudioEncoder
from keysync.synthetic.articulate import CURVES, articulate
from keysync.synthetic.channel import CODECS, Samples, coded, music, narrow, over
from keysync.synthetic.room import echo, noise
from keysync.synthetic.utterance import PAUSE, PHONES, RATE_HZ, Phone, Utterance
from keysync.train.run import Say
from keysync.train.spoken import Spoken

TOKEN_S = TOKEN_HOP / RATE_HZ

Condition = Callable[[Samples, np.random.Generator], Samples]


# Fixed settings, each harder than most footage.
CONDITIONS: dict[str, Condition] = {
    "clean": lambda samples, _: samples,
    "noise, 10 dB below": lambda samples, rng: over(
        noise(rng.standard_normal(len(samples)), 0.5), samples, 10.0
    ),
    "echo of 0.5 s": lambda samples, rng: echo(samples, rng.standard_normal(RATE_HZ // 2), 0.5, 0.7),
    "music, 10 dB below": lambda samples, rng: over(music(len(samples), rng), samples, 10.0),
    "30 dB quieter": lambda samples, _: samples * np.float32(10 ** (-30 / 20)),
    "clipped at a quarter": lambda samples, _: np.clip(samples, samples.min() / 4, samples.max() / 4) * 4,
    "300 to 3400 Hz": lambda samples, _: narrow(samples, 300.0, 3400.0),
} | {
    f"{codec} at {rate // 1000} kbit/s": lambda samples, _, codec=codec: coded(samples, codec)
    for codec, (_, rate) in CODECS.items()
}


def label(heard: Utterance, voice: str, rng: np.random.Generator) -> Spoken:
    """Put up to 0.8 s of silence around an utterance at 16 kHz, and label it by the mouth's rules."""
    heard = _surround(heard, *rng.uniform(0.0, 0.8, 2))
    tokens = len(heard.samples) // TOKEN_HOP
    times_s = (np.arange(tokens) + 0.5) * TOKEN_S
    mouth = articulate(heard, heard.duration_s, rng, jaw_gain=1.0, lip_gain=1.0)
    ends_s = np.array([phone.end_s for phone in heard.phones])
    labels = np.array([PHONES.index(phone.name) for phone in heard.phones])
    return Spoken(
        voice=voice,
        samples=np.round(heard.samples[: tokens * TOKEN_HOP] * 32767).astype(np.int16),
        phones=labels[np.searchsorted(ends_s, times_s).clip(max=len(labels) - 1)].astype(np.int64),
        curves=mouth.curves_at(times_s),
    )


def _surround(utterance: Utterance, before_s: float, after_s: float) -> Utterance:
    before, after = int(before_s * RATE_HZ), int(after_s * RATE_HZ)
    late_s = before / RATE_HZ
    phones = tuple(Phone(p.name, p.start_s + late_s, p.end_s + late_s) for p in utterance.phones)
    if phones[0].name == PAUSE:
        phones = (Phone(PAUSE, 0.0, phones[0].end_s), *phones[1:])
    elif before:
        phones = (Phone(PAUSE, 0.0, late_s), *phones)
    return Utterance(np.pad(utterance.samples, (before, after)), RATE_HZ, phones)


def evaluate(
    network: CompactAudioEncoder, spoken: list[Spoken], condition: str = "clean"
) -> dict[str, dict[str, float]]:
    """By voice: share of 20 ms whose phone is named rightly, and Pearson's r of each curve."""
    scores = {}
    for voice in sorted({item.voice for item in spoken}):
        items = [item for item in spoken if item.voice == voice]
        told = []
        for number, item in enumerate(items):
            heard = CONDITIONS[condition](to_float(item.samples).numpy(), np.random.default_rng(number))
            with torch.no_grad():
                told.append(network.heads(torch.from_numpy(np.asarray(heard, np.float32))[None]))
        named = torch.cat([phones[0].argmax(1) for phones, _ in told]).numpy()
        drawn = torch.cat([curves[0] for _, curves in told]).numpy()
        true_curves = np.concatenate([item.curves for item in items])
        scores[voice] = {"phones": float((named == np.concatenate([item.phones for item in items])).mean())}
        for index, name in enumerate(CURVES):
            scores[voice][name] = _pearson(drawn[:, index], true_curves[:, index])
    return scores


def write_conditions(network: CompactAudioEncoder, spoken: list[Spoken], path: Path, say: Say) -> None:
    """Every condition and voice as a row of a CSV file; said too."""
    rows = [
        {"condition": condition, "voice": voice} | {name: round(score, 3) for name, score in by_name.items()}
        for condition in CONDITIONS
        for voice, by_name in evaluate(network, spoken, condition).items()
    ]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        say("    " + ", ".join(f"{name} {value}" for name, value in row.items()))


def to_float(samples: Int16[np.ndarray, " n"]) -> Float[Tensor, " n"]:
    """-1 to 1."""
    return torch.from_numpy(samples.astype(np.float32) / 32767)


def _pearson(a: Float32[np.ndarray, " t"], b: Float32[np.ndarray, " t"]) -> float:
    if a.std() == 0 or b.std() == 0:
        return 0.0  # a text without any f or v has no tuck to follow
    return float(np.corrcoef(a, b)[0, 1])

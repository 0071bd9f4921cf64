"""Train the compact audio encoder on synthetic speech alone: no pictures are needed for this part."""

from __future__ import annotations

import csv
import math
import time
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from safetensors.torch import save_file
from torch import Tensor

from keysync.audio.compact import CompactAudioConfig, CompactAudioEncoder
from keysync.audio.mel import BANDS, log_mel
from keysync.synthetic.articulate import articulate
from keysync.synthetic.speech import PHONES, TEST_VOICES, TRAIN_VOICES, Utterance, speak
from keysync.synthetic.text import sentence

TOKEN_S = 0.02
CURVES = ("jaw", "closure", "tuck", "rounding", "stretch", "upper", "lower")
_SCALE = (0.12, 0.4, 0.3, 0.25, 0.06, 0.06, 0.08)  # typical size of each curve: errors count alike
_TALK = 71  # first word of this module's random seeds


@dataclass(frozen=True, slots=True)
class Spoken:
    """One utterance: its sound as log-mel, and what every 20 ms token should say."""

    voice: str
    mel: Float32[np.ndarray, "t 80"]
    phones: Int64[np.ndarray, " s"]
    curves: Float32[np.ndarray, "s 7"]


def labels(utterance: Utterance, seed: int) -> tuple[Int64[np.ndarray, " s"], Float32[np.ndarray, "s 7"]]:
    """Phone index and mouth curves at the centre of every token."""
    tokens = -(-len(utterance.samples) // 320)
    centres = (np.arange(tokens) + 0.5) * TOKEN_S
    ends = np.array([phone.end_s for phone in utterance.phones])
    names = np.array([PHONES.index(phone.name) for phone in utterance.phones])
    phones = names[np.searchsorted(ends, centres).clip(0, len(names) - 1)]
    rng = np.random.default_rng([_TALK, 1, seed])
    mouth = articulate(utterance, tokens * TOKEN_S, rng, jaw_gain=1.0, lip_gain=1.0)
    weights = mouth.weights
    columns = (
        weights["jawOpen"],
        mouth.closure,
        mouth.tuck,
        weights["mouthPucker"] + weights["mouthFunnel"],
        weights["mouthStretch_L"],
        weights["mouthUpperUp_L"],
        weights["mouthLowerDown_L"],
    )
    at = np.round(centres * mouth.rate_hz).astype(int)
    return phones.astype(np.int64), np.stack([column[at] for column in columns], axis=1).astype(np.float32)


def say(seed: int, voices: tuple[str, ...]) -> Spoken:
    """Utterance number ``seed`` in one of ``voices``; a third of them over noise or in a room."""
    rng = np.random.default_rng([_TALK, 0, seed])
    voice = voices[rng.integers(len(voices))]
    if voices == TRAIN_VOICES and rng.random() < 0.4:
        voice = TRAIN_VOICES[rng.integers(3)]  # recorded voices, outnumbered by espeak's, count more
    utterance = speak(sentence(rng), voice, rng)
    samples = utterance.samples
    if rng.random() < 0.3:
        decay = np.exp(-np.arange(4800) / rng.uniform(300, 1500))
        echo = rng.normal(size=4800) * decay * rng.uniform(0.02, 0.12)
        echo[0] = 1
        samples = np.convolve(samples, echo)[: len(samples)]
    if rng.random() < 0.4:
        level = np.sqrt(np.mean(samples**2)) * 10 ** (-rng.uniform(5, 30) / 20)
        samples = samples + rng.normal(size=len(samples)) * level
    phones, curves = labels(utterance, seed)
    mel = log_mel(torch.from_numpy(samples.astype(np.float32))).numpy()
    return Spoken(voice, mel, phones, curves)


def _say_some(task: tuple[int, int, tuple[str, ...]]) -> list[Spoken]:
    torch.set_num_threads(1)
    first, count, voices = task
    return [say(number, voices) for number in range(first, first + count)]


def make_speech(hours: float, seed: int, voices: tuple[str, ...], jobs: int) -> list[Spoken]:
    """About ``hours`` of speech (an utterance lasts 3.5 s on average)."""
    count = max(1, round(hours * 3600 / 3.5))
    tasks = [(seed * 1_000_000 + i, min(25, count - i), voices) for i in range(0, count, 25)]
    with ProcessPoolExecutor(jobs) as pool:
        return [spoken for part in pool.map(_say_some, tasks) for spoken in part]


def train_audio(
    out: Path, *, minutes: float, hours_of_speech: float, seed: int = 1, jobs: int = 2, batch: int = 32
) -> CompactAudioEncoder:
    """Train for ``minutes`` and write ``out/audio.safetensors``; ``out/audio.csv`` is the learning curve.

    Cross-entropy over phones (smoothing 0.05) plus twice the squared error of the scaled curves.
    """
    out.mkdir(parents=True, exist_ok=True)
    speech = make_speech(hours_of_speech, seed, TRAIN_VOICES, jobs)
    judged = {voice: make_speech(0.06, 900 + i, (voice,), jobs) for i, voice in enumerate(TEST_VOICES)}
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    encoder = CompactAudioEncoder(CompactAudioConfig(phones=len(PHONES), curves=len(CURVES)))
    average = deepcopy(encoder).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(encoder.parameters(), 1e-3, weight_decay=0.02)
    scale = torch.tensor(_SCALE)
    columns = [f"{voice} {score}" for voice in TEST_VOICES for score in ("phones", *CURVES)]
    with (out / "audio.csv").open("w", newline="") as file:
        csv.writer(file).writerow(["minutes", "step", "loss", *columns])
    begin = time.monotonic()
    next_look, step, running = 1.0, 0, 0.0
    while (spent := (time.monotonic() - begin) / 60) < minutes:
        mel, phones, curves = _batch(speech, rng, batch)
        fall = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * spent / minutes))
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 50) * fall
        features = encoder.hear(_disturb(mel))
        known = phones >= 0
        named = F.cross_entropy(
            encoder.phones(features).flatten(0, 1), phones.flatten(), ignore_index=-1, label_smoothing=0.05
        )
        drawn = ((encoder.curves(features) - curves / scale) ** 2)[known].mean()
        loss = named + 2 * drawn
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimiser.step()
        step += 1
        with torch.no_grad():
            keep = min(0.995, step / (step + 10))
            torch._foreach_lerp_(list(average.parameters()), list(encoder.parameters()), 1 - keep)
        running += (float(loss.detach()) - running) * max(0.02, 1 / step)
        if spent > next_look:
            next_look += 2.0
            _save(average, speech, out)
            scores = [score for voice in TEST_VOICES for score in evaluate(average, judged[voice])]
            with (out / "audio.csv").open("a", newline="") as file:
                csv.writer(file).writerow([round(spent, 1), step, *(round(v, 3) for v in (running, *scores))])
    _save(average, speech, out)
    return average


@torch.no_grad()
def evaluate(encoder: CompactAudioEncoder, speech: list[Spoken]) -> list[float]:
    """Share of tokens whose phone is named rightly, then Pearson's r of each curve."""
    right, wanted, drawn = [], [], []
    for spoken in speech:
        features = encoder.hear(torch.from_numpy(spoken.mel)[None])[0]
        right.append(encoder.phones(features).argmax(dim=-1).numpy() == spoken.phones)
        wanted.append(spoken.curves)
        drawn.append(encoder.curves(features).numpy())
    truth, guess = np.concatenate(wanted), np.concatenate(drawn)
    correlations = [float(np.corrcoef(truth[:, i], guess[:, i])[0, 1]) for i in range(truth.shape[1])]
    return [float(np.concatenate(right).mean()), *correlations]


@torch.no_grad()
def _save(encoder: CompactAudioEncoder, speech: list[Spoken], out: Path) -> None:
    """Standardise the features on the training speech, then write the weights in half precision."""
    features = torch.cat([encoder.hear(torch.from_numpy(s.mel)[None])[0] for s in speech[:200]])
    encoder.feature_mean.copy_(features.mean(dim=0))  # type: ignore[operator]
    encoder.feature_deviation.copy_(features.std(dim=0) + 1e-3)  # type: ignore[operator]
    tensors = {name: value.half().contiguous() for name, value in encoder.state_dict().items()}
    partial = out / "audio.partial"
    save_file(tensors, partial)
    partial.replace(out / "audio.safetensors")


def _batch(speech: list[Spoken], rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """``count`` stretches of 2 s; labels past an utterance's end are -1."""
    tokens = 100
    mels, phones, curves = [], [], []
    for index in rng.integers(len(speech), size=count):
        spoken = speech[index]
        start = int(rng.integers(max(len(spoken.phones) - tokens, 0) + 1))
        mel, phone, curve = (
            spoken.mel[2 * start : 2 * (start + tokens)],
            spoken.phones[start : start + tokens],
            spoken.curves[start : start + tokens],
        )
        missing = tokens - len(phone)
        mels.append(np.pad(mel, ((0, 2 * missing), (0, 0)), constant_values=float(mel.min())))
        phones.append(np.pad(phone, (0, missing), constant_values=-1))
        curves.append(np.pad(curve, ((0, missing), (0, 0))))
    stacked = (np.stack(mels), np.stack(phones), np.stack(curves))
    return tuple(torch.from_numpy(part) for part in stacked)  # type: ignore[return-value]


def _disturb(mel: Float[Tensor, "b t 80"]) -> Float[Tensor, "b t 80"]:
    """Other voices, rooms, microphones and levels, as far as log-mel can be bent to look like them."""
    count, length, _ = mel.shape
    bands = torch.arange(BANDS)
    # A longer or shorter vocal tract moves the bands.
    place = bands * torch.empty(count, 1).uniform_(0.88, 1.13) + torch.empty(count, 1).uniform_(-3, 3)
    place = place.clamp(0, BANDS - 1.001)
    low = place.long()[:, None].expand(-1, length, -1)
    share = (place - place.floor())[:, None]
    mel = mel.gather(2, low) * (1 - share) + mel.gather(2, low + 1) * share
    tilt = F.interpolate(torch.randn(count, 1, 6) * 0.7, size=BANDS, mode="linear")
    level = torch.empty(count, 1, 1).uniform_(-3.5, 2.0)
    mel = mel + tilt + level
    floor = torch.empty(count, 1, 1).uniform_(-11.5, -5.0) + 0.6 * torch.randn(count, length, BANDS)
    noisy = torch.rand(count, 1, 1) < 0.5
    mel = torch.where(noisy, torch.logaddexp(mel, floor), mel).clamp(min=math.log(1e-5))
    for row in mel:
        if torch.rand(()) < 0.5:
            band = int(torch.randint(0, BANDS - 10, ()))
            row[:, band : band + int(torch.randint(2, 10, ()))] = row.mean()
        if torch.rand(()) < 0.5:
            moment = int(torch.randint(0, length - 10, ()))
            row[moment : moment + int(torch.randint(2, 8, ()))] = row.mean()
    return mel

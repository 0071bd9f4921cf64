"""What is said, phone by phone: the common result of every synthesiser."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from keysync.errors import InputError

RATE_HZ = 16000
PAUSE = "PAU"
VOWELS = ("AA", "AE", "AH", "AX", "AO", "EH", "ER", "IH", "IY", "UH", "UW", "AY", "AW", "EY", "OY", "OW")
CONSONANTS = (
    *("P", "B", "M", "F", "V", "TH", "DH", "T", "D", "N", "L", "S"),
    *("Z", "SH", "ZH", "CH", "JH", "K", "G", "NG", "HH", "R", "W", "Y"),
)
PHONES = (PAUSE, *VOWELS, *CONSONANTS)  # 41; a phone's label in training is its place here


@dataclass(frozen=True, slots=True)
class Phone:
    """One sound of ``PHONES`` from ``start_s`` to ``end_s``."""

    name: str
    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """Seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Utterance:
    """Mono sound in -1 to 1, and the phones that fill it from its start to its end without gaps."""

    samples: Float32[np.ndarray, " n"]
    rate_hz: int
    phones: tuple[Phone, ...]

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return len(self.samples) / self.rate_hz


def at_any_level(samples: Float32[np.ndarray, " n"], rng: np.random.Generator) -> Float32[np.ndarray, " n"]:
    """The same sound with a peak that is drawn, 0.3 to 0.9."""
    level = rng.uniform(0.3, 0.9) / max(float(np.abs(samples).max()), 1e-4)
    return samples * np.float32(level)


def read_wav(path: Path) -> tuple[Float32[np.ndarray, " n"], int]:
    """What a synthesiser wrote, mono and 16 bit: samples in -1 to 1, and how many a second."""
    with wave.open(str(path)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16).astype(np.float32) / 32768
        return samples, sound.getframerate()


def resample(utterance: Utterance, playback: float = 1.0) -> Utterance:
    """Bring an utterance to 16 kHz as if it had been played ``playback`` times as fast."""
    samples, scale = resample_sound(utterance.samples, utterance.rate_hz, playback)
    starts = [(phone.name, phone.start_s * scale) for phone in utterance.phones]
    return Utterance(samples, RATE_HZ, fill(starts, len(samples) / RATE_HZ))


def resample_sound(
    samples: Float32[np.ndarray, " n"], rate_hz: int, playback: float = 1.0
) -> tuple[Float32[np.ndarray, " m"], float]:
    """The same for sound alone; with it, by how much all times in it have grown."""
    # The ratio is rounded to a small fraction first, and the times follow it: so they stay exact.
    ratio = Fraction(RATE_HZ / (rate_hz * playback)).limit_denominator(400)
    # Here, because it takes half a second to load, and who only listens needs the phones alone.
    from scipy.signal import resample_poly

    resampled = resample_poly(samples, ratio.numerator, ratio.denominator).astype(np.float32)
    return resampled, float(ratio) * rate_hz / RATE_HZ


def known(name: str, program: str) -> str:
    """``name`` itself, if it is one of ``PHONES``.

    Raises:
        InputError: ``program`` says a phone that we do not have.
    """
    if name not in PHONES:
        raise InputError(f"{program}: phone {name!r} is not in our table; add it")
    return name


def fill(starts: list[tuple[str, float]], duration_s: float) -> tuple[Phone, ...]:
    """Let every phone last until the next one; join pauses in a row, drop phones of no length."""
    ends_s = [min(start_s, duration_s) for _, start_s in starts[1:]] + [duration_s]
    phones: list[Phone] = []
    for (name, start_s), end_s in zip(starts, ends_s, strict=True):
        if end_s <= start_s:
            continue
        if name == PAUSE and phones and phones[-1].name == PAUSE:
            phones[-1] = Phone(PAUSE, phones[-1].start_s, end_s)
        else:
            phones.append(Phone(name, start_s, end_s))
    return tuple(phones)

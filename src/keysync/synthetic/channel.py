"""What speech meets on its way into a file: music beside it, a narrow line, a codec. Times do not move."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import av
import numpy as np
from jaxtyping import Float32
from scipy.signal import butter, correlate, sosfiltfilt

from keysync.synthetic.utterance import RATE_HZ

# Of each codec its encoder and bits a second.
CODECS = {
    "mp3": ("libmp3lame", 24_000),
    "aac": ("aac", 24_000),
    "opus": ("libopus", 12_000),
    "g722": ("g722", 64_000),
    "pcm_mulaw": ("pcm_mulaw", 128_000),
}
_NOTE_S = (0.15, 0.6)
_LOWEST_HZ, _NOTES = 110.0, 30  # two octaves and a half of half tones
_HARMONICS = 8
_PROBE_S = 1.0

Samples = Float32[np.ndarray, " n"]


def music(count: int, rng: np.random.Generator) -> Samples:
    """A band that plays on its own: chords of plucked notes, a bass, a drum; root mean square 1."""
    heard = np.zeros(count)
    at_s, length_s = 0.0, rng.uniform(*_NOTE_S)
    while at_s < count / RATE_HZ:
        first = round(at_s * RATE_HZ)
        age_s = np.arange(min(count - first, 2 * RATE_HZ)) / RATE_HZ
        root = rng.integers(_NOTES - 12)
        for step in (-12, 0, int(rng.choice((3, 4))), 7):
            pitch_hz = _LOWEST_HZ * 2 ** ((root + step) / 12)
            fall = np.exp(-age_s * rng.uniform(2, 8))
            for harmonic in range(1, _HARMONICS + 1):
                if pitch_hz * harmonic < RATE_HZ / 2:
                    tone = np.sin(2 * np.pi * pitch_hz * harmonic * age_s + rng.uniform(0, 6.3))
                    heard[first : first + len(age_s)] += tone * fall / harmonic
        hit = rng.standard_normal(len(age_s)) * np.exp(-age_s * rng.uniform(20, 60))
        heard[first : first + len(age_s)] += rng.uniform(0, 1.5) * hit
        at_s += length_s
    return np.asarray(heard / max(float(np.sqrt(np.mean(heard**2))), 1e-9), np.float32)


def over(other: Samples, samples: Samples, below_db: float) -> Samples:
    """Speech, and beside it what has root mean square 1, so many decibels quieter."""
    level = np.sqrt(np.mean(samples**2)) * 10 ** (-below_db / 20)
    return np.asarray(samples + other * np.float32(level), np.float32)


def narrow(samples: Samples, low_hz: float, high_hz: float) -> Samples:
    """Only what lies between two frequencies, as on a telephone (300 to 3400 Hz)."""
    shape = butter(4, [low_hz, high_hz], "bandpass", fs=RATE_HZ, output="sos")
    return np.asarray(sosfiltfilt(shape, samples), np.float32)


def coded(samples: Samples, codec: str) -> Samples:
    """Through a codec of ``CODECS`` at its bit rate and back, its delay taken off."""
    back = _there_and_back(samples, codec)[_delay(codec) :]
    return np.pad(back, (0, max(0, len(samples) - len(back))))[: len(samples)]


@lru_cache(maxsize=len(CODECS))
def _delay(codec: str) -> int:
    """Samples by which a codec comes late: where its answer to noise fits best."""
    probe = np.random.default_rng(0).standard_normal(round(_PROBE_S * RATE_HZ)).astype(np.float32) * 0.1
    return int(correlate(_there_and_back(probe, codec), probe)[len(probe) - 1 :].argmax())


def _there_and_back(samples: Samples, codec: str) -> Float32[np.ndarray, " m"]:
    name, bit_rate = CODECS[codec]
    encoder = cast(av.AudioCodecContext, av.CodecContext.create(name, "w"))
    encoder.bit_rate, encoder.sample_rate, encoder.layout = bit_rate, RATE_HZ, "mono"
    encoder.format = encoder.codec.audio_formats[0]  # type: ignore[index]
    encoder.open()
    decoder = cast(av.AudioCodecContext, av.CodecContext.create(codec, "r"))
    decoder.extradata, decoder.sample_rate, decoder.layout = encoder.extradata, RATE_HZ, "mono"
    into = av.AudioResampler(encoder.format, "mono", RATE_HZ, frame_size=encoder.frame_size or None)
    back = av.AudioResampler("fltp", "mono", RATE_HZ)
    whole = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
    whole.sample_rate = RATE_HZ
    packets = [p for given in (whole, None) for frame in into.resample(given) for p in encoder.encode(frame)]
    packets += encoder.encode(None)
    heard = [part for packet in packets for frame in decoder.decode(packet) for part in back.resample(frame)]
    heard += back.resample(None)
    return np.concatenate([part.to_ndarray()[0] for part in heard])

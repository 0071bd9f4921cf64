"""Music, narrow lines and codecs: the speech stays where it was."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import correlate

from keysync.synthetic.channel import CODECS, coded, music, narrow
from keysync.synthetic.utterance import RATE_HZ


def _voice(seconds: float = 1.3) -> np.ndarray:
    """Noise that comes in bursts, as syllables do."""
    rng = np.random.default_rng(0)
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (0.1 * rng.standard_normal(len(time_s)) * np.sin(2 * np.pi * 2 * time_s) ** 2).astype(np.float32)


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_changes_the_sound_but_neither_its_length_nor_its_time(codec: str) -> None:
    voice = _voice()
    heard = coded(voice, codec)
    assert heard.shape == voice.shape
    assert not np.array_equal(heard, voice)
    late = int(correlate(heard, voice).argmax()) - (len(voice) - 1)
    assert abs(late) <= 2  # samples


@pytest.mark.parametrize("codec", CODECS)
def test_a_few_samples_survive_a_codec(codec: str) -> None:
    assert coded(_voice(0.01), codec).shape == (160,)


def test_a_narrow_line_keeps_only_what_lies_between() -> None:
    time_s = np.arange(RATE_HZ) / RATE_HZ
    low, middle, high = (np.sin(2 * np.pi * hz * time_s).astype(np.float32) for hz in (80, 1000, 6000))
    heard = narrow(low + middle + high, 300.0, 3400.0)[2000:-2000]
    np.testing.assert_allclose(heard, middle[2000:-2000], atol=0.02)


def test_music_is_steady_in_level_and_the_same_for_a_seed() -> None:
    first, again, other = (music(3 * RATE_HZ, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.sqrt(np.mean(first**2)) == pytest.approx(1, rel=1e-3)
    assert min(np.std(part) for part in np.split(first, 6)) > 0.3

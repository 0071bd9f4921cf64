import gc

import numpy as np
import pytest

from keysync.speech import Speech


def _speech() -> tuple[Speech, np.ndarray]:
    samples = np.random.default_rng(0).normal(0.1, 0.3, 1000).astype(np.float32)
    return Speech([samples[:7], samples[7:7], samples[7:]]), samples


def test_samples_come_back_as_they_went_in() -> None:
    speech, samples = _speech()
    assert len(speech) == 1000
    assert speech.duration_s * speech.rate_hz == 1000
    assert np.array_equal(speech.samples(3, 900), samples[3:900])


@pytest.mark.parametrize(
    ("start", "stop"), [(-5, 10), (990, 1010), (-20, -10), (2000, 2010), (-5, 1005), (5, 5)]
)
def test_outside_the_track_is_silence(start: int, stop: int) -> None:
    speech, samples = _speech()
    padded = np.concatenate([np.zeros(3000, np.float32), samples, np.zeros(3000, np.float32)])
    assert np.array_equal(speech.samples(start, stop), padded[start + 3000 : stop + 3000])


def test_mean_and_variance_are_those_of_the_whole() -> None:
    speech, samples = _speech()
    assert speech.mean == pytest.approx(float(samples.mean()), abs=1e-6)
    assert speech.variance == pytest.approx(float(samples.var()), abs=1e-6)


def test_a_forgotten_speech_closes_itself_silently() -> None:
    _speech()
    gc.collect()


def test_nothing_said_has_no_spread() -> None:
    speech = Speech([])
    assert (len(speech), speech.mean, speech.variance) == (0, 0.0, 0.0)

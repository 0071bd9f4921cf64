from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import keysync
from keysync.audio.compact import CompactAudioConfig, CompactAudioEncoder
from keysync.audio.encoder import RATE_HZ
from keysync.audio.opening import expected_opening, opening_of
from keysync.media.read import read_speech
from keysync.speech import Speech

SAMPLE = Path(keysync.__file__).parent / "sample" / "speech.wav"


@pytest.fixture(scope="module")
def spoken() -> np.ndarray:
    speech = read_speech(SAMPLE)
    return speech.samples(0, len(speech))


def silence() -> np.ndarray:
    return np.zeros(RATE_HZ, np.float32)


def test_no_opening_is_expected_where_there_is_no_sound(spoken: np.ndarray) -> None:
    torch.manual_seed(0)
    encoder = CompactAudioEncoder(CompactAudioConfig(width=8, blocks=1, phones=3, curves=3))
    speech = Speech([spoken[:RATE_HZ]])
    times = [Fraction(k, 25) for k in range(-5, 40)]
    opening = expected_opening(speech, times, encoder)
    np.testing.assert_array_equal(np.isfinite(opening), [0 <= time < 1 for time in times])
    assert np.isnan(expected_opening(Speech([silence()]), times, encoder)).all()


def test_together_lips_are_closed_however_far_the_jaw_is_down() -> None:
    jaw, closure = np.array([0.3, 0.3, 0.0, -1.0]), np.array([0.0, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(opening_of(jaw, closure), [0.3, 0, 0, 0])


def test_vowels_open_the_expected_mouth_and_silence_closes_it(spoken: np.ndarray) -> None:
    encoder = keysync.load_models("compact", "cpu").keyframes.encoder
    assert isinstance(encoder, CompactAudioEncoder)
    speech = Speech([spoken, silence()])
    times = [Fraction(k, 25) for k in range(len(speech) * 25 // RATE_HZ)]
    opening = expected_opening(speech, times, encoder)
    assert opening.max() > 0.15
    assert opening[-15:].max() < 0.05

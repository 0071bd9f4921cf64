from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import keysync
from keysync.audio.voice import FADE_S, RATE_HZ, Gated, VoiceActivity, voice_activity
from keysync.media.read import read_speech
from keysync.speech import Sound, Speech

SAMPLE = Path(keysync.__file__).parent / "sample" / "speech.wav"


@pytest.fixture(scope="module")
def spoken() -> np.ndarray:
    speech = read_speech(SAMPLE)
    return speech.samples(0, len(speech))


def quiet(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE_HZ), np.float32)


def seconds(activity: VoiceActivity) -> float:
    return float(np.diff(activity.spans, axis=1).sum() / RATE_HZ)


@pytest.mark.parametrize("gain", [1.0, 0.003])
def test_speech_is_found_between_silences_however_quiet_it_is(spoken: np.ndarray, gain: float) -> None:
    activity = voice_activity(Speech([quiet(2), gain * spoken, quiet(2)]))
    end = 2 + len(spoken) / RATE_HZ
    times = [Fraction(1), Fraction(35, 10), Fraction(round(end * 10) + 10, 10)]
    assert activity.at(times).tolist() == [False, True, False]
    assert seconds(activity) > 0.8 * len(spoken) / RATE_HZ


@pytest.mark.parametrize("start_s", [0.5, 1.5, 2.3, 2.4])
def test_speech_may_begin_in_the_middle_of_a_word(spoken: np.ndarray, start_s: float) -> None:
    cut = voice_activity(Speech([spoken[round(start_s * RATE_HZ) :]]))
    assert cut.at([Fraction(0)]).all()


def test_noise_breath_and_music_are_not_speech() -> None:
    rng = np.random.default_rng(0)
    time_s = np.arange(6 * RATE_HZ) / RATE_HZ
    noise = rng.normal(size=len(time_s))
    breath = 0.3 * np.convolve(noise, np.ones(4) / 4, "same") * np.maximum(0, np.sin(5 * time_s))
    chords = sum(
        0.1 * np.sin(2 * np.pi * f * time_s) * np.exp(-3 * (2 * time_s % 1)) for f in (220, 277, 330)
    )
    for sound in (0.05 * noise, breath, chords):
        assert seconds(voice_activity(Speech([np.asarray(sound, np.float32)]))) < 0.1 * 6


def test_activity_holds_past_either_end_of_a_sound_and_of_none() -> None:
    nothing = voice_activity(Speech([]))
    assert nothing.at([Fraction(-1), Fraction(0), Fraction(5)]).tolist() == [False] * 3
    silent = voice_activity(Speech([quiet(1)]))
    assert not silent.at([Fraction(1, 2)]).any()
    whole = VoiceActivity(np.array([[0, RATE_HZ]]))
    times = [Fraction(-1, 25), Fraction(0), Fraction(24, 25), Fraction(1)]
    assert whole.at(times).tolist() == [False, True, True, False]


def test_gated_sound_is_the_speech_itself_and_zero_elsewhere_with_short_fades() -> None:
    rng = np.random.default_rng(1)
    sound = Speech([rng.normal(0, 0.1, 2 * RATE_HZ).astype(np.float32)])
    gated = Gated(sound, VoiceActivity(np.array([[0, 8000], [16000, 24000]])))
    assert isinstance(gated, Sound)
    assert len(gated) == len(sound)
    whole, raw = gated.samples(0, len(sound)), sound.samples(0, len(sound))
    fade = round(FADE_S * RATE_HZ)
    np.testing.assert_array_equal(whole[: 8000 - fade], raw[: 8000 - fade])
    np.testing.assert_array_equal(whole[16000 + fade : 24000 - fade], raw[16000 + fade : 24000 - fade])
    assert not whole[8000:16000].any()
    assert not whole[24000:].any()
    assert np.abs(whole[16000 : 16000 + 10]).max() < 0.05 * np.abs(raw).max()
    pieces = [gated.samples(start, start + 777) for start in range(-777, len(sound), 777)]
    np.testing.assert_array_equal(np.concatenate(pieces)[777 : 777 + len(sound)], whole)
    assert gated.mean == pytest.approx(whole.mean(), abs=1e-6)
    assert gated.variance == pytest.approx(whole.var(), rel=1e-4)

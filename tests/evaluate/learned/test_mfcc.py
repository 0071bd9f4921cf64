import numpy as np
import pytest

from keysync.evaluate.learned.mfcc import mfcc


def chirp(samples: int) -> np.ndarray:
    time = np.arange(samples) / 16000
    return (0.3 * np.sin(2 * np.pi * (200 + 3000 * time) * time)).astype(np.float32)


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (400, 1), (401, 2), (16000, 99)])
def test_a_hundred_frames_a_second(samples: int, frames: int) -> None:
    assert mfcc(chirp(samples)).shape == (13, frames)


def test_values_are_those_of_python_speech_features() -> None:
    # Made with python_speech_features 0.6: mfcc((chirp * 32768).round().astype(int16), 16000)[10, :5]
    np.testing.assert_allclose(
        mfcc(chirp(3200))[:5, 10], [20.8242, 17.9801, -16.4704, -34.5105, -21.1914], rtol=1e-4
    )


def test_sound_moved_by_a_frame_moves_the_coefficients() -> None:
    sound = chirp(8000)
    late = np.concatenate([np.zeros(640, np.float32), sound])
    np.testing.assert_allclose(mfcc(late)[:, 5:49], mfcc(sound)[:, 1:45], atol=1e-3)


def test_digital_silence_is_finite() -> None:
    assert np.isfinite(mfcc(np.zeros(4000, np.float32))).all()

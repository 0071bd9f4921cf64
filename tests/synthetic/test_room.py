"""Echo and noise: the speech stays where it was, at its level."""

import numpy as np

from keysync.synthetic.room import in_room
from keysync.synthetic.utterance import RATE_HZ


def _click() -> np.ndarray:
    samples = np.zeros(RATE_HZ, np.float32)
    samples[4000] = 0.8
    return samples


def test_an_echo_follows_the_sound_and_noise_is_everywhere() -> None:
    heard = in_room(_click(), np.random.default_rng(3))
    assert heard.shape == (RATE_HZ,)
    assert np.abs(heard).argmax() == 4000
    assert np.abs(heard).max() <= 0.8 + 1e-6
    after, later, before = (
        np.std(heard[part]) for part in (slice(4001, 5600), slice(13000, None), slice(3900))
    )
    assert after > 2 * later
    assert before > 0


def test_rooms_differ_and_the_same_generator_gives_the_same_one() -> None:
    first, again, other = (in_room(_click(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_silence_stays_silence() -> None:
    assert not in_room(np.zeros(1600, np.float32), np.random.default_rng(0)).any()

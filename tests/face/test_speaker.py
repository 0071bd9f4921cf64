from fractions import Fraction

import numpy as np
import pytest

from keysync.face.speaker import openings, turns, who_speaks
from keysync.face.survey import Appearance, Survey

FPS = 25


def syllables(frames: int, seed: int) -> np.ndarray:
    """A mouth that opens some four times a second, irregularly; 0 to 1."""
    rng = np.random.default_rng(seed)
    rough = rng.normal(size=frames + 8)
    return np.clip(0.5 + np.convolve(rough, np.hanning(7), "same")[4:-4] / 3, 0, 1)


def appearance(person: int, gap: np.ndarray, first: int = 0) -> Appearance:
    points = np.zeros((len(gap), 68, 2), np.float32)
    points[:, 33, 1] = 40  # the nose
    points[:, 65:68, 1] = 20 * gap[:, None]
    n = len(gap)
    zero = np.zeros(n, np.float32)
    return Appearance(person, first, points, np.zeros((n, 2, 3)), zero, np.full(n, 90, np.float32), zero)


def survey_of(*seen: Appearance, frames: int) -> Survey:
    portraits = {one.person: np.zeros((96, 96, 3), np.uint8) for one in seen}
    return Survey([Fraction(k, FPS) for k in range(frames)], [0], list(seen), portraits)


def rest(frames: int, seed: int) -> np.ndarray:
    return 0.1 + np.random.default_rng(seed).normal(0, 0.01, frames)


@pytest.mark.parametrize("speaker", [1, 2])
@pytest.mark.parametrize("shift", [-2, 0, 2])
def test_the_one_whose_lips_follow_the_sound_speaks(speaker: int, shift: int) -> None:
    said = syllables(150, 1)
    lips = {speaker: 0.7 * said + rest(150, 2), 3 - speaker: syllables(150, 9)}
    clip = survey_of(*(appearance(who, lips[who]) for who in (1, 2)), frames=150)
    choice = who_speaks(clip, np.roll(said, shift))
    assert choice.person == speaker
    assert choice.confidence > 0.8
    assert choice.scores[speaker] > choice.scores[3 - speaker] + 0.3


def test_turns_and_the_longer_speaker_are_found() -> None:
    said = syllables(200, 3)
    first, second = rest(200, 4), rest(200, 5)
    first[:120] += said[:120]
    second[120:] += said[120:]
    clip = survey_of(appearance(1, second), appearance(2, first), frames=200)
    assert who_speaks(clip, said).person == 2
    (start, end, one), (begin, last, other) = turns(clip, said)
    assert (start, one, other, last) == (0, 2, 1, 199)
    assert abs(end - 119) <= 6
    assert begin == end + 1


def test_no_turn_is_shorter_than_a_second() -> None:
    said = syllables(500, 6)
    rng = np.random.default_rng(7)
    switch = np.repeat(rng.integers(0, 2, 50), 10)  # 0.4 s each
    lips = [rest(500, 8) + said * (switch == side) for side in (0, 1)]
    clip = survey_of(appearance(1, lips[0]), appearance(2, lips[1]), frames=500)
    found = turns(clip, said)
    assert found
    assert all(last - first + 1 >= FPS for first, last, _ in found)


def test_a_voice_whose_speaker_is_not_seen_is_nobodys_turn_and_a_poor_guess() -> None:
    unsure = 0
    for seed in range(10):
        clip = survey_of(appearance(1, rest(200, 1)), appearance(2, syllables(200, seed)), frames=200)
        choice = who_speaks(clip, syllables(200, seed + 100))
        assert choice.person in (1, 2)
        unsure += choice.confidence < 0.5
    assert unsure >= 9


def test_without_sound_somebody_is_named_with_no_confidence() -> None:
    clip = survey_of(appearance(1, syllables(100, 2)), frames=100)
    choice = who_speaks(clip, np.full(100, np.nan))
    assert (choice.person, choice.confidence) == (1, 0.0)
    assert turns(clip, np.full(100, np.nan)) == []


def test_a_clip_of_one_frame_is_no_trouble() -> None:
    clip = survey_of(appearance(1, np.array([0.5])), frames=1)
    assert who_speaks(clip, np.array([0.1])).person == 1
    assert turns(clip, np.array([0.1])) in ([], [(0, 0, 1)])


def test_nobody_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody"):
        who_speaks(survey_of(frames=5), np.zeros(5))


def test_openings_are_those_of_the_inner_lips_where_the_face_is_seen() -> None:
    curves = openings(survey_of(appearance(1, np.array([0.0, 1.0]), first=1), frames=4))
    np.testing.assert_allclose(curves, [[np.nan, 0.0, 0.5, np.nan]])

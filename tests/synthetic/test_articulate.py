"""The promises that viewers would notice if broken."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from keysync.synthetic.articulate import CURVE_RATE_HZ, Mouth, articulate
from keysync.synthetic.behave import behave, merge
from keysync.synthetic.utterance import CONSONANTS, PAUSE, VOWELS, Phone, Utterance

FPS = Fraction(25)


def _utterance(seed: int) -> Utterance:
    """Random phones of 35 to 180 ms, now and then a pause, and a sound to go with them."""
    rng = np.random.default_rng(seed)
    phones, end_s = [], 0.0
    for _ in range(40):
        pause = rng.random() < 0.08
        name = PAUSE if pause else str(rng.choice(VOWELS if rng.random() < 0.45 else CONSONANTS))
        length_s = rng.uniform(0.1, 1.0) if pause else rng.uniform(0.035, 0.18)
        if pause and phones and phones[-1].name == PAUSE:
            continue
        phones.append(Phone(name, end_s, end_s + length_s))
        end_s += length_s
    return Utterance((0.1 * rng.normal(size=int(end_s * 16000))).astype(np.float32), 16000, tuple(phones))


def _say(*names_and_lengths: tuple[str, float]) -> tuple[Utterance, Mouth]:
    phones, end_s = [], 0.0
    for name, length_s in names_and_lengths:
        phones.append(Phone(name, end_s, end_s + length_s))
        end_s += length_s
    samples = (0.1 * np.random.default_rng(0).normal(size=int(end_s * 16000))).astype(np.float32)
    said = Utterance(samples, 16000, tuple(phones))
    return said, _move(said)


def _move(said: Utterance, seed: int = 0, fps: Fraction = FPS, jaw_gain: float = 1.0) -> Mouth:
    return articulate(
        said, said.duration_s, np.random.default_rng(seed), fps=fps, jaw_gain=jaw_gain, lip_gain=1.0
    )


def _frames_near(curve: np.ndarray, mouth: Mouth, phone: Phone, fps: Fraction, margin_s: float) -> np.ndarray:
    """The curve at those frame times that fall inside the phone or beside it."""
    times_s = np.arange(int(mouth.times_s[-1] * fps) + 1) / float(fps)
    near = (times_s >= phone.start_s - margin_s) & (times_s <= phone.end_s + margin_s)
    return np.interp(times_s[near], mouth.times_s, curve)


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001)])
def test_a_frame_shows_every_closure(fps: Fraction) -> None:
    for seed in range(25):  # about 120 closures
        said = _utterance(seed)
        mouth = _move(said, seed, fps)
        for phone in said.phones:
            if phone.name in ("P", "B", "M"):
                # The nearest frame may lie up to half a frame outside a very short one.
                shown = _frames_near(mouth.closure, mouth, phone, fps, 0.5 / float(fps))
                assert shown.max() > 0.999, (seed, phone)


def test_lips_close_in_every_silence_over_400_ms() -> None:
    for seed in range(20):
        said = _utterance(seed)
        mouth = _move(said, seed)
        for phone in said.phones:
            if phone.name == PAUSE and phone.length_s > 0.4:
                assert _frames_near(mouth.closure, mouth, phone, FPS, 0.0).max() > 0.999


def test_a_frame_shows_every_tuck() -> None:
    for name in ("F", "V"):
        for offset_s in np.arange(0.1, 0.14, 0.004):
            said, mouth = _say(("AA", float(offset_s)), (name, 0.05), ("AA", 0.2))
            assert _frames_near(mouth.tuck, mouth, said.phones[1], FPS, 0.02).max() > 0.999


def test_a_short_vowel_between_closures_still_opens() -> None:
    said, mouth = _say(("AA", 0.2), ("B", 0.08), ("IY", 0.067), ("M", 0.08), ("AA", 0.2))
    inside = (mouth.times_s >= said.phones[2].start_s) & (mouth.times_s <= said.phones[2].end_s)
    assert (mouth.closure[inside] > 0.5).mean() < 0.5
    assert mouth.closure[inside].min() < 0.05


def test_lips_stay_closed_from_one_closure_to_the_next() -> None:
    said, mouth = _say(("AA", 0.2), ("M", 0.07), ("P", 0.08), ("AA", 0.2))
    middle = (mouth.times_s >= said.phones[1].start_s + 0.01) & (
        mouth.times_s <= said.phones[2].end_s - 0.035
    )
    assert mouth.closure[middle].min() > 0.999


def test_the_jaw_is_nearly_shut_where_lips_meet_even_if_it_opens_wide_elsewhere() -> None:
    for seed in range(10):
        mouth = _move(_utterance(seed), seed, jaw_gain=1.25)
        closed = mouth.closure > 0.999
        assert mouth.weights["jawOpen"][closed].max() < 0.12
        np.testing.assert_allclose(
            mouth.weights["mouthClose"], mouth.weights["jawOpen"] * mouth.closure, atol=1e-6
        )


def test_seal_is_added_where_lips_meet() -> None:
    said, plain = _say(("AA", 0.2), ("M", 0.1), ("AA", 0.2))
    sealed = articulate(
        said, said.duration_s, np.random.default_rng(0), jaw_gain=1.0, lip_gain=1.0, seal=0.05
    )
    added = sealed.weights["mouthClose"] - plain.weights["mouthClose"]
    np.testing.assert_allclose(added, 0.05 * plain.closure, atol=1e-6)


def test_vowels_keep_their_order() -> None:
    def shape(vowel: str, weight: str) -> float:
        _, mouth = _say(("T", 0.1), (vowel, 0.3), ("T", 0.1))
        return float(mouth.weights[weight][int(0.25 * CURVE_RATE_HZ)])

    assert shape("AA", "jawOpen") > shape("IH", "jawOpen") > shape("S", "jawOpen")
    assert shape("UW", "mouthPucker") > 0.3 > 0.05 > shape("IY", "mouthPucker")
    assert shape("IY", "mouthStretch_L") > shape("UW", "mouthStretch_L")


def test_rounding_starts_before_its_phone() -> None:
    said, mouth = _say(("T", 0.2), ("IY", 0.2), ("UW", 0.2))
    early = int((said.phones[2].start_s - 0.05) * CURVE_RATE_HZ)
    assert mouth.weights["mouthPucker"][early] > 0.1


def test_the_mouth_rests_closed_after_the_last_word() -> None:
    said, _ = _say(("AA", 0.3), ("T", 0.1))
    mouth = articulate(said, 2.0, np.random.default_rng(0), jaw_gain=1.0, lip_gain=1.0)
    assert len(mouth.closure) == 2 * CURVE_RATE_HZ + 1
    assert mouth.closure[-1] == 1.0
    assert mouth.weights["jawOpen"][-1] < 0.02


def test_same_seed_same_bytes() -> None:
    said = _utterance(1)
    first, second = (
        merge(mouth, behave(mouth, np.random.default_rng(7))) for mouth in (_move(said, 3), _move(said, 3))
    )
    assert first.keys() == second.keys()
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_all_weights_of_a_clip_stay_between_0_and_1() -> None:
    for seed in range(5):
        mouth = _move(_utterance(seed), seed, jaw_gain=1.25)
        behaviour = behave(mouth, np.random.default_rng(seed))
        for name, curve in merge(mouth, behaviour).items():
            assert len(curve) == len(mouth.closure), name
            assert curve.min() >= 0.0, name
            assert curve.max() <= 1.0, name
        assert np.isfinite(behaviour.pose).all()
        assert np.abs(behaviour.pose).max() < 25

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from keysync.media.read import read_sound, read_speech
from keysync.media.write import VideoWriter

from .conftest import Sound, Video, picture
from .test_write import info_of


def heard(
    folder: Path, speech: Path, source: Path, level: float | None, first: Fraction = Fraction(0)
) -> np.ndarray:
    """The new film's sound from its first frame on."""
    out = folder / "out.mkv"
    with VideoWriter(
        out, info_of("yuv420p"), codec="ffv1", audio=[speech], source=source, keep_background_db=level
    ) as writer:
        for index in range(25):
            writer.write(picture("yuv420p", (64, 48), index), first + Fraction(index, 25))
    sound = np.concatenate(list(read_sound(out, rate_hz=16000, channels=1)), axis=1)[0]
    return sound[round(first * 16000) :]


def tone(hz: float, loud: float) -> np.ndarray:
    return (loud * np.sin(2 * np.pi * hz * np.arange(16000) / 16000)).astype(np.float32)[None]


def test_the_background_stays_at_its_level_under_the_speech(
    tmp_path: Path, make_sound: Sound, make_video: Video
) -> None:
    speech = make_sound(tmp_path / "new.wav", tone(200, 0.3)[:, :8000])
    make_video(tmp_path / "in.mkv", sound=tone(1000, 0.5))
    mixed = heard(tmp_path, speech, tmp_path / "in.mkv", -20.0)
    expected = 0.1 * tone(1000, 0.5)[0]
    expected[:8000] += tone(200, 0.3)[0, :8000]
    assert len(mixed) == 16000
    assert np.abs(mixed - expected).max() < 1e-3
    without = heard(tmp_path, speech, tmp_path / "in.mkv", None)
    assert not without[8000:].any()


def test_the_background_keeps_its_place_when_the_film_starts_late(
    tmp_path: Path, make_sound: Sound, make_video: Video
) -> None:
    speech = make_sound(tmp_path / "new.wav", np.zeros((1, 16000), np.float32))
    click = np.zeros((1, 16000), np.float32)
    click[0, 12000] = 0.5
    make_video(tmp_path / "in.mkv", sound=click)
    mixed = heard(tmp_path, speech, tmp_path / "in.mkv", 0.0, first=Fraction(1, 2))
    assert abs(int(np.abs(mixed).argmax()) - 4000) <= 1


def test_peaks_are_limited_not_clipped(tmp_path: Path, make_sound: Sound, make_video: Video) -> None:
    speech = make_sound(tmp_path / "new.wav", tone(200, 0.9))
    make_video(tmp_path / "in.mkv", sound=tone(200, 0.9))
    mixed = heard(tmp_path, speech, tmp_path / "in.mkv", 0.0)
    assert 0.9 < np.abs(mixed).max() <= 0.98
    # A clipped sine stands still at its peaks; a turned-down one does not.
    assert (np.abs(mixed) > 0.96).mean() < 0.2
    tones = np.abs(np.fft.rfft(mixed[4000:12000]))
    assert tones[301:].max() < 0.02 * tones.max()


def test_a_silent_film_has_no_background(
    tmp_path: Path, make_sound: Sound, make_video: Video, caplog: pytest.LogCaptureFixture
) -> None:
    speech = make_sound(tmp_path / "new.wav", tone(200, 0.3))
    make_video(tmp_path / "in.mkv")
    mixed = heard(tmp_path, speech, tmp_path / "in.mkv", 0.0)
    assert np.abs(mixed - tone(200, 0.3)[0]).max() < 1e-3
    assert [("no sound to keep" in record.message) for record in caplog.records] == [True]


def test_several_speeches_sound_together(tmp_path: Path, make_sound: Sound) -> None:
    one = make_sound(tmp_path / "a.wav", np.full((1, 16000), 0.2, np.float32))
    two = make_sound(tmp_path / "b.wav", np.full((1, 8000), 0.3, np.float32))
    with VideoWriter(tmp_path / "out.mkv", info_of("yuv420p"), codec="ffv1", audio=[one, two]) as writer:
        for index in range(25):
            writer.write(picture("yuv420p", (64, 48), index), Fraction(index, 25))
    heard = read_speech(tmp_path / "out.mkv").samples(0, 16000)
    assert heard[2000:6000] == pytest.approx(0.5, abs=0.01)
    assert heard[10000:14000] == pytest.approx(0.2, abs=0.01)

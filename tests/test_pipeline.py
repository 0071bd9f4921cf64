from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from keysync.config import SyncConfig
from keysync.errors import ConfigError, MediaError, NoFaceFound
from keysync.face.track import FaceTracker
from keysync.media.read import read_frames, read_speech
from keysync.models import Models
from keysync.pipeline import sync, sync_file
from keysync.report import Report

MakeClip = Callable[..., Path]
LOSSLESS = SyncConfig(video_codec="ffv1")


def _planes(path: Path) -> list[np.ndarray]:
    return [frame.picture.to_ndarray() for frame in read_frames(path)]


def _times(path: Path) -> list[Fraction]:
    return [frame.time for frame in read_frames(path)]


@pytest.mark.parametrize("frames", [1, 2, 5, 9, 13, 14, 17, 23])
def test_every_frame_comes_back_at_its_time(
    frames: int, tiny: Models, make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path
) -> None:
    # The tiny layout has windows of 5 and groups of 3 keyframes: all lengths around their ends.
    clip, out = make_clip(frames), tmp_path / "out.mkv"
    report = sync_file(clip, make_speech(), out, models=tiny, config=LOSSLESS)
    assert _times(out) == _times(clip)
    assert report.frames == report.synced == frames


def test_nothing_outside_the_painted_box_changes(
    tiny: Models, make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path
) -> None:
    clip, out = make_clip(9), tmp_path / "out.mkv"
    report = sync_file(clip, make_speech(), out, models=tiny, config=LOSSLESS)
    for before, after, box in zip(read_frames(clip), read_frames(out), report.boxes, strict=True):
        assert box is not None
        x0, y0, x1, y1 = box
        changed = (before.rgb() != after.rgb()).any(axis=2)
        assert changed[y0:y1, x0:x1].any()
        changed[y0:y1, x0:x1] = False
        assert not changed.any()


def test_odd_times_are_kept(tiny: Models, make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path) -> None:
    times = [Fraction(t, 1000) for t in (0, 33, 40, 117, 150, 290, 300)]
    clip, out = make_clip(7, times=times), tmp_path / "out.mkv"
    sync_file(clip, make_speech(), out, models=tiny, config=LOSSLESS)
    assert _times(out) == times


def test_first_frames_leave_before_the_last_ones_are_read(
    tiny: Models, make_clip: MakeClip, make_speech: MakeClip
) -> None:
    read, clip = 0, make_clip(60)

    def frames():  # type: ignore[no-untyped-def]
        nonlocal read
        for frame in read_frames(clip):
            read += 1
            yield frame

    synced = sync(frames, read_speech(make_speech()), tiny, SyncConfig(), Report(model="tiny"))
    next(synced)
    assert read < 60
    assert sum(1 for _ in synced) == 59


def test_a_seed_means_one_film_whatever_the_batch(
    tiny: Models, make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path
) -> None:
    clip, speech = make_clip(14), make_speech()
    other = replace(tiny, interpolation=replace(tiny.interpolation, rows=1))
    films = []
    for models, seed in ((tiny, 1), (other, 1), (tiny, 2)):
        out = tmp_path / f"{len(films)}.mkv"
        config = SyncConfig(video_codec="ffv1", seed=seed)
        sync_file(clip, speech, out, models=models, config=config)
        films.append(_planes(out))
    assert all(np.array_equal(a, b) for a, b in zip(films[0], films[1], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(films[0], films[2], strict=True))


@pytest.mark.parametrize("hidden", [{0, 1}, {4, 5, 6}, {11}])
def test_frames_without_a_face_pass_unchanged(
    hidden: set[int],
    tiny: Models,
    still_face: type[FaceTracker],
    make_clip: MakeClip,
    make_speech: MakeClip,
    tmp_path: Path,
) -> None:
    clip, out = make_clip(12), tmp_path / "out.mkv"
    models = replace(tiny, tracker=still_face(frozenset(hidden)))  # type: ignore[arg-type,call-arg]
    report = sync_file(clip, make_speech(), out, models=models, config=LOSSLESS)
    for index, (before, after) in enumerate(zip(_planes(clip), _planes(out), strict=True)):
        assert np.array_equal(before, after) == (index in hidden)
    assert [box is None for box in report.boxes] == [index in hidden for index in range(12)]


def test_no_face_anywhere_leaves_no_file(
    tiny: Models,
    still_face: type[FaceTracker],
    make_clip: MakeClip,
    make_speech: MakeClip,
    tmp_path: Path,
) -> None:
    clip, speech = make_clip(3), make_speech()
    blind = replace(tiny, tracker=still_face(frozenset(range(3))))  # type: ignore[arg-type,call-arg]
    before = sorted(tmp_path.iterdir())
    with pytest.raises(NoFaceFound, match=r"clip\.mkv: no face in any of 3 frames; "):
        sync_file(clip, speech, tmp_path / "out.mkv", models=blind, config=LOSSLESS)
    assert sorted(tmp_path.iterdir()) == before


def _lengths(path: Path) -> tuple[float, float]:
    """Seconds of picture (25 fps) and of sound."""
    with av.open(str(path)) as container:
        sound = sum(frame.samples for frame in container.decode(audio=0)) / container.streams.audio[0].rate
    return len(_times(path)) / 25, sound


@pytest.mark.parametrize(
    ("length", "speech_s", "picture_s"),
    [
        ("video", 2.0, 0.4),
        ("video", 0.2, 0.4),
        ("shortest", 0.2, 0.2),
        ("shortest", 2.0, 0.4),
        ("audio", 0.6, 0.6),
    ],
)
def test_length_decides_how_long_it_lasts(
    length: str, speech_s: float, picture_s: float, tiny: Models, make_clip: MakeClip, make_speech: MakeClip,
    tmp_path: Path,
) -> None:  # fmt: skip
    out = tmp_path / "out.mkv"
    config = SyncConfig(video_codec="ffv1", length=length)  # type: ignore[arg-type]
    report = sync_file(make_clip(10), make_speech(speech_s), out, models=tiny, config=config)
    picture, sound = _lengths(out)
    assert picture == pytest.approx(picture_s)
    assert sound == pytest.approx(picture_s, abs=0.001)
    assert float(report.speech_cut_s) == pytest.approx(max(speech_s - picture_s, 0), abs=0.001)


def test_the_speech_keeps_its_own_quality(
    tiny: Models, make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path
) -> None:
    out = tmp_path / "out.mkv"
    sync_file(make_clip(5), make_speech(1.0, 44100, 2), out, models=tiny, config=LOSSLESS)
    with av.open(str(out)) as container:
        sound = container.streams.audio[0]
        assert (sound.rate, sound.codec_context.layout.name) == (44100, "stereo")


def test_output_over_an_input_is_refused(tiny: Models, make_clip: MakeClip, make_speech: MakeClip) -> None:
    clip, speech = make_clip(3), make_speech()
    with pytest.raises(ConfigError, match=r"clip\.mkv: is also an input; "):
        sync_file(clip, speech, clip, models=tiny, config=LOSSLESS)


def test_a_missing_video_is_one_line(tiny: Models, make_speech: MakeClip, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"gone\.mp4") as caught:
        sync_file(tmp_path / "gone.mp4", make_speech(), tmp_path / "out.mp4", models=tiny)
    assert "\n" not in str(caught.value)

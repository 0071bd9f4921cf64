import errno
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from keysync.clip import Face
from keysync.config import SyncConfig
from keysync.errors import ConfigError, MediaError, NoFaceFound
from keysync.face.track import FaceTracker
from keysync.generate.keyframes import make_keyframes
from keysync.mask.occlusion import ByFace
from keysync.mask.segmenter import SIDE
from keysync.media.read import read_frames
from keysync.media.write import VideoWriter
from keysync.models import Models, OcclusionModels
from keysync.movement import HARD_TO_HEAR, Movement
from keysync.pipeline import sync_file
from keysync.speech import Sound

MakeClip = Callable[..., Path]
LOSSLESS = SyncConfig(video_codec="ffv1", length="video")


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


def test_a_mouth_below_the_picture_is_not_painted(
    tiny: Models, still_face: type[FaceTracker], make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path
) -> None:
    class Low(still_face):  # type: ignore[misc,valid-type]
        def faces(self, *seen: object, **how: object) -> list[Face | None]:
            down = np.array([0, 200], np.float32)
            found = super().faces(*seen, **how)
            return [face and Face(face.mesh + down, face.landmarks + down, face.score) for face in found]

    clip, out = make_clip(12), tmp_path / "out.mkv"
    report = sync_file(clip, make_speech(), out, models=replace(tiny, tracker=Low()), config=LOSSLESS)
    assert all(np.array_equal(*planes) for planes in zip(_planes(clip), _planes(out), strict=True))
    assert report.boxes == [None] * 12


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
        ("longest", 0.88, 0.88),
        ("longest", 0.1, 0.4),
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


def _moved(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[tuple[str, ...]] | None]:
    """Let nobody search a sound for words; tells of each speech, by its length, what was to be searched."""
    asked: dict[int, list[tuple[str, ...]] | None] = {}

    def move(sound: Sound, _: object, __: object, found: list[tuple[str, ...]] | None) -> Movement:
        asked[len(sound)] = found
        if found is None:
            return Movement(np.zeros((75, 7), np.float32), sure=0.4, unsaid=0.0)
        return Movement(np.full((75, 7), 5.0, np.float32), sure=0.4, unsaid=0.33)

    monkeypatch.setattr("keysync.movement.read_words", lambda text, _: [(text,)])
    monkeypatch.setattr("keysync.movement.follow", lambda _, words, *__: words)
    monkeypatch.setattr("keysync.movement.move", move)
    return asked


def test_lips_follow_the_words_that_are_told(
    tiny: Models, make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _moved(monkeypatch)
    told, heard = tmp_path / "told.mkv", tmp_path / "heard.mkv"
    report = sync_file(
        make_clip(9), make_speech(), told, models=tiny, config=replace(LOSSLESS, transcript="hello")
    )
    plain = sync_file(make_clip(9), make_speech(), heard, models=tiny, config=LOSSLESS)
    assert any((a != b).any() for a, b in zip(_planes(told), _planes(heard), strict=True))
    assert plain.notes == [f"speech.wav: {HARD_TO_HEAR}"]
    assert report.notes == ["speech.wav: 33 % is not what the words say; there lips follow the sound"]


def test_everyone_may_have_a_transcript(
    tiny: Models, make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _moved(monkeypatch)
    config, out = replace(LOSSLESS, transcript={1: "hello"}), tmp_path / "out.mkv"
    sync_file(make_clip(5), {1: make_speech(0.5)}, out, models=tiny, config=config)
    assert asked == {8000: [("hello",)]}


@pytest.mark.parametrize(
    ("transcript", "fact"),
    [
        ("hello", "one transcript is given for several speeches; say whose it is"),
        ({3: "hello"}, "a transcript is given for person 3, who has no speech"),
        ({1: "hello", 2: "goodbye"}, "has two transcripts; give one, or assign a file to each person"),
    ],
)
def test_a_transcript_that_fits_no_speech_is_refused(
    transcript: str | dict[int, str], fact: str, tiny: Models, make_clip: MakeClip, make_speech: MakeClip,
    tmp_path: Path,
) -> None:  # fmt: skip
    told, speech = SyncConfig(transcript=transcript), make_speech()
    with pytest.raises(ConfigError, match=fact):
        sync_file(make_clip(3), {1: speech, 2: speech}, tmp_path / "out.mkv", models=tiny, config=told)


def test_a_model_that_can_only_listen_takes_no_transcript(
    tiny: Models, make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path
) -> None:
    class Listener:
        dim, context_s = 6, 0.0

        def __call__(self, samples: torch.Tensor) -> torch.Tensor:
            return torch.zeros(-(-len(samples) // 320), 6)

    listening = replace(tiny, keyframes=replace(tiny.keyframes, encoder=Listener()))
    out = tmp_path / "out.mkv"
    with pytest.raises(ConfigError, match="can only listen; add --model compact"):
        sync_file(make_clip(3), make_speech(), out, models=listening, config=SyncConfig(transcript="hello"))
    assert not out.exists()


def test_output_over_an_input_is_refused(tiny: Models, make_clip: MakeClip, make_speech: MakeClip) -> None:
    clip, speech = make_clip(3), make_speech()
    with pytest.raises(ConfigError, match=r"clip\.mkv: is also an input; "):
        sync_file(clip, speech, clip, models=tiny, config=LOSSLESS)


def test_a_missing_video_is_one_line(tiny: Models, make_speech: MakeClip, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"gone\.mp4") as caught:
        sync_file(tmp_path / "gone.mp4", make_speech(), tmp_path / "out.mp4", models=tiny)
    assert "\n" not in str(caught.value)


def _interrupted(clip: Path, speech: Path, out: Path, models: Models) -> None:
    """A run that ends after 25 frames."""

    def interrupt(step: str, done: int, _: int | None) -> None:
        if step == "sync" and done == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync_file(clip, speech, out, models=models, config=LOSSLESS, on_progress=interrupt)


def test_an_interrupted_run_goes_on_to_the_same_film(
    tiny: Models, make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path
) -> None:
    clip, speech, whole, out = make_clip(40), make_speech(1.6), tmp_path / "whole.mkv", tmp_path / "out.mkv"
    sync_file(clip, speech, whole, models=tiny, config=LOSSLESS)
    _interrupted(clip, speech, out, tiny)
    assert not out.exists()
    sync_file(clip, speech, out, models=tiny, config=replace(LOSSLESS, resume=True))
    assert all(np.array_equal(a, b) for a, b in zip(_planes(whole), _planes(out), strict=True))
    assert not out.with_name("out.mkv.keysync").exists()


def test_unfinished_work_is_told_before_the_clip_is_looked_at(
    tiny: Models, make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, speech, out = make_clip(40), make_speech(1.6), tmp_path / "out.mkv"
    _interrupted(clip, speech, out, tiny)

    def look(*_: object, **__: object) -> None:
        raise AssertionError("looked")

    monkeypatch.setattr("keysync.pipeline.survey", look)
    with pytest.raises(ConfigError, match=r"unfinished work on out\.mkv; add --resume"):
        sync_file(clip, speech, out, models=tiny, config=LOSSLESS)
    with pytest.raises(ConfigError, match="other inputs or settings"):
        sync_file(clip, speech, out, models=tiny, config=replace(LOSSLESS, seed=1, resume=True))
    with pytest.raises(AssertionError, match="looked"):
        sync_file(clip, speech, out, models=tiny, config=replace(LOSSLESS, resume=True))
    assert list(out.with_name("out.mkv.keysync").glob("*.safetensors"))  # still there


def test_work_is_not_gone_on_with_by_other_weights_that_look_for_occluders(
    tiny: Models, make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, speech, out = make_clip(40), make_speech(1.6), tmp_path / "out.mkv"

    def nobody(crops: np.ndarray, _: object) -> np.ndarray:
        return np.zeros((len(crops), SIDE, SIDE), np.float32)

    def by(digest: str) -> None:
        looking = OcclusionModels(finder=ByFace(nobody), digest=digest)
        monkeypatch.setattr("keysync.pipeline.load_occlusion", lambda *_: looking)

    by("one")
    _interrupted(clip, speech, out, tiny)
    by("other")
    with pytest.raises(ConfigError, match="other inputs or settings"):
        sync_file(clip, speech, out, models=tiny, config=replace(LOSSLESS, resume=True))
    by("one")
    assert sync_file(clip, speech, out, models=tiny, config=replace(LOSSLESS, resume=True)).frames == 40


def test_what_was_finished_is_not_computed_again(
    tiny: Models, make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, speech, out = make_clip(40), make_speech(1.6), tmp_path / "out.mkv"
    calls = {"first": 0, "again": 0}
    now = "first"

    def counted(*args: object) -> object:
        calls[now] += 1
        return make_keyframes(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("keysync.perform.make_keyframes", counted)

    def interrupt(step: str, done: int, _: int | None) -> None:
        if step == "sync" and done == 39 and now == "first":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync_file(clip, speech, out, models=tiny, config=LOSSLESS, on_progress=interrupt)
    now = "again"
    sync_file(clip, speech, out, models=tiny, config=replace(LOSSLESS, resume=True), on_progress=interrupt)
    assert 0 < calls["again"] < calls["first"]


@pytest.mark.parametrize("where", ["keysync.job.save_file", "the writer"])
def test_a_full_disk_is_one_line_and_the_work_so_far_is_kept(
    where: str, tiny: Models, make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    clip, speech, out = make_clip(50), make_speech(2.0), tmp_path / "out.mkv"
    whole = tmp_path / "whole.mkv"
    sync_file(clip, speech, whole, models=tiny, config=LOSSLESS)
    with monkeypatch.context() as patch:
        _fill_disk(where, out.with_name("out.mkv.keysync"), patch)
        with pytest.raises(MediaError, match=r"the disk is full; .* with --resume goes on") as caught:
            sync_file(clip, speech, out, models=tiny, config=LOSSLESS)
    assert "\n" not in str(caught.value)
    assert not out.exists()
    assert list(out.with_name("out.mkv.keysync").glob("*.safetensors"))
    assert not list(out.with_name("out.mkv.keysync").glob(".*"))  # no half film beside the work
    sync_file(clip, speech, out, models=tiny, config=replace(LOSSLESS, resume=True))
    assert all(np.array_equal(a, b) for a, b in zip(_planes(whole), _planes(out), strict=True))


def _fill_disk(where: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Let the second piece of work, or the film's first packet after the first piece, find the disk full."""
    full = OSError(errno.ENOSPC, "No space left on device")
    if where.endswith("save_file"):

        def save(tensors: dict[str, torch.Tensor], path: Path) -> None:
            if list(folder.glob("*.safetensors")):
                raise full
            save_file(tensors, path)

        patch.setattr(where, save)
    else:
        encode = VideoWriter._mux_video

        def mux(writer: VideoWriter, picture: av.VideoFrame | None) -> None:
            if list(folder.glob("*.safetensors")):
                raise full
            encode(writer, picture)

        patch.setattr(VideoWriter, "_mux_video", mux)


def test_without_speech_the_lips_are_said_to_rest(
    tiny: Models, make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path
) -> None:
    report = sync_file(make_clip(10), make_speech(0.4), tmp_path / "o.mkv", models=tiny, config=LOSSLESS)
    assert set(report.states) == {"silent"}  # a tone is no speech
    assert report.synced == 10


@pytest.mark.parametrize(
    ("speaker", "message"),
    [("2", "person 2 is not in this clip"), ("2,3", "no face ever covers the point 2,3")],
)
def test_nobody_there_is_one_line(
    speaker: str, message: str, tiny: Models, make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path
) -> None:
    config = SyncConfig(video_codec="ffv1", speaker=speaker)
    with pytest.raises(ConfigError, match=message):
        sync_file(make_clip(5), make_speech(), tmp_path / "o.mkv", models=tiny, config=config)
    assert not list(tmp_path.glob("o.mkv*"))


def test_paint_fades_towards_frames_that_stay(
    tiny: Models, still_face: type[FaceTracker], make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path
) -> None:
    clip, out = make_clip(24), tmp_path / "out.mkv"
    models = replace(tiny, tracker=still_face(frozenset(range(16, 24))))  # type: ignore[arg-type,call-arg]
    sync_file(clip, make_speech(), out, models=models, config=LOSSLESS)
    change = [
        float(np.maximum(np.abs(a.astype(int) - b.astype(int)) - 2, 0).mean())  # less is rounding
        for a, b in zip(_planes(clip), _planes(out), strict=True)
    ]
    assert change[15] < change[13] < change[11]
    assert change[15] < 0.5 * change[8]
    assert change[16] == 0

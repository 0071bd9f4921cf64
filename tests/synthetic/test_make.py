"""Whole clips, small: exact, repeatable, and different only where they should be."""

from __future__ import annotations

import json
import wave
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from keysync.checkpoints import installed
from keysync.clip import Frame
from keysync.errors import ConfigError
from keysync.evaluate.lips import best_lag, correlation, opening, width
from keysync.face.track import face_tracker, smooth
from keysync.synthetic import kokoro, make
from keysync.synthetic.head import head_model, weight_vector
from keysync.synthetic.make import (
    ClipPlan,
    DrawnClip,
    draw_clip,
    hard_faces,
    make_clip,
    plan_clips,
    read_mask,
)
from keysync.synthetic.person import (
    Drawing,
    Person,
    draw_person,
    draw_scene,
    foresee_look,
    picture,
    place_camera,
    pose,
)
from keysync.synthetic.rasterise import draw_visible
from keysync.synthetic.speech import speak
from keysync.synthetic.utterance import Utterance

PLAN = ClipPlan(split="train", identity=7, voice=7, text=7, scene=7, motion=7, size=(128, 128), seconds=0.6)


@pytest.fixture(scope="module")
def clip() -> DrawnClip:
    return draw_clip(PLAN)


@pytest.fixture(scope="module")
def person() -> Person:
    return draw_person(PLAN.rng("identity"))


def test_the_same_plan_gives_the_same_bytes(clip: DrawnClip) -> None:
    again = draw_clip(PLAN)
    assert again.frames.tobytes() == clip.frames.tobytes()
    assert again.audio16k.tobytes() == clip.audio16k.tobytes()


def test_landmarks_lie_within_a_pixel_of_the_rendered_vertices(person: Person) -> None:
    fine = 2  # drawn at twice the size: at 384, some triangles of the lips hold no pixel centre
    side = 384 * fine
    scene = draw_scene(PLAN.rng("scene"))
    camera = place_camera(scene, person, (side, side), "face")
    posed = pose(person, np.zeros(57, np.float32), scene.pose, np.zeros(3))
    screen = camera.project(posed.vertices)
    nearness, seen = np.zeros((side, side), np.float32), np.full((side, side), -1, np.int32)
    # The face's own skin alone: eyeballs, lashes and hair would hide a vertex, not move it.
    skin = np.zeros(len(person.mesh.layer), bool)
    skin[: len(head_model().triangles)] = head_model().triangle_part == "face"
    kept = {name: values[skin] for name, values in person.mesh._asdict().items() if name != "uv"}
    mesh = person.mesh._replace(**kept)
    draw_visible(screen, mesh, person.atlas, nearness, seen)
    found = 0
    for vertex in head_model().landmarks:
        column, row, near = screen[vertex]
        if abs(nearness[int(row), int(column)] / near - 1) > 0.05 * near:
            continue  # hidden, or on the outline: what is seen there lies more than 0.5 mm away
        showing = np.flatnonzero((mesh.triangles == vertex).any(axis=1))
        rows, columns = np.nonzero(np.isin(seen, showing))
        assert np.hypot(columns + 0.5 - column, rows + 0.5 - row).min() < fine
        found += 1
    assert found > 40


def test_other_words_change_only_the_lower_face(clip: DrawnClip) -> None:
    other = draw_clip(replace(PLAN, voice=8, text=8))
    difference = np.abs(other.frames.astype(int) - clip.frames.astype(int)).max(axis=-1)
    np.testing.assert_array_equal(other.labels.pose, clip.labels.pose)
    nose = clip.labels.landmarks68[:, 28]  # half way down the ridge
    chin_side = np.linalg.norm(clip.labels.landmarks68[:, 8] - nose, axis=-1)
    for frame in range(len(difference)):
        above = difference[frame, : int(nose[frame, 1] - 0.1 * chin_side[frame])]
        assert np.percentile(above, 98) <= 6  # JPEG of the sensor, light from a moving cheek
    assert difference.max() > 60  # but the mouth does move


def test_sound_frames_and_labels_are_of_one_length() -> None:
    plan = replace(PLAN, fps=Fraction(30000, 1001), seconds=0.4, size=(96, 64), framing="head")
    clip = draw_clip(plan)
    assert clip.frames.shape == (11, 64, 96, 3)
    assert len(clip.audio16k) == round(16000 * 11 * 1001 / 30000)
    assert {len(value) for value in (clip.labels.landmarks68, clip.labels.mouth, clip.labels.weights)} == {11}
    assert clip.labels.phone_ends_s[-1] <= 11 * 1001 / 30000 + 1e-6


def test_every_closure_is_seen_closed_at_any_frame_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    share = np.zeros((384, 384), np.uint8)
    blank = Drawing(np.zeros((384, 384, 3), np.float32), share, share, np.ones(68, bool), 0.0, 0.0)
    monkeypatch.setattr("keysync.synthetic.make.picture", lambda *_: blank)  # labels need no picture
    checked = 0
    for text, fps in ((1, Fraction(25)), (2, Fraction(30000, 1001)), (3, Fraction(12))):
        labels = draw_clip(replace(PLAN, size=(384, 384), text=text, fps=fps, seconds=3.0)).labels
        times_s = np.arange(len(labels.mouth)) / float(fps)
        gaps = labels.mouth[:, 0]
        for name, start_s, end_s in zip(
            labels.phone_names, labels.phone_starts_s, labels.phone_ends_s, strict=True
        ):
            if name in ("P", "B", "M") and end_s < times_s[-1]:
                near = (times_s > start_s - 1 / float(fps)) & (times_s < end_s + 1 / float(fps))
                assert np.abs(gaps[near]).min() < 0.06
                checked += 1
        assert np.abs(gaps[labels.mouth[:, 4] > 0.999]).max(initial=0.0) < 0.06
    assert checked >= 5


def test_two_runs_may_draw_the_same_clip(
    tmp_path: Path, clip: DrawnClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(_: ClipPlan) -> DrawnClip:
        monkeypatch.setattr(make, "draw_clip", lambda _: clip)
        make_clip(PLAN, tmp_path / "00000")  # the other run, which starts later and is done first
        return clip

    monkeypatch.setattr(make, "draw_clip", overtaken)
    make_clip(PLAN, tmp_path / "00000")
    assert [path.name for path in tmp_path.iterdir()] == ["00000"]
    assert (tmp_path / "00000" / "meta.json").exists()


def test_a_drawing_cut_off_leaves_nothing(
    tmp_path: Path, clip: DrawnClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(make, "draw_clip", lambda _: clip)
    monkeypatch.setattr(make.np, "savez_compressed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_clip(PLAN, tmp_path / "00000")
    assert not list(tmp_path.iterdir())


def test_a_folder_holds_video_sound_labels_and_plan_and_is_drawn_once(tmp_path: Path) -> None:
    plan = replace(PLAN, seconds=0.2)
    make_clip(plan, tmp_path / "00000")
    with av.open(str(tmp_path / "00000" / "clip.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 5
    with wave.open(str(tmp_path / "00000" / "clip.wav")) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getnframes()) == (16000, 1, 3200)
    with np.load(tmp_path / "00000" / "labels.npz", allow_pickle=False) as labels:
        assert labels["landmarks68"].shape == (5, 68, 2)
    assert json.loads((tmp_path / "00000" / "meta.json").read_text())["identity"] == 7
    before = (tmp_path / "00000" / "clip.mp4").stat().st_mtime_ns
    make_clip(plan, tmp_path / "00000")
    assert (tmp_path / "00000" / "clip.mp4").stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == ["00000"]


def test_a_face_fills_the_frame_by_its_margin(person: Person) -> None:
    for scene_seed in range(4):
        scene = draw_scene(np.random.default_rng(scene_seed))
        camera = place_camera(scene, person, (128, 128), "face")
        posed = pose(person, np.zeros(57, np.float32), scene.pose, np.zeros(3))
        pixels = camera.project(posed.landmarks)[:, :2]
        assert np.ptp(pixels, axis=0).max() * scene.view.face_margin == pytest.approx(128, rel=0.01)
        assert np.abs((pixels.min(axis=0) + pixels.max(axis=0)) / 2 - 64).max() < 10


def test_pictures_are_srgb_between_0_and_1(person: Person) -> None:
    scene = draw_scene(np.random.default_rng(3))
    camera = place_camera(scene, person, (64, 64), "head")
    drawing = picture(person, pose(person, np.zeros(57, np.float32), scene.pose, np.zeros(3)), scene, camera)
    drawn = drawing.srgb
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert drawn.std() > 0.02


def test_takes_share_person_scene_and_motion_and_splits_share_nothing() -> None:
    first, second, third = plan_clips(3, seed=1, split="train", takes=2)
    assert (first.identity, first.scene, first.motion) == (second.identity, second.scene, second.motion)
    assert first.text != second.text
    assert third.identity != first.identity
    test = plan_clips(1, seed=1, split="test")[0]
    assert test.rng("identity").random() != first.rng("identity").random()


def test_hard_faces_have_beards_and_dark_skin_more_often_than_others() -> None:
    plans = plan_clips(300, 3, split="train")
    chosen = hard_faces(plans, 100)
    assert len({plan.identity for plan in chosen}) == 100
    assert set(chosen) <= set(plans)
    bearded = [plan for plan in chosen if foresee_look(plan.rng("identity")).beard]
    assert 0.3 <= len(bearded) / 100 <= 0.45
    assert len([plan for plan in plans if foresee_look(plan.rng("identity")).beard]) / 300 < 0.2
    assert draw_person(bearded[0].rng("identity")).look.beard


def test_a_room_changes_the_sound_and_nothing_else(clip: DrawnClip) -> None:
    heard = draw_clip(replace(PLAN, room=1))
    assert heard.dry16k is not None
    np.testing.assert_array_equal(heard.dry16k, clip.audio16k)
    np.testing.assert_array_equal(heard.frames, clip.frames)
    assert heard.audio16k.shape == clip.audio16k.shape
    assert not np.array_equal(heard.audio16k, clip.audio16k)
    assert [plan.room for plan in plan_clips(2, 1, split="train", rooms=True)] == [1_000_000, 1_000_001]


def test_a_smile_shows_teeth_and_a_tongue_that_is_put_out_shows(person: Person) -> None:
    scene = draw_scene(PLAN.rng("scene"))
    camera = place_camera(scene, person, PLAN.size, "face")

    def shares(**weights: float) -> tuple[float, float]:
        weight = weight_vector(weights)
        drawn = picture(person, pose(person, weight, np.zeros(3), np.zeros(3)), scene, camera)
        return drawn.teeth_share, drawn.tongue_share

    smile = shares(
        jawOpen=0.15, mouthUpperUp_L=0.6, mouthUpperUp_R=0.6, mouthLowerDown_L=0.4, mouthLowerDown_R=0.4
    )
    out = shares(jawOpen=0.5, tongueOut=1.0, tongueUp=0.5)
    assert smile[0] > 0.3
    assert out[1] > smile[1]
    assert all(sum(pair) <= 1 for pair in (smile, out))


@pytest.mark.skipif(
    any(row.path is None for row in installed() if row.name.startswith("face_")),
    reason="the face models are not on this machine; keysync models fetch",
)
def test_the_face_mesh_sees_drawn_faces_and_what_their_lips_do() -> None:
    followed = []
    for plan in plan_clips(5, 5, split="train", size=(256, 256), seconds=2.0, framing="head"):
        clip = draw_clip(plan)
        film = [
            Frame(av.VideoFrame.from_ndarray(picture, format="rgb24"), Fraction(number, 25))
            for number, picture in enumerate(clip.frames)
        ]
        faces = [face for _, face in smooth(face_tracker().follow(iter(film)))]
        seen = [number for number, face in enumerate(faces) if face is not None]
        assert len(seen) > 0.95 * len(film)
        landmarks = np.stack([face.landmarks for face in faces if face is not None])
        gap, across = clip.labels.mouth[seen, :2].astype(np.float64).T
        assert best_lag(opening(landmarks), gap, 4) == 0
        followed.append((correlation(opening(landmarks), gap), correlation(width(landmarks), across)))
    # A rounded mouth of the same gap looks more open to the mesh, a spread one less: on average it follows.
    assert (np.mean(followed, axis=0) > 0.9).all(), followed
    assert min(gap for gap, _ in followed) > 0.85, followed


def test_a_plan_without_a_frame_is_refused() -> None:
    with pytest.raises(ConfigError, match="hold no frame"):
        replace(PLAN, seconds=0.01)
    with pytest.raises(ConfigError, match="even"):
        replace(PLAN, size=(127, 128))


@pytest.fixture(scope="module")
def occluded() -> DrawnClip:
    return draw_clip(replace(PLAN, occluder=3))


def test_a_clip_without_its_occluder_is_the_plain_clip(clip: DrawnClip, occluded: DrawnClip) -> None:
    assert occluded.clean is not None
    assert occluded.clean.tobytes() == clip.frames.tobytes()
    assert clip.clean is None
    assert clip.masks.occluder is None
    np.testing.assert_array_equal(occluded.labels.landmarks68, clip.labels.landmarks68)
    again = draw_clip(replace(PLAN, occluder=3))
    assert again.frames.tobytes() == occluded.frames.tobytes()


def test_frames_change_where_the_occluder_is_and_hide_landmarks_there() -> None:
    hidden, changed = 0, 0
    for number in range(4):
        drawn = draw_clip(replace(PLAN, occluder=number, seconds=0.4, size=(96, 96)))
        alpha, clean = drawn.masks.occluder, drawn.clean
        assert alpha is not None
        assert clean is not None
        difference = np.abs(drawn.frames.astype(int) - clean).max(-1)
        changed += int((difference[alpha > 250] > 12).sum())
        column, row = np.clip(drawn.labels.landmarks68.astype(int), 0, 95).transpose(2, 0, 1)
        for index in range(len(alpha)):
            under = alpha[index][row[index], column[index]] >= 128
            assert not drawn.labels.landmarks68_visible[index][under].any()
            hidden += int(under.sum())
    assert hidden > 0
    assert changed > 100


def test_matte_holds_the_face_and_the_mouth_area_its_lips(clip: DrawnClip) -> None:
    matte, area = clip.masks.matte, clip.masks.mouth_area
    assert matte.max() == 255
    assert matte.min() == 0  # there is background
    assert (area <= matte.astype(int) + 1).all()
    for index, points in enumerate(clip.labels.landmarks68):
        eyes, lips = points[36:48].mean(axis=0).astype(int), points[60:68].mean(axis=0).astype(int)
        assert matte[index, eyes[1], eyes[0]] == 255
        assert area[index, eyes[1], eyes[0]] == 0
        assert area[index, lips[1], lips[0]] == 255
    assert clip.labels.landmarks68_visible[:, 48:].mean() > 0.9


def test_masks_are_read_as_they_were_drawn(tmp_path: Path) -> None:
    plan = replace(PLAN, seconds=0.2, occluder=3)
    make_clip(plan, tmp_path / "00000")
    drawn = draw_clip(plan)
    assert drawn.masks.occluder is not None
    for name in ("matte", "mouth_area", "occluder"):
        np.testing.assert_array_equal(
            read_mask(tmp_path / "00000" / f"{name}.mkv"), getattr(drawn.masks, name)
        )
    assert (tmp_path / "00000" / "clean.mp4").exists()


def test_occluders_vary_alone_and_are_off_unless_asked_for() -> None:
    plain, other = plan_clips(1, seed=1, split="train"), plan_clips(1, seed=1, split="train", occluders=True)
    assert plain[0].occluder is None
    assert replace(other[0], occluder=None) == plain[0]
    test = plan_clips(1, seed=1, split="test", occluders=True)[0]
    assert test.rng("occluder").random() != other[0].rng("occluder").random()


def test_natural_speech_has_its_phones_where_the_ear_finds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Utterance] = []

    def utter(text: str, how: kokoro.Style, rng: np.random.Generator) -> tuple[np.ndarray, tuple[str, ...]]:
        assert how.name in kokoro.TEST_VOICES
        said.append(speak(text, "slt", rng))  # in the place of Kokoro, whose voices weigh 120 MB
        return said[0].samples, tuple(phone.name for phone in said[0].phones)

    numbers = np.zeros((510, 256), np.float32)
    monkeypatch.setattr(kokoro, "style", lambda voice: kokoro.Style(voice, "en-us", numbers))
    monkeypatch.setattr(kokoro, "utter", utter)
    clip = draw_clip(replace(PLAN, split="test", natural=True, seconds=2.0, size=(64, 64)))
    count = len(clip.labels.phone_names)
    assert clip.voice in kokoro.TEST_VOICES
    assert count > 10
    assert list(clip.labels.phone_names) == [phone.name for phone in said[0].phones][:count]
    true_s = [phone.start_s for phone in said[0].phones[:count]]
    assert np.median(np.abs(clip.labels.phone_starts_s - true_s)) < 0.03
    assert not plan_clips(1, 1, split="test")[0].natural

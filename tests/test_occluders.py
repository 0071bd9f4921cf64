"""What is before a mouth stays there: the whole flow with a judge that knows where it is."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from keysync.clip import Cover, Frame
from keysync.config import SyncConfig
from keysync.face.crop import uncrop
from keysync.face.survey import Appearance, Survey, survey
from keysync.mask.occlusion import ByFace, Clean, Click, Follower, Judge
from keysync.mask.segmenter import SIDE
from keysync.media.read import read_frames
from keysync.models import Models, OcclusionModels
from keysync.occluders import STRETCH, find_occluders, refine_occluders
from keysync.pipeline import sync_file
from keysync.report import Report

MakeClip = Callable[..., Path]
LOSSLESS = SyncConfig(video_codec="ffv1", length="video")


def judged(mask: np.ndarray, frames: set[int]) -> Callable[[np.ndarray, Clean], np.ndarray]:
    """A judge of one stretch: ``mask`` is hidden in ``frames``, nothing elsewhere. Samples come first."""

    def judge(crops: np.ndarray, _: Clean) -> np.ndarray:
        shares = np.zeros((len(crops), SIDE, SIDE), np.float32)
        if len(crops) > 9:  # not the samples for the clean picture
            shares[sorted(frames)] = mask
        return shares

    return judge


def _run(
    judge: Judge, models: Models, clip: Path, speech: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[np.ndarray], list[np.ndarray], object]:
    looking = OcclusionModels(finder=ByFace(judge))
    monkeypatch.setattr("keysync.pipeline.load_occlusion", lambda *_: looking)
    report = sync_file(clip, speech, out, models=models, config=LOSSLESS)
    before, after = ([frame.rgb().astype(int) for frame in read_frames(path)] for path in (clip, out))
    return before, after, report


def test_a_hidden_mouth_passes_through_and_the_report_says_so(
    tiny: Models, make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = np.ones((SIDE, SIDE), np.float32)
    judge = judged(everything, set(range(8, 14)))
    before, after, report = _run(judge, tiny, make_clip(20), make_speech(), tmp_path / "o.mkv", monkeypatch)
    same = [bool((a == b).all()) for a, b in zip(before, after, strict=True)]
    assert same == [8 <= k < 14 for k in range(20)]
    assert [state == "occluded" for state in report.states] == same  # type: ignore[attr-defined]
    (span,) = report.occluders()  # type: ignore[attr-defined]
    assert (span["first"], span["last"], span["mouth_hidden"]) == (8, 13, 1.0)
    # Towards the frames that stay, the paint fades.
    change = [np.abs(a - b).mean() for a, b in zip(before, after, strict=True)]
    assert change[7] < change[5] < change[3]


def test_half_a_hidden_mouth_is_painted_beside_the_occluder_only(
    tiny: Models, make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = np.zeros((SIDE, SIDE), np.float32)
    left[:, : SIDE // 2] = 1
    clip = make_clip(20)
    before, after, report = _run(
        judged(left, set(range(20))), tiny, clip, make_speech(), tmp_path / "o.mkv", monkeypatch
    )
    assert report.synced == 20  # type: ignore[attr-defined]
    assert "occluded" not in report.states  # type: ignore[attr-defined]
    (part,) = survey(read_frames(clip), tiny.tracker, tiny.framing, tiny.image_size).appearances
    deep = cv2.resize(cv2.erode(left, np.ones((9, 9), np.uint8)), (tiny.image_size, tiny.image_size))
    for number, (a, b) in enumerate(zip(before, after, strict=True)):
        patch, (x0, y0, x1, y1) = uncrop(deep, part.to_crop[number], a.shape[:2])
        changed = (a != b).any(axis=2)
        assert not changed[y0:y1, x0:x1][patch == 1].any()
        assert changed.any()


def _film(count: int) -> list[Frame]:
    plain = np.full((64, 64, 3), 120, np.uint8)
    return [Frame(av.VideoFrame.from_ndarray(plain, format="rgb24"), Fraction(k, 25)) for k in range(count)]


def _appearance(first: int, count: int, person: int = 1) -> Appearance:
    around = np.stack([32 + 20 * np.cos(np.arange(68)), 32 + 20 * np.sin(np.arange(68))], axis=1)
    return Appearance(
        person=person,
        first=first,
        landmarks=np.tile(around.astype(np.float32), (count, 1, 1)),
        to_crop=np.tile(np.eye(2, 3), (count, 1, 1)),
        yaw_deg=np.zeros(count, np.float32),
        width=np.full(count, 50, np.float32),
        hollow=np.zeros(count, np.float32),
    )


def test_long_runs_are_judged_in_stretches_and_every_frame_gets_its_answer() -> None:
    count = STRETCH + 40
    asked: list[int] = []

    def judge(crops: np.ndarray, _: Clean) -> np.ndarray:
        asked.append(len(crops))
        return np.ones((len(crops), SIDE, SIDE), np.float32)

    parts = [_appearance(3, count), _appearance(0, 5, person=2)]
    seen = Survey([Fraction(k, 25) for k in range(count + 3)], [0], parts, {})
    found = find_occluders(_film(count + 3), seen, {1}, ByFace(judge), 64)
    mine, other = found.appearances
    assert len(mine.covers) == count
    assert all(isinstance(cover, Cover) for cover in mine.covers)
    assert not other.covers  # not asked for
    assert max(asked) == STRETCH


class Grow(Follower):
    """Notes what it is given; hides what was found and the row of every click, a stretch later."""

    side, stretch = 256, 10

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.crops: list[np.ndarray] = []
        self.clicks: list[Click] = []
        self._held = np.zeros((0, SIDE, SIDE), np.float32)

    def take(self, crops: np.ndarray, found: np.ndarray, clicks: Sequence[Click] = ()) -> np.ndarray:
        self.sizes.append(len(crops))
        self.crops += list(crops)
        self.clicks += clicks
        done, self._held = self._held, found.copy()
        for click in clicks:
            self._held[click.place, int(click.y) * SIDE // self.side] = 1
        return done

    def rest(self) -> np.ndarray:
        return self._held


def test_what_was_found_is_refined_in_the_stretches_that_the_follower_wants() -> None:
    part = _appearance(3, 25)
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[:40] = 1
    known = [Cover.pack(mask, 0.0, 0.0) if k % 2 else None for k in range(25)]
    other = _appearance(0, 5, person=2)
    seen = Survey([Fraction(k, 25) for k in range(28)], [0], [replace(part, covers=known), other], {})
    made: list[Grow] = []

    def follower() -> Grow:
        made.append(Grow())
        return made[-1]

    after = refine_occluders(_film(28), seen, {1}, follower, 64)
    mine, theirs = after.appearances
    (grow,) = made  # one for each run of those who are looked at
    assert grow.sizes == [10, 10, 5]
    assert grow.crops[0].shape == (256, 256, 3)
    assert not theirs.covers
    assert [cover is not None for cover in mine.covers] == [bool(k % 2) for k in range(25)]
    np.testing.assert_array_equal(mine.covers[11].alpha(), mask)  # type: ignore[union-attr]


def test_clicks_land_on_every_face_that_shows_the_point_then_and_others_are_told() -> None:
    # Crops of 64 pixels, of frames of 64: the second face's crop begins at 20, 10, twice as large.
    first, second = _appearance(0, 30), _appearance(10, 20, person=2)
    second.to_crop[:] = [[2, 0, -40], [0, 2, -20]]
    seen = Survey([Fraction(k, 25) for k in range(30)], [0], [first, second], {})
    made: list[Grow] = []

    def follower() -> Grow:
        made.append(Grow())
        return made[-1]

    clicks = [
        (30, 20, Fraction(13, 25)),  # both
        (30, 20, Fraction("0.39")),  # before the second face; the frame is 9
        (63, 63, Fraction(13, 25)),  # beyond the second crop
        (70, 20, Fraction(13, 25)),  # outside
        (5, 5, Fraction(2)),  # after the end
    ]
    notes: list[str] = []
    after = refine_occluders(_film(30), seen, {1, 2}, follower, 64, clicks=clicks, on_note=notes.append)
    one, two = made
    assert one.clicks == [(9, 30.5 * 4, 20.5 * 4), (3, 30.5 * 4, 20.5 * 4), (3, 63.5 * 4, 63.5 * 4)]
    assert two.clicks == [(3, (2 * 30.5 - 40) * 4, (2 * 20.5 - 20) * 4)]
    hidden = [[k for k, cover in enumerate(part.covers) if cover] for part in after.appearances]
    assert hidden == [[9, 13], [3]]
    assert [note.split(":")[0] for note in notes] == [
        "occluder 70,20@0.52 was left out",
        "occluder 5,5@2 was left out",
    ]
    assert "no synced face" in notes[0]
    assert "no frame is shown then" in notes[1]


def test_a_click_on_a_frame_of_the_film_marks_its_object(
    tiny: Models, make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the whole flow: a point of the frame, in the report a span."""
    looking = OcclusionModels(finder=ByFace(judged(np.zeros((SIDE, SIDE), np.float32), set())), follower=Grow)
    monkeypatch.setattr("keysync.pipeline.load_occlusion", lambda *_: looking)
    config = replace(LOSSLESS, occlusion="sam2", occluders=("48,56@0.3", "48,56@7"))
    steps: list[str] = []
    report = sync_file(
        make_clip(20), make_speech(), tmp_path / "o.mkv", models=tiny, config=config,
        on_progress=lambda step, *_: steps.append(step),
    )  # fmt: skip
    (span,) = report.occluders()
    assert (span["first"], span["last"]) == (7, 7)
    # Of a tone the ear is sure of nothing.
    told = ["speech.wav: the speech is ", "occluder 48,56@7 was left "]
    assert [note[:26] for note in report.notes] == told
    assert list(dict.fromkeys(steps)) == ["listen", "look", "uncover", "refine", "sync"]


def test_the_report_tells_of_what_hides_a_face_and_not_of_what_stands_beside_it() -> None:
    mask = np.ones((SIDE, SIDE), np.float32)
    report = Report(model="compact")
    for number, face in enumerate((0.0, 0.3, 0.3)):
        report.add(Fraction(number, 25), ["synced"], [], [Cover.pack(mask, face, 0.2)])
    assert [(span["first"], span["last"]) for span in report.occluders()] == [(1, 2)]
    assert "2 with something before the face, which was left as it is" in report.summary()

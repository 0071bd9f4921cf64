"""What is before a mouth stays there: the whole flow with a judge that knows where it is."""

from collections.abc import Callable
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
from keysync.mask.occlusion import ByFace, Clean, Judge
from keysync.mask.segmenter import SIDE
from keysync.media.read import read_frames
from keysync.models import Models, OcclusionModels
from keysync.occluders import STRETCH, find_occluders
from keysync.pipeline import sync_file

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
    return Appearance(
        person=person,
        first=first,
        landmarks=np.full((count, 68, 2), 32, np.float32),
        to_crop=np.tile(np.eye(2, 3), (count, 1, 1)),
        yaw_deg=np.zeros(count, np.float32),
        width=np.full(count, 50, np.float32),
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

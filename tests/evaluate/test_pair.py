import json
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keysync.errors import InputError
from keysync.evaluate import pair, rows
from keysync.evaluate.measure import crops, track
from keysync.evaluate.pair import Pair, evaluate_pairs, find_pairs, lip_scores, measure_pair
from keysync.evaluate.pool import ENDED
from keysync.evaluate.rows import write_changed, write_silence

Make = Callable[..., Any]
Takes = tuple[Path, Path]


def test_a_film_against_itself_and_against_another(film: Make, wander: Make) -> None:
    a, b = film(wander(1), "a.mp4"), film(wander(2), "b.mp4")
    same = measure_pair(Pair("a", a, a)).rows
    assert same["pred"]["opening_r"] == pytest.approx(1)
    assert same["pred"]["lip_distance"] == pytest.approx(0, abs=1e-6)
    assert same["pred"]["mask_psnr_db"] == 100
    assert same["pred"]["sync_offset_ms"] == 0
    assert same["truth"]["opening_r"] > 0.99  # type: ignore[operator]  # its own copy through the codec
    assert same["truth"]["mask_psnr_db"] < 60  # type: ignore[operator]
    other = measure_pair(Pair("a", a, b, source=a)).rows["pred"]
    assert other["opening_r"] < 0.5  # type: ignore[operator]
    assert other["leakage"] == pytest.approx(1)


@pytest.mark.parametrize("late", [1, 2, 3])
def test_a_mouth_pasted_late_is_late(film: Make, wander: Make, tmp_path: Path, late: int) -> None:
    true = film(wander(1), "true.mp4")
    where, seen = track(true), []

    def delay(_: int, picture: np.ndarray) -> np.ndarray:
        seen.append(picture)
        return seen[max(len(seen) - 1 - late, 0)]

    write_changed(true, where, tmp_path / "late.mp4", delay)
    assert lip_scores(track(tmp_path / "late.mp4"), where)["sync_offset_ms"] == 40 * late


def test_every_step_of_the_old_mouth_blended_in_is_more_leakage(
    film: Make, wander: Make, tmp_path: Path
) -> None:
    old, new = film(wander(1), "a.mp4"), film(wander(2), "b.mp4")
    where, source = track(new), track(old)
    pictures = list(crops(old, where, rows.CROP_SIZE))
    found = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        out = tmp_path / f"{share}.mp4"
        write_changed(
            new,
            where,
            out,
            lambda k, crop, share=share: ((1 - share) * crop + share * pictures[k]).astype(np.uint8),
        )
        found.append(lip_scores(track(out), where, source=source)["leakage"])
    assert found == sorted(found)
    assert found[-1] > 0.9


def test_silence_brings_lipleak_and_speech_does_not(film: Make, wander: Make, tmp_path: Path) -> None:
    a = film(wander(1), "a.mp4")
    write_silence(tmp_path / "silence.wav", 2.0)
    found = measure_pair(Pair("a", a, a, driving=tmp_path / "silence.wav", source=a)).rows["pred"]
    assert found["normalised_lipleak"] == 1
    assert "lipleak" not in measure_pair(Pair("a", a, a)).rows["pred"]


def test_phones_of_a_drawn_clip_are_found(takes: Takes) -> None:
    clip = takes[1] / "clip.mp4"
    measured = measure_pair(Pair("new", clip, clip))
    assert measured.rows["pred"]["closure_rate"] == 1
    assert [name for name, *_ in measured.look.phones] == ["M", "M", "M"]


def test_folders_match_by_name_and_name_what_is_missing(film: Make, wander: Make, tmp_path: Path) -> None:
    for name in ("pred/a.mp4", "pred/b.mp4", "ref/a.mp4", "ref/c.mp4"):
        film(wander(1, 10), name)
    found = list(find_pairs(tmp_path / "pred", tmp_path / "ref", None, None))
    assert [pair.name for pair in found if isinstance(pair, Pair)] == ["a"]
    missing = [line for line in found if isinstance(line, str)]
    assert len(missing) == 2
    assert missing[0].startswith("b: no file of this name in")
    assert missing[1].startswith("c: no file of this name in")


def test_a_file_and_a_folder_are_no_pair(film: Make, wander: Make, tmp_path: Path) -> None:
    film(wander(1, 10), "a.mp4")
    with pytest.raises(InputError, match="one is a folder"):
        list(find_pairs(tmp_path / "a.mp4", tmp_path, None, None))


def test_bad_clips_are_a_line_each_and_the_rest_is_measured(film: Make, wander: Make, tmp_path: Path) -> None:
    good, short = film(wander(1), "good.mp4"), film(wander(1, 40), "short.mp4")
    nobody = film(wander(1), "nobody.mp4", dark=range(50))
    broken = tmp_path / "broken.mp4"
    broken.write_text("no film")
    pairs: list[Pair | str] = [
        Pair("short", short, good),
        Pair("nobody", nobody, good),
        Pair("broken", broken, good),
        Pair("good", good, good),
        "lonely: no file of this name",
    ]
    found = evaluate_pairs(pairs)
    assert list(found.rows["pred"]) == ["good"]
    told = {line.split(":")[0]: line for line in found.failures}
    assert set(told) == {"short", "nobody", "broken", "lonely"}
    assert "40 frames" in told["short"]
    assert "50" in told["short"]
    assert "a face in only 0 of 50 frames" in told["nobody"]
    assert all("\n" not in line for line in told.values())


def test_metrics_without_weights_are_absent_never_a_number(film: Make, wander: Make, tmp_path: Path) -> None:
    good = film(wander(1), "good.mp4")
    found = evaluate_pairs([Pair("good", good, good)])
    assert {"fvd", "lse_c", "lipscore"} <= found.absent.keys()
    found.write(tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())
    assert "fvd" not in written["rows"]["pred"]
    assert written["absent"]["fvd"]


def test_only_the_metrics_asked_for_are_kept(film: Make, wander: Make) -> None:
    good = film(wander(1), "good.mp4")
    found = evaluate_pairs([Pair("good", good, good)], ["opening_r", "vl"])
    assert set(found.metrics()) == {"opening_r", "vl"}
    assert found.absent == {}


def test_a_worker_that_dies_costs_its_clip_only(
    film: Make, wander: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = film(wander(1, 10), "good.mp4")

    def die(_: Pair) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr(pair, "measure_pair", die)
    found = evaluate_pairs([Pair("good", good, good)])
    assert found.failures == [f"good: {ENDED}"]
    assert found.rows == {}

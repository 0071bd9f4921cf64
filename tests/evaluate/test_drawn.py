import json
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

import pytest

pytest.importorskip("numba")

from keysync.config import SyncConfig
from keysync.errors import ConfigError, InputError
from keysync.evaluate import drawn
from keysync.evaluate.drawn import (
    REFERENCES,
    Person,
    clips_folder,
    draw,
    evaluate_drawn,
    evaluate_person,
)
from keysync.models import Models
from keysync.report import Report

Takes = tuple[Path, Path]


@pytest.fixture
def person(takes: Takes, tmp_path: Path) -> Person:
    return Person("1/0", *takes, tmp_path / "out")


def test_the_reference_rows_come_out_as_theory_says(person: Person) -> None:
    found = evaluate_person(person, REFERENCES, "cpu")
    assert found.failures == []
    truth, nothing, frozen = (found.rows[row] for row in REFERENCES)
    assert truth["opening_r"] >= 0.95  # type: ignore[operator]
    assert truth["closure_rate"] >= 0.9  # type: ignore[operator]
    assert truth["sync_offset_ms"] == 0
    assert truth["mask_psnr_db"] < 100  # type: ignore[operator]  # a copy through the codec, not the file
    assert abs(nothing["opening_r"]) <= 0.3  # type: ignore[arg-type]
    assert nothing["leakage"] == pytest.approx(1)
    assert nothing["normalised_lipleak"] == 1
    assert frozen["articulation"] < 0.05  # type: ignore[operator]
    assert truth["mask_psnr_db"] > nothing["mask_psnr_db"]  # type: ignore[operator]
    assert set(found.look.strips) == {"B", *REFERENCES}


def test_a_model_row_is_synced_to_the_new_words_and_to_silence(
    person: Person, tiny: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawn, "_model", lambda *_: tiny)
    found = evaluate_person(person, ("tiny",), "cpu")
    assert found.failures == []
    assert 0 <= found.rows["tiny"]["lipleak"] <= 1  # type: ignore[operator]
    assert found.films["tiny"].is_file()


def _told(tiny: Models, monkeypatch: pytest.MonkeyPatch) -> list[SyncConfig]:
    """Let no film be made; tells what was asked for."""
    told: list[SyncConfig] = []

    def sync(*_: object, models: Models, config: SyncConfig) -> Report:
        told.append(config)
        raise InputError(f"{models.name} was told")

    monkeypatch.setattr(drawn, "_model", lambda *_: tiny)
    monkeypatch.setattr(drawn, "sync_file", sync)
    return told


@pytest.mark.parametrize(
    ("natural", "voice", "language"), [(False, "en-us+f3", "en-us"), (True, "em_alex", "es")]
)
def test_a_model_can_be_told_what_is_said(
    natural: bool, voice: str, language: str, person: Person, tiny: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = {"text_spoken": "Hola, Bob.", "voice_name": voice, "natural": natural}
    (person.new / "meta.json").write_text(json.dumps(about))
    told = _told(tiny, monkeypatch)
    assert evaluate_person(person, ("mine",), "cpu", transcript=True).failures != []
    assert told == [SyncConfig(length="video", transcript="Hola, Bob.", language=language)]


def test_a_model_may_write_down_what_is_said(
    person: Person, tiny: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = _told(tiny, monkeypatch)
    assert evaluate_person(person, ("mine",), "cpu", recognise=True).failures != []
    assert told == [SyncConfig(length="video", recognise=True)]


def test_a_row_that_fails_is_named_and_leaves_the_others(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ConfigError("no such model")

    monkeypatch.setattr(drawn, "_model", fail)
    found = evaluate_person(person, ("truth", "mine"), "cpu")
    assert found.failures == ["1/0 mine: no such model"]
    assert set(found.rows) == {"truth"}


def test_tracks_of_the_takes_are_measured_once(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    film = person.old / "clip.mp4"
    first = drawn.kept_track(film)
    monkeypatch.setattr(drawn, "track", lambda _: pytest.fail("measured again"))
    assert (drawn.kept_track(film).landmarks == first.landmarks).all()


def test_references_are_made_once_until_the_code_changes(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = drawn.references(person.old, person.new)
    assert set(first) == set(REFERENCES)
    assert all(drawn.reference_film(row, person.old, person.new).is_file() for row in REFERENCES)
    with monkeypatch.context() as patch:
        patch.setattr(drawn, "write_truth", lambda *_: pytest.fail("made again"))
        assert drawn.references(person.old, person.new) == first
    monkeypatch.setattr(drawn, "_code", lambda: "other")
    made: list[Path] = []
    write = drawn.write_truth
    monkeypatch.setattr(drawn, "write_truth", lambda *given: made.append(given[2]) or write(*given))
    again = drawn.references(person.old, person.new)
    assert made == [person.new / "truth.mp4"]
    assert again == first


class _Here(Executor):
    """A pool of no processes."""

    map = staticmethod(map)  # type: ignore[assignment]


def _draw(monkeypatch: pytest.MonkeyPatch, people: int, readable: Callable[[int], bool]) -> list[int]:
    made: list[Path] = []
    monkeypatch.setattr(drawn, "make_clips", lambda plans, *_: made.extend(plans) or iter(plans))
    monkeypatch.setattr(drawn, "_readable", lambda old, _: float(readable(int(old.name) // 2)))
    return draw(people, 7, _Here(), 1)


def test_people_whom_the_mesh_cannot_read_are_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KEYSYNC_CACHE", str(tmp_path))
    assert _draw(monkeypatch, 4, lambda number: number not in (1, 4)) == [0, 2, 3, 5]
    assert _draw(monkeypatch, 2, lambda number: number not in (1, 4)) == [0, 2]
    with pytest.raises(ConfigError, match="another seed"):
        _draw(monkeypatch, 2, lambda _: False)


def test_another_seed_or_generator_has_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    first = clips_folder(7)
    assert clips_folder(8) != first
    assert clips_folder(7, natural=True) != first
    monkeypatch.setattr(drawn, "VERSION", 99)
    assert clips_folder(7) != first


@pytest.mark.parametrize("wrong", [{"people": 0}, {"seed": -1}, {"rows": ()}, {"rows": ("truht",)}])
def test_wrong_options_are_said_before_anything_is_drawn(
    wrong: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawn, "draw", lambda *_: pytest.fail("drawn"))
    with pytest.raises(ConfigError):
        evaluate_drawn(**wrong)  # type: ignore[arg-type]

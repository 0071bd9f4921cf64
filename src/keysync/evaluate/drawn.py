"""The exact benchmark: drawn people whose other words are known to the pixel.

Each person is drawn twice with one face, light and head motion and two texts. The first take (A) gets
the second one's speech; the second take (B) is what a perfect method would make. Faces, voices, texts
and backgrounds are of the test split, which no training sees.

The reference curve is what the face mesh reads off B, not the label: see docs/evaluation.md. A person whose
lips the mesh cannot read would tell about the mesh only, so the next one is drawn in their place.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from concurrent.futures import Executor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np

from keysync.checkpoints import cache_folder
from keysync.config import SyncConfig
from keysync.errors import ConfigError, KeySyncError, NoFaceFound
from keysync.evaluate import lips
from keysync.evaluate.measure import (
    Track,
    load_track,
    picture_scores,
    same_length,
    track,
)
from keysync.evaluate.pair import Pair, add_learned, keep_metrics, lip_scores, look, phones_beside
from keysync.evaluate.pool import ENDED, pool
from keysync.evaluate.result import Look, Progress, Results, Values
from keysync.evaluate.rows import write_frozen, write_silence, write_truth
from keysync.models import Models, load_models
from keysync.outline import COMPACT, model_folder, read_description
from keysync.pipeline import sync_file
from keysync.synthetic import align, kokoro
from keysync.synthetic.make import VERSION, make_clips, plan_clips

PEOPLE, SEED = 24, 7
REFERENCES = ("truth", "nothing", "frozen")
_SIZE, _SECONDS, _FRAMING = (512, 512), 4.0, "head"
_SILENCE_S = 1.5  # of the silent take: LipLeak counts frames, and these tell as much as all
_READABLE_R = 0.85  # what the mesh reads of a take's opening with what was drawn
_TRIED = 4  # people drawn for each one wanted, at most


@dataclass(frozen=True, slots=True)
class Person:
    """Two takes on disk, and a folder for the films that are made of them."""

    name: str
    old: Path  # folder of take A
    new: Path  # folder of take B
    out: Path


@dataclass(frozen=True, slots=True)
class Found:
    """Of one person."""

    rows: dict[str, Values]
    films: dict[str, Path]
    look: Look
    failures: list[str]


def clips_folder(seed: int, natural: bool = False) -> Path:
    """Where the clips of ``seed`` are kept; another generator, plan, ear or way to time by it has another."""
    key = f"v{VERSION}-{_SIZE[0]}x{_SIZE[1]}-{_SECONDS}s-{_FRAMING}-seed{seed}"
    if natural:
        ear = read_description(COMPACT)["sha256"]["audio.safetensors"]
        key += f"-natural-{sha256(ear.encode() + Path(align.__file__).read_bytes()).hexdigest()[:8]}"
    return cache_folder().parent / "drawn" / key


def draw(
    people: int, seed: int, workers: Executor, jobs: int, on_progress: Progress | None = None, *,
    natural: bool = False,
) -> list[int]:  # fmt: skip
    """Draw what is not in the cache yet: two takes a person, the reference films, and all their tracks.

    Returns:
        the numbers of the first ``people`` whose lips the face mesh can read; person k has the clips 2 k
        and 2 k + 1 of ``clips_folder(seed, natural)``.
    Raises:
        ConfigError: the mesh can read too few.
    """
    folder = clips_folder(seed, natural)
    readable: list[int] = []
    stop = 0
    while len(readable) < people:
        first, stop = stop, stop + people - len(readable)
        if stop > _TRIED * people:
            raise ConfigError(f"seed {seed}: the face mesh can read few of its people; take another seed")
        plans = plan_clips(
            2 * stop, seed, split="test", takes=2, size=_SIZE, seconds=_SECONDS, framing=_FRAMING,
            natural=natural,
        )  # fmt: skip
        if not all((folder / f"{index:05d}").exists() for index in range(len(plans))):
            for count, _ in enumerate(make_clips(plans, folder, jobs), start=1):
                if on_progress:
                    on_progress("clips drawn", count, len(plans))
        numbers = range(first, stop)
        found = workers.map(_readable, *zip(*(_takes(folder, number) for number in numbers), strict=True))
        readable += [number for number, r in zip(numbers, found, strict=True) if r >= _READABLE_R]
    return readable


def _takes(folder: Path, number: int) -> tuple[Path, Path]:
    return folder / f"{2 * number:05d}", folder / f"{2 * number + 1:05d}"


def _readable(old: Path, new: Path) -> float:
    """Pearson's r of the opening that the mesh reads off take B with the gap that was drawn."""
    try:
        references(old, new)
    except NoFaceFound:
        return 0.0
    with np.load(new / "labels.npz", allow_pickle=False) as labels:
        gap = labels["mouth"][:, 0]
    return lips.correlation(lips.opening(kept_track(new / "clip.mp4").landmarks), gap.astype(np.float64))


def check(rows: Sequence[str], people: int, seed: int) -> None:
    """Say now, not after an hour of drawing, what is wrong with the request.

    Raises:
        ConfigError: no people, no row, or a row that is neither a reference nor a model.
    """
    if people < 1 or seed < 0 or not rows:
        raise ConfigError(f"people is {people}, seed {seed}, rows {len(rows)}; they must be 1, 0, 1 or more")
    for row in rows:
        if row not in REFERENCES:
            model_folder(row)


def evaluate_drawn(
    rows: Sequence[str] = (*REFERENCES, "compact"),
    *,
    people: int = PEOPLE,
    seed: int = SEED,
    natural: bool = False,
    transcript: bool = False,
    recognise: bool = False,
    jobs: int = 1,
    device: str = "cpu",
    metrics: Sequence[str] | None = None,
    on_progress: Progress | None = None,
) -> Results:
    """All metrics for all rows.

    Args:
        rows: of ``REFERENCES``, or what ``load_models`` takes: compact, full, a model folder.
        people: 1 or more; fewer people are the first of more.
        seed: of the drawn set; another one shares nothing with it.
        natural: said by voices that sound like people, whose phones are where the compact model's ear finds
            them in sound and text.
        transcript: models are told what is said.
        recognise: models write it down themselves, as far as they understand it.
    Raises:
        ConfigError: no people, no row, or a row that is neither a reference nor a model.
    """
    check(rows, people, seed)
    folder = clips_folder(seed, natural)
    about = {
        "suite": "drawn", "people": people, "seed": seed, "natural": natural, "transcript": transcript,
        "recognise": recognise, "generator": VERSION,
    }  # fmt: skip
    results = Results(about)
    with tempfile.TemporaryDirectory() as scratch, pool(jobs) as workers:
        crowd = [
            Person(f"{seed}/{number}", *_takes(folder, number), Path(scratch) / f"{number}")
            for number in draw(people, seed, workers, jobs, on_progress, natural=natural)
        ]
        queued = {
            workers.submit(evaluate_person, p, tuple(rows), device, transcript, recognise): p for p in crowd
        }
        found: dict[str, Found] = {}
        for count, done in enumerate(as_completed(queued), start=1):
            person = queued[done]
            try:
                found[person.name] = done.result()
            except KeySyncError as error:
                results.failures.append(f"{person.name}: {error}")
            except BrokenProcessPool:
                results.failures.append(f"{person.name}: {ENDED}")
            if on_progress:
                on_progress("people", count, people)
        for row in rows:
            for person in crowd:
                if person.name in found and row in found[person.name].rows:
                    results.add(label(row), person.name, found[person.name].rows[row])
        films = []
        for person in crowd:
            if person.name in found:
                results.looks.append(found[person.name].look)
                results.failures += found[person.name].failures
                films += [
                    (
                        label(row),
                        Pair(person.name, film, person.new / "clip.mp4", person.new / "clip.wav"),
                    )
                    for row, film in found[person.name].films.items()
                ]
        add_learned(results, films, metrics, device)
    keep_metrics(results, metrics)
    return results


def label(row: str) -> str:
    """A row's name in tables: a model folder's own name."""
    return Path(row).name


def evaluate_person(
    person: Person, rows: tuple[str, ...], device: str, transcript: bool = False, recognise: bool = False
) -> Found:
    """All rows of one person; a row that fails is listed and leaves the others."""
    person.out.mkdir(parents=True)
    truth = person.new / "clip.mp4"
    old, new = kept_track(person.old / "clip.mp4"), kept_track(truth)
    known = references(person.old, person.new) if set(rows) & set(REFERENCES) else {}
    values: dict[str, Values] = {}
    films: dict[str, Path] = {}
    shown: dict[str, tuple[Path, Track]] = {"B": (truth, new)}
    failures = []
    for number, row in enumerate(rows):
        try:
            if row in known:
                film = reference_film(row, person.old, person.new)
                seen, values[row] = kept_track(film), known[row]
            else:
                film = person.out / f"{number}.mp4"
                config = spoken(person.new) if transcript else SyncConfig()
                config = replace(config, recognise=recognise, length="video")
                _sync(person, person.new / "clip.wav", film, row, device, config)
                seen = track(film)
                scores = _scores(film, seen, person.old, person.new)
                values[row] = scores | _silence(_silent_track(person, row, number, device), old)
        except KeySyncError as error:
            failures.append(f"{person.name} {label(row)}: {error}")
            continue
        films[row] = film
        shown[label(row)] = (film, seen)
    return Found(values, films, look(person.name, new, shown, phones_beside(truth)), failures)


def kept_track(film: Path, *, anew: bool = False) -> Track:
    """The track of a film of the cache, measured once, or ``anew`` if the film is new."""
    path = film.with_suffix(".track.npz")
    known = None if anew else load_track(path)
    if known is None:
        known = track(film)
        known.save(path)
    return known


def reference_film(row: str, old: Path, new: Path) -> Path:
    """Where ``references`` keeps the film of a row: beside its take."""
    return {"truth": new / "truth.mp4", "nothing": old / "clip.mp4", "frozen": old / "frozen.mp4"}[row]


def references(old: Path, new: Path) -> dict[str, Values]:
    """Scores of the reference rows; with them, their films and tracks are made.

    No model changes them, so they are kept beside the takes, until any of our code changes.

    Raises:
        NoFaceFound: the mesh sees no face in one of the films.
    """
    record = new / "references.json"
    if record.is_file():
        kept = json.loads(record.read_text(encoding="utf-8"))
        if kept["code"] == _code():
            return dict(kept["rows"])
    source, truth = old / "clip.mp4", new / "clip.mp4"
    write_truth(truth, kept_track(truth), reference_film("truth", old, new))
    write_frozen(source, kept_track(source), reference_film("frozen", old, new))
    rows: dict[str, Values] = {}
    for row in REFERENCES:
        film = reference_film(row, old, new)
        seen = kept_track(film, anew=film != source)
        # A film that hears nothing is its own answer to silence; a silent take of B nobody has drawn.
        silence = _silence(None if row == "truth" else seen, kept_track(source))
        rows[row] = _scores(film, seen, old, new) | silence
    partial = record.with_suffix(".partial")
    partial.write_text(json.dumps({"code": _code(), "rows": rows}), encoding="utf-8")
    partial.replace(record)
    return rows


@lru_cache(maxsize=1)
def _code() -> str:
    """Stands for all our code: a reference row depends on much of it."""
    package = Path(__file__).parents[1]
    return sha256(b"".join(path.read_bytes() for path in sorted(package.rglob("*.py")))).hexdigest()


def _scores(film: Path, seen: Track, old: Path, new: Path) -> Values:
    """Lips and pictures of a film against take B."""
    source, truth = old / "clip.mp4", new / "clip.mp4"
    wanted = kept_track(truth)
    same_length(film, seen, truth, wanted)
    scores = lip_scores(seen, wanted, phones_beside(truth), kept_track(source))
    return scores | picture_scores(film, truth, wanted, source)


def _silent_track(person: Person, row: str, number: int, device: str) -> Track:
    """The person synced to silence."""
    silence, out = person.out / "silence.wav", person.out / f"{number}-silence.mp4"
    write_silence(silence, _SILENCE_S)
    _sync(person, silence, out, row, device, SyncConfig(length="shortest"))
    return track(out)


def _silence(seen: Track | None, old: Track) -> Values:
    """LipLeak of a film that shall be silent, if there is one."""
    if seen is None:
        return {"lipleak": None, "normalised_lipleak": None}
    frames = round(_SILENCE_S * old.fps)
    return {
        "lipleak": lips.lipleak(seen.landmarks[:frames]),
        "normalised_lipleak": lips.normalised_lipleak(seen.landmarks[:frames], old.landmarks[:frames]),
    }


def spoken(take: Path) -> SyncConfig:
    """The settings that tell a model what is said in a take."""
    about = json.loads((take / "meta.json").read_text(encoding="utf-8"))
    language = kokoro.language_of(about["voice_name"]) if about["natural"] else "en-us"
    return SyncConfig(transcript=about["text_spoken"], language=language)


def _sync(person: Person, speech: Path, out: Path, row: str, device: str, config: SyncConfig) -> None:
    sync_file(person.old / "clip.mp4", speech, out, models=_model(row, device), config=config)


@lru_cache(maxsize=1)
def _model(choice: str, device: str) -> Models:
    return load_models(choice, device)

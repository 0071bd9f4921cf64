"""A generated film against the true one: every metric that applies, for two files or two folders."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from keysync.errors import InputError, KeySyncError
from keysync.evaluate import lips
from keysync.evaluate.learned import METRICS, LearnedMetric
from keysync.evaluate.measure import Track, crops, picture_scores, same_length, track
from keysync.evaluate.pool import ENDED, pool
from keysync.evaluate.result import Look, Progress, Results, Values
from keysync.evaluate.rows import write_truth
from keysync.media.read import probe, read_speech

STRIP_FRAMES, STRIP_SIZE = 8, 112
_LEARNED_SIZE, _LEARNED_FPS = 512, 25
_LEARNED_LONGEST_S = 30  # learned metrics see a clip at once; 30 s of crops are 0.6 GB
_SILENT = 1e-3  # peak of samples below which a track is silence
VIDEO_ENDINGS = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"}


@dataclass(frozen=True, slots=True)
class Pair:
    """What belongs together."""

    name: str
    pred: Path
    ref: Path
    driving: Path | None = None  # the speech that ``pred`` was made with
    source: Path | None = None  # the film that ``pred`` was made from


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one pair: rows of values, and what to show."""

    rows: dict[str, Values]
    look: Look


def lip_scores(
    ours: Track, theirs: Track, phones: Sequence[lips.PhoneSpan] = (), source: Track | None = None
) -> Values:
    """The metrics of lips by name; ``theirs`` is the truth, ``source`` the film before syncing."""
    seen, wanted = lips.opening(ours.landmarks), lips.opening(theirs.landmarks)
    found: Values = {
        "opening_r": lips.correlation(seen, wanted),
        "width_r": lips.correlation(lips.width(ours.landmarks), lips.width(theirs.landmarks)),
        "sync_offset_ms": lips.sync_offset_ms(seen, wanted, theirs.fps),
        "shifted_opening_r": lips.shifted_opening_r(seen, wanted, theirs.fps),
        "lip_distance": lips.lip_distance(ours.landmarks, theirs.landmarks),
        "articulation": lips.articulation(seen, wanted),
    }
    if phones:
        found["closure_rate"] = lips.closure_rate(seen, phones, theirs.fps, lips.closed_below(wanted))
    if source is not None:
        found["leakage"] = lips.leakage(seen, lips.opening(source.landmarks), wanted)
    return found


def phones_beside(video: Path) -> list[lips.PhoneSpan]:
    """The phones of a drawn clip (``clip.mp4`` with ``labels.npz``); none for any other film."""
    labels = video.with_name("labels.npz")
    if video.name != "clip.mp4" or not labels.is_file():
        return []
    with np.load(labels, allow_pickle=False) as saved:
        columns = (saved[f"phone_{part}"].tolist() for part in ("names", "starts_s", "ends_s"))
        return list(zip(*columns, strict=True))


def measure_pair(pair: Pair) -> Measured:
    """All metrics that need no weights. Row ``pred``, and ``truth``: the reference through our codec.

    Raises:
        KeySyncError: a film cannot be read, shows no face, or the lengths differ.
    """
    ours, theirs = track(pair.pred), track(pair.ref)
    same_length(pair.pred, ours, pair.ref, theirs)
    source = None if pair.source is None else track(pair.source)
    if source is not None and pair.source is not None:
        same_length(pair.source, source, pair.ref, theirs)
    phones = phones_beside(pair.ref)
    with tempfile.TemporaryDirectory() as folder:
        truth = Path(folder) / "truth.mkv"
        write_truth(pair.ref, theirs, truth)
        again = track(truth)
        rows = {}
        for name, film, seen in (("truth", truth, again), ("pred", pair.pred, ours)):
            rows[name] = lip_scores(seen, theirs, phones, source)
            rows[name] |= picture_scores(film, pair.ref, theirs, pair.source)
    if pair.driving is not None and _is_silent(pair.driving):
        rows["pred"]["lipleak"] = lips.lipleak(ours.landmarks)
        if source is not None:
            rows["pred"]["normalised_lipleak"] = lips.normalised_lipleak(ours.landmarks, source.landmarks)
    films = {"truth": (pair.ref, theirs), "pred": (pair.pred, ours)}
    return Measured(rows, look(pair.name, theirs, films, phones))


def look(
    clip: str, where: Track, films: Mapping[str, tuple[Path, Track]], phones: list[lips.PhoneSpan]
) -> Look:
    """Strips and curves of some films of one scene."""
    moments = set(np.linspace(0, len(where) - 1, min(STRIP_FRAMES, len(where))).astype(int).tolist())
    strips = {
        name: np.hstack(list(crops(film, where, STRIP_SIZE, moments))) for name, (film, _) in films.items()
    }
    curves = {name: lips.opening(seen.landmarks) for name, (_, seen) in films.items()}
    return Look(clip, where.fps, strips, curves, phones)


def find_pairs(pred: Path, ref: Path, driving: Path | None, source: Path | None) -> Iterator[Pair | str]:
    """Two files, or two folders matched by stem; a string says what is missing for one clip."""
    if not pred.is_dir() and not ref.is_dir():
        yield Pair(pred.stem, pred, ref, driving, source)
        return
    if not (pred.is_dir() and ref.is_dir()):
        raise InputError(f"{pred} and {ref}: one is a folder, the other is not; give two of a kind")
    folders = {"pred": pred, "ref": ref, "driving": driving, "source": source}
    held = {kind: _by_stem(folder, kind) for kind, folder in folders.items() if folder is not None}
    names = sorted(held["pred"].keys() | held["ref"].keys())
    if not names:
        raise InputError(f"{pred}: no video in it; choose the folder that holds the results")
    for name in names:
        lacking = [kind for kind in held if name not in held[kind]]
        if lacking:
            place = folders[lacking[0]]
            yield f"{name}: no file of this name in {place}; add it or take its partner away"
        else:
            extra = {kind: held[kind][name] for kind in ("driving", "source") if kind in held}
            yield Pair(name, held["pred"][name], held["ref"][name], **extra)


def evaluate_pairs(
    pairs: Sequence[Pair | str],
    metrics: Sequence[str] | None = None,
    *,
    jobs: int = 1,
    device: str = "cpu",
    on_progress: Progress | None = None,
) -> Results:
    """Measure all pairs, ``jobs`` at a time; what fails is listed and the rest goes on."""
    results = Results({"suite": "pair"}, failures=[pair for pair in pairs if isinstance(pair, str)])
    good = [pair for pair in pairs if isinstance(pair, Pair)]
    if jobs == 1 or len(good) < 2:
        for count, pair in enumerate(good, start=1):
            _note(results, pair, partial(measure_pair, pair))
            if on_progress:
                on_progress("pairs", count, len(good))
    else:
        with pool(jobs) as workers:
            _collect(workers, good, results, on_progress)
    add_learned(
        results, [("pred", p) for p in good if p.name in results.rows.get("pred", {})], metrics, device
    )
    keep_metrics(results, metrics)
    return results


def add_learned(
    results: Results, films: Sequence[tuple[str, Pair]], metrics: Sequence[str] | None, device: str
) -> None:
    """Run the metrics that need weights, each where its weights are; name the others as absent.

    Crops are 512 px at 25 frames a second, 30 s of a clip at most.

    Raises:
        CheckpointError: a weight file that is there is altered or does not fit.
    """
    ready = []
    for name, kind in METRICS.items():
        if metrics is None or name in metrics:
            why = kind.absent()
            if why is None:
                ready.append(name)
            else:
                results.absent[name] = why
    for row in dict.fromkeys(row for row, _ in films) if ready else ():
        loaded = {name: METRICS[name].load(device) for name in ready}
        for pair in (pair for kept, pair in films if kept == row):
            try:
                values = _learned_values(loaded, pair)
            except KeySyncError as error:
                results.failures.append(f"{pair.name} {row}: {error}")
                continue
            results.add(row, pair.name, {name: value for name, value in values.items() if value is not None})
        results.totals[row] = {name: metric.total() for name, metric in loaded.items()}


def keep_metrics(results: Results, metrics: Sequence[str] | None) -> None:
    """Drop what was not asked for."""
    if metrics is None:
        return
    for clips in results.rows.values():
        for name, values in clips.items():
            clips[name] = {metric: value for metric, value in values.items() if metric in metrics}


def _learned_values(loaded: dict[str, LearnedMetric], pair: Pair) -> Values:
    where = track(pair.ref)
    grid = np.arange(
        0, min(where.times_s[-1] - where.times_s[0], _LEARNED_LONGEST_S) + 1e-6, 1 / _LEARNED_FPS
    )
    nearest = np.abs(where.times_s[:, None] - where.times_s[0] - grid).argmin(axis=0)
    pred, ref = (_picked(film, where, nearest) for film in (pair.pred, pair.ref))
    mouth = np.stack([where.points(index, _LEARNED_SIZE) for index in nearest])
    speech = _speech(pair, len(grid))
    return {name: metric.add(pred, ref, speech, mouth) for name, metric in loaded.items()}


def _picked(film: Path, where: Track, nearest: np.ndarray) -> UInt8[np.ndarray, "t h w 3"]:
    wanted = sorted(set(nearest.tolist()))
    found = dict(zip(wanted, crops(film, where, _LEARNED_SIZE, wanted), strict=True))
    return np.stack([found[index] for index in nearest.tolist()])


def _speech(pair: Pair, frames: int) -> Float32[np.ndarray, " n"] | None:
    path = pair.driving or (pair.pred if probe(pair.pred).has_audio else None)
    if path is None:
        return None
    speech = read_speech(path)
    return speech.samples(0, frames * speech.rate_hz // _LEARNED_FPS)


def _is_silent(path: Path) -> bool:
    speech = read_speech(path)
    step = 60 * speech.rate_hz
    peaks = (np.abs(speech.samples(k, min(k + step, len(speech)))).max() for k in range(0, len(speech), step))
    return float(max(peaks, default=0.0)) < _SILENT


def _by_stem(folder: Path, kind: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no folder, but the results are one; give a folder of files")
    files = (path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith("."))
    return {path.stem: path for path in files if kind == "driving" or path.suffix.lower() in VIDEO_ENDINGS}


def _collect(
    workers: ProcessPoolExecutor,
    pairs: list[Pair],
    results: Results,
    on_progress: Progress | None,
) -> None:
    queued = [(pair, workers.submit(measure_pair, pair)) for pair in pairs]
    for count, (pair, waiting) in enumerate(queued, start=1):
        _note(results, pair, waiting.result)
        if on_progress:
            on_progress("pairs", count, len(pairs))


def _note(results: Results, pair: Pair, measure: Callable[[], Measured]) -> None:
    try:
        measured = measure()
    except KeySyncError as error:
        results.failures.append(f"{pair.name}: {error}")
        return
    except BrokenProcessPool:
        results.failures.append(f"{pair.name}: {ENDED}")
        return
    for row, values in measured.rows.items():
        results.add(row, pair.name, values)
    results.looks.append(measured.look)

"""Real footage: nobody knows what the same person saying other words looks like, so less can be said.

Every clip of a folder is synced to its own sound (row ``reconstruction``: the film itself is the truth)
and to every speech file beside it (row ``cross``: no truth, so only what needs none), and to silence.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from keysync.config import SyncConfig
from keysync.errors import InputError, KeySyncError
from keysync.evaluate import lips
from keysync.evaluate.measure import Track, picture_scores, same_length, track
from keysync.evaluate.pair import VIDEO_ENDINGS, Pair, add_learned, keep_metrics, lip_scores, look
from keysync.evaluate.result import Progress, Results, Values
from keysync.evaluate.rows import write_silence
from keysync.media.read import probe
from keysync.models import Models
from keysync.pipeline import sync_file

_SPEECH = {".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus"}
# What a film says about itself or against its source; the rest would need the true film.
_WITHOUT_TRUTH = ("vl", "seam", "flicker", "outside_psnr_db", "outside_ssim")


def evaluate_real(
    folder: Path,
    models: Models,
    *,
    metrics: list[str] | None = None,
    on_progress: Progress | None = None,
) -> Results:
    """All clips and all speech files of ``folder``; what fails is listed and the rest goes on.

    Raises:
        InputError: no folder, or no video in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one with videos and speech files")
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    videos = [path for path in files if path.suffix.lower() in VIDEO_ENDINGS]
    speeches = [path for path in files if path.suffix.lower() in _SPEECH]
    if not videos:
        raise InputError(f"{folder}: no video in it; give a folder with videos and speech files")
    results = Results({"suite": "real", "folder": folder.name, "model": models.name})
    pairs: list[tuple[str, Pair]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for count, video in enumerate(videos, start=1):
            out = Path(scratch) / f"{count}"
            out.mkdir()
            try:
                pairs += _one(video, speeches, out, models, results)
            except KeySyncError as error:
                results.failures.append(f"{video.stem}: {error}")
            if on_progress:
                on_progress("clips", count, len(videos))
        add_learned(results, pairs, metrics, str(models.device))
    keep_metrics(results, metrics)
    return results


def _one(
    video: Path, speeches: list[Path], out: Path, models: Models, results: Results
) -> list[tuple[str, Pair]]:
    source = track(video)
    silence = out / "silence.wav"
    write_silence(silence, len(source) / source.fps)
    info = probe(video)
    results.add("source", video.stem, {"lipleak": lips.lipleak(source.landmarks)})
    results.add("source", video.stem, _without_truth(video, video, source, source))
    films = {"source": (video, source)}
    pairs = []
    jobs = [("reconstruction", video.stem, video)] if info.has_audio else []
    jobs += [("cross", f"{video.stem} + {speech.stem}", speech) for speech in speeches]
    jobs += [("silence", video.stem, silence)]
    for number, (row, name, speech) in enumerate(jobs):
        film = out / f"{number}.mkv"
        try:
            sync_file(video, speech, film, models=models, config=SyncConfig(length="video"))
            seen = track(film)
            same_length(film, seen, video, source)
            results.add(row, name, _values(row, film, seen, video, source))
        except KeySyncError as error:
            results.failures.append(f"{name} ({row}): {error}")
            continue
        films[row if row != "cross" else speech.stem] = (film, seen)
        if row == "reconstruction":
            pairs.append((row, Pair(name, film, video, speech)))
    results.looks.append(look(video.stem, source, films, []))
    return pairs


def _values(row: str, film: Path, seen: Track, video: Path, source: Track) -> Values:
    if row == "reconstruction":
        return lip_scores(seen, source) | picture_scores(film, video, source)
    if row == "silence":
        return {
            "lipleak": lips.lipleak(seen.landmarks),
            "normalised_lipleak": lips.normalised_lipleak(seen.landmarks, source.landmarks),
        }
    return _without_truth(film, video, seen, source)


def _without_truth(film: Path, video: Path, seen: Track, source: Track) -> Values:
    """``source_r``: r of the opening with the old mouth, 0 ideal; and how much the mouth moves beside it."""
    scores = picture_scores(film, video, source)
    found = {name: scores[name] for name in _WITHOUT_TRUTH}
    new, old = lips.opening(seen.landmarks), lips.opening(source.landmarks)
    return found | {"source_r": lips.correlation(new, old), "articulation": lips.articulation(new, old)}

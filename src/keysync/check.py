"""Before any heavy work: what will be synced, who, what not and why, how long it will take."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from keysync.audio.voice import Gated, gate
from keysync.cast import cast, rearranged, speakers
from keysync.clip import Frame
from keysync.config import SyncConfig
from keysync.errors import ConfigError, MediaError
from keysync.face.survey import Survey, survey
from keysync.face.track import face_tracker
from keysync.media.read import MediaInfo, probe, read_frames, read_speech
from keysync.outline import Outline
from keysync.report import Report
from keysync.speech import Speech
from keysync.timeline import Timeline, arrange

EVERY = 3  # frames: looking at each third one finds the same people and spans in a third of the time
# Of the compact model: seconds to paint a frame over seconds to look at one, and memory without and per
# pixel of a frame; from benchmarks/speed.py and benchmarks/memory.py, see docs/performance.md.
PAINT_TO_LOOK = 8.0
MEMORY_MB, MEMORY_BYTES_PER_PIXEL = 600, 240
SAM2_MEMORY_MB = 2050  # of a sync with SAM 2 of the smallest size, see docs/occlusion.md
_TILE = 320  # pixels, width of a picture in the sheet
_MOST_TILES = 24
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_COLOURS = ((80, 220, 80), (255, 160, 40), (80, 160, 255), (240, 90, 200), (240, 230, 60), (90, 230, 230))


@dataclass(frozen=True, slots=True)
class Check:
    """What ``keysync sync`` would do."""

    report: Report  # as a run would give it, for every third frame, without boxes
    survey: Survey
    line: Timeline
    info: MediaInfo
    problems: list[str]
    seconds: float  # that the sync will take on this machine, about
    memory_mb: int  # at its peak, about
    crop_size: int  # side of the crops that the survey leads to, pixels

    def write(self, path: Path) -> None:
        """As JSON."""
        report = self.report
        content = {
            "video": report.video,
            "speech": report.speech,
            "model": report.model,
            "seconds": float(report.end - report.start),
            "people": report.people,
            "synced_people": report.synced_people,
            "notes": report.notes,
            "recognised": report.recognised,
            "spans": report.spans(),
            "occluders": report.occluders(),
            "problems": self.problems,
            "estimate": {"seconds": round(self.seconds, 1), "memory_mb": self.memory_mb},
        }
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def sheet(self, path: Path) -> None:
        """A PNG: frames across the clip with everyone's box, number and state."""
        if not cv2.imwrite(str(path), cv2.cvtColor(_sheet(self), cv2.COLOR_RGB2BGR)):
            raise MediaError(
                f"{path}: cannot be written; give a path that ends in .png in a folder that exists"
            )


def check_file(
    video: Path,
    speech: Path | None,
    *,
    model: Outline,
    config: SyncConfig,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Check:
    """Look at every third frame and plan the sync, without loading the heavy networks.

    Args:
        speech: the new speech; None plans for the video's own length.
    Raises:
        InputError: a file cannot be read, no frame shows a face, the transcript is not what the speech
            says, or the plan does not fit into memory (a damaged header can make a sound of half a second
            last for hours).
        ConfigError: the settings do not fit together.
    """
    try:
        return _check(video, speech, model, config, on_progress)
    except MemoryError as error:
        raise MediaError(
            f"{video}: not enough memory to plan its sync; use shorter files, or look if one is damaged"
        ) from error


def _check(
    video: Path,
    speech: Path | None,
    model: Outline,
    config: SyncConfig,
    on_progress: Callable[[int, int | None], None] | None,
) -> Check:
    info = probe(video)
    if not info.has_video:
        raise MediaError(f"{video}: holds no picture; choose a video")
    report = Report(model=model.name, video=str(video), speech=str(speech or ""))
    texts = config.texts({}, [speech] if speech else [])
    sound = read_speech(speech) if speech else Speech([np.zeros(1, np.float32)])
    gated = gate(sound)
    if config.recognise and not speech:
        raise ConfigError("there is no speech to recognise; add one")
    if speech and (texts or config.recognise or config.occlusion != "off"):  # each brings PyTorch, see below
        _listen(speech, gated, model, texts.get(speech), config, report)
    moments = [time.perf_counter()]

    def looked(done: int) -> None:
        moments.append(time.perf_counter())
        if on_progress:
            on_progress(done, total)

    times: list[Fraction] = []

    def some() -> Iterator[Frame]:
        for frame in read_frames(video):
            times.append(frame.time)
            if len(times) % EVERY == 1:
                yield frame

    total = info.frames and -(-info.frames // EVERY)
    seen = survey(
        some(),
        face_tracker(),
        model.framing,
        model.image_size,
        on_progress=looked,
    )
    config_length = config.length if speech else "video"
    last_s = times[-1] - seen.times[-1] + times[-1] - times[-2] if len(times) > 1 else None
    line = arrange(seen.times, sound.duration_s, config_length, config.extend, seen.shots[-1], last_s=last_s)
    whom = speakers(seen, speech or video, {}, info, config, report)
    refining, least_mb = 0.0, 0
    if config.occlusion != "off":
        # They bring PyTorch, which takes longer to import than all the rest of a check.
        import torch

        from keysync.models import load_occlusion
        from keysync.occluders import find_occluders, refine_occluders

        looking = load_occlusion(config.occlusion, torch.device("cpu"))
        if looking is not None:
            again = islice(read_frames(video), 0, None, EVERY)
            seen = find_occluders(again, seen, whom, looking.finder, model.image_size)
        if looking is not None and looking.follower is not None:
            again, begin = islice(read_frames(video), 0, None, EVERY), time.perf_counter()
            seen = refine_occluders(
                again, seen, whom, looking.follower, model.image_size,
                clicks=config.clicks(), on_note=report.note,
            )  # fmt: skip
            refining, least_mb = time.perf_counter() - begin, SAM2_MEMORY_MB
    parts = cast(rearranged(seen, line), line, {speech or video: gated}, whom, config, report)
    for number, moment in enumerate(line.times):
        roles = [part.role for part in parts]
        covers = [role.covers.get(number) for role in roles]
        report.add(moment, [role.states[number] for role in roles], [], covers)
    painted = EVERY * sum(len(run) for part in parts for run in part.role.runs)
    per_look = float(np.median(np.diff(moments)))  # the first ones take longer: everything is cold
    seconds = per_look * (EVERY * len(seen.times) + PAINT_TO_LOOK * painted) + EVERY * refining
    return Check(
        report,
        seen,
        line,
        info,
        _problems(info, line, sound, speech, report),
        seconds,
        max(round(MEMORY_MB + MEMORY_BYTES_PER_PIXEL * info.width * info.height / 1e6), least_mb),
        model.image_size,
    )


def _listen(
    path: Path, speech: Gated, model: Outline, text: str | None, config: SyncConfig, report: Report
) -> None:
    """Tell what of a speech is hard to hear, or is not what its words say."""
    import torch

    from keysync.audio.recognise import open_recogniser
    from keysync.models import compact_ear
    from keysync.movement import hear

    ear = compact_ear() if model.kind == "compact" else None
    hear(
        path, speech, ear, torch.device("cpu"), report,
        text=text, language=config.language, recogniser=open_recogniser() if config.recognise else None,
    )  # fmt: skip


def _problems(
    info: MediaInfo, line: Timeline, sound: Speech, speech: Path | None, report: Report
) -> list[str]:
    """What the user may want to mend first, one line each."""
    problems = []
    picture_s, speech_s = float(line.end - line.start), float(sound.duration_s)
    if speech and (missing := len(line) - line.extended_from):
        problems.append(
            f"the speech is longer than the picture: about {missing * EVERY} frames will be made up"
        )
    if speech and report.speech_cut_s > 0:
        problems.append(f"the last {float(report.speech_cut_s):.2f} s of the speech have no picture")
    if speech and picture_s - speech_s > 0.2:
        problems.append(f"the lips rest for the last {picture_s - speech_s:.2f} s: the speech is over")
    if not info.has_audio and len(report.people) > 1:
        problems.append("the video has no sound of its own: who speaks in it cannot be told")
    if not any(state in ("synced", "silent") for state in report.states):
        problems.append("no frame can be synced")
    if sound.variance**0.5 < 0.003 and speech:
        problems.append("the speech is very quiet or silent")
    return problems


def _sheet(check: Check) -> UInt8[np.ndarray, "h w 3"]:
    """Frames across the clip, each shot at least once while there is room."""
    times = check.survey.times
    picks = {
        *check.survey.shots[:_MOST_TILES],
        *np.linspace(0, len(times) - 1, 12).round().astype(int).tolist(),
    }
    wanted = {times[k]: k for k in sorted(picks)[:_MOST_TILES]}
    tiles = []
    for frame in read_frames(check.info.path):
        if frame.time in wanted:
            tiles.append(_tile(check, wanted[frame.time], frame.rgb()))
    while len(tiles) % 4:
        tiles.append(np.full_like(tiles[0], 30))
    return np.concatenate([np.concatenate(tiles[k : k + 4], axis=1) for k in range(0, len(tiles), 4)])


def _tile(check: Check, number: int, rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "y x 3"]:
    scale = _TILE / rgb.shape[1]
    tile = cv2.resize(rgb, (_TILE, round(rgb.shape[0] * scale)), interpolation=cv2.INTER_AREA)
    for seen in check.survey.appearances:
        if not seen.first <= number < seen.first + len(seen.landmarks):
            continue
        points = seen.landmarks[number - seen.first] * scale
        cover = seen.covers[number - seen.first] if seen.covers else None
        if cover is not None:  # red, what was found before the face
            from keysync.occluders import in_frame

            alpha = in_frame(
                cover, seen.to_crop[number - seen.first] / scale, check.crop_size, tile.shape[:2]
            )
            red = np.float32(0.6) * alpha[..., None]
            tile[:] = tile * (1 - red) + np.array([255, 0, 0]) * red
        low, high = points.min(axis=0).astype(int), points.max(axis=0).astype(int)
        colour = _COLOURS[(seen.person - 1) % len(_COLOURS)]
        chosen = seen.person in check.report.synced_people
        cv2.rectangle(tile, low.tolist(), high.tolist(), colour, 2 if chosen else 1)
        cv2.putText(tile, str(seen.person), (int(low[0]), int(low[1]) - 4), _FONT, 0.6, colour, 2)
    state = check.report.states[number] if number < len(check.report.states) else "cut off"
    text = f"{float(check.survey.times[number]):.2f} s  {state}"
    cv2.putText(tile, text, (6, tile.shape[0] - 8), _FONT, 0.45, (0, 0, 0), 3)
    cv2.putText(tile, text, (6, tile.shape[0] - 8), _FONT, 0.45, (255, 255, 255), 1)
    return np.asarray(tile, np.uint8)

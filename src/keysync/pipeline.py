"""The whole flow on one page: a video and a speech in, the synced video out.

move      listen: how a mouth moves that says the speech, or its words if they are known
survey    look through the clip once: shots, people, where their faces are
uncover   look again: what is before the faces of those who shall speak
refine    where asked for, once more: follow each of those things
arrange   how long the result is, and which frame is seen when
cast      whom to sync, and in which frames
perform   per person: encode the faces, sample keyframes, fill the frames between them
show      decode each face and paste it into its frame
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float32

from keysync import memory
from keysync.audio.recognise import open_recogniser
from keysync.audio.voice import Gated, gate
from keysync.cast import Part, cast, rearranged, speakers
from keysync.clip import Frame
from keysync.composite.blend import bounds, keep_texture, match_colour, match_mouth, paste_mask, split_texture
from keysync.composite.paste import paste, trim
from keysync.config import SyncConfig
from keysync.diffusion.autoencoder import Surroundings, to_image
from keysync.errors import ConfigError, MediaError
from keysync.face.crop import crop, uncrop
from keysync.face.survey import survey
from keysync.job import Job, work_folder
from keysync.mask.occlusion import on_top, uncovered
from keysync.mask.region import lower_face_box, to_latent
from keysync.media.read import probe, read_frames, read_speech
from keysync.media.replay import Replay
from keysync.media.write import VideoWriter, require_space
from keysync.models import Models, load_occlusion
from keysync.movement import hear, knows_our_phones
from keysync.occluders import find_occluders, refine_occluders, save_masks
from keysync.parallel import in_order
from keysync.perform import Painted, perform
from keysync.report import Box, Report
from keysync.timeline import arrange, needed

Progress = Callable[[str, int, int | None], None]  # step, frames done, frames in all


def sync_file(
    video: str | Path,
    speech: str | Path | Mapping[int, str | Path],
    output: str | Path,
    *,
    models: Models,
    config: SyncConfig | None = None,
    on_progress: Progress | None = None,
    masks: Path | None = None,
) -> Report:
    """Make the mouth in ``video`` say ``speech``; write ``output``.

    Everything streams. Nothing stands under the name ``output`` before the file is complete; until then
    the folder ``OUTPUT.keysync`` keeps the work so far, for ``config.resume``.

    Args:
        speech: one, for whom ``config.speaker`` names; or several, by the number of the person who says it.
        on_progress: told the step (``listen``, ``look``, ``uncover``, ``refine`` or ``sync``), how many
            frames, or speeches, are done and how many there are.
        masks: folder for films of what was found before each face.
    Raises:
        InputError: a file cannot be read or written, or no frame shows a face.
        ConfigError: the settings do not fit together.
    """
    config = config or SyncConfig()
    video, output = Path(video), Path(output)
    assigned = {who: Path(path) for who, path in speech.items()} if isinstance(speech, Mapping) else {}
    spoken = list(assigned.values()) if isinstance(speech, Mapping) else [Path(speech)]
    for path in (video, *spoken):
        if path.exists() and output.exists() and path.samefile(output):
            raise ConfigError(f"{output}: is also an input; choose another name for the output")
    texts = config.texts(assigned, spoken)
    info = probe(video)
    if not info.has_video:
        raise MediaError(f"{video}: holds no picture; choose a video")
    writer = VideoWriter(
        output, info, codec=config.video_codec, crf=config.crf, audio=spoken, source=video,
        keep_background_db=config.keep_background_db, scratch=work_folder(output),
    )  # fmt: skip
    require_space(output, info, config.video_codec, video)
    looking = load_occlusion(config.occlusion, models.device)
    settings = _settings(video, spoken, assigned, models, looking.digest if looking else "", config)
    job = Job(output, settings, resume=config.resume)
    report = Report(
        model=models.name, video=str(video), speech=", ".join(map(str, spoken)), output=str(output)
    )

    def tell(step: str, total: int | None) -> Callable[[int], None]:
        return lambda done: on_progress(step, done, total) if on_progress else None

    encoder = models.keyframes.encoder
    ear = encoder if knows_our_phones(encoder) else None
    recogniser = open_recogniser() if config.recognise else None
    sounds: dict[Path, Gated] = {}
    mouths: dict[Path, Float32[np.ndarray, "all curves"] | None] = {}
    listened = tell("listen", len(set(spoken)))
    listened(0)
    # Before the long look, which a wrong text shall not cost.
    for number, path in enumerate(dict.fromkeys(spoken), start=1):
        sounds[path] = gate(read_speech(path))
        mouths[path] = hear(
            path, sounds[path], ear, models.device, report,
            text=texts.get(path), language=config.language, recogniser=recogniser,
        )  # fmt: skip
        listened(number)
    heard_s = max(sound.duration_s for sound in sounds.values())
    with report.clock("face"):
        seen = survey(
            needed(read_frames(video), heard_s, config.length),
            models.tracker,
            models.framing,
            models.image_size,
            on_progress=tell("look", info.frames),
        )
    line = arrange(seen.times, heard_s, config.length, config.extend, seen.shots[-1])
    whom = speakers(seen, spoken[0], assigned, info, config, report)
    with report.clock("occlusion"):
        if looking is not None:
            seen = find_occluders(
                read_frames(video), seen, whom, looking.finder, models.image_size,
                on_progress=tell("uncover", info.frames),
            )  # fmt: skip
        if looking is not None and looking.follower is not None:
            seen = refine_occluders(
                read_frames(video), seen, whom, looking.follower, models.image_size,
                clicks=config.clicks(), on_note=report.note, on_progress=tell("refine", info.frames),
            )  # fmt: skip
        looking = None  # its networks need not wait in memory while faces are painted
    if masks is not None:
        save_masks(masks, seen, models.image_size, (info.height, info.width))
    parts = cast(rearranged(seen, line), line, sounds, whom, config, report)
    parts = [replace(part, mouth=mouths[whom[part.role.person]]) for part in parts]
    replay = Replay(video, line.order, line.times)
    with job, writer:
        advance = tell("sync", len(line))
        for frame in sync(replay, parts, models, config, report, job):
            with report.clock("write"):
                writer.write(frame.picture, frame.time)
            advance(report.frames)
    return report


def sync(
    read: Callable[[], Iterator[Frame]],
    parts: list[Part],
    models: Models,
    config: SyncConfig,
    report: Report,
    job: Job | None = None,
) -> Iterator[Frame]:
    """The synced frames, in order. No files, no globals.

    Args:
        read: starts the clip from its first frame. Called twice for each part, to look ahead for portraits
            and through a stretch, and once to paste: a stretch is up to some 170 frames, and of an 8K film
            they would fill 8 GB.
    """
    performances = [perform(read, part, models, config, report, job) for part in parts]
    roles = [part.role for part in parts]

    def paintings() -> Iterator[tuple[Frame, list[Painted | None]]]:
        for frame in read():
            yield frame, [next(performance) for performance in performances]

    def shown(task: tuple[Frame, list[Painted | None]]) -> tuple[Frame, list[Box]]:
        frame, boxes = task[0], list[Box]()
        for face in task[1]:
            if face is not None:
                frame, box = _show(frame, face, models, report)
                boxes += box
        return frame, boxes

    for number, (frame, boxes) in enumerate(in_order(shown, paintings())):
        if number % memory.EVERY == 0:
            memory.give_back()
        covers = [role.covers.get(number) for role in roles]
        report.add(frame.time, [role.states[number] for role in roles], boxes, covers)
        yield frame


@torch.no_grad()
def _show(frame: Frame, painted: Painted, models: Models, report: Report) -> tuple[Frame, list[Box]]:
    """Decode one face and paste it into its frame; also the box that it may have changed, if any."""
    run, place = painted.run, painted.place
    points = run.points(place)
    box_mask = lower_face_box(points, models.image_size)
    with report.clock("paste"):
        whole = frame.rgb()
        original = crop(whole, run.to_crop[place], models.image_size)
        alpha = paste_mask(points, box_mask)
        kept = on_top(run.cover(place), original)
        if kept is not None:
            alpha *= 1 - kept
    if not run.strength[place] or not alpha.any():
        return frame, []
    shown = bounds(alpha > 0, margin=1)
    with report.clock("decode"):
        factor = models.autoencoder.factor
        cells = uncovered(to_latent(box_mask, factor), run.cover(place))
        cells = cells.repeat(factor, axis=0).repeat(factor, axis=1)
        mask = torch.from_numpy(cells).to(models.device)[None, None]
        still = to_image(original, models.device).masked_fill(mask > 0, 0)
        around = Surroundings(painted.portrait.crop, still, mask.to(still))
        image = models.autoencoder.decode(painted.latent[None], around)[0, :, *shown]
        paint = cv2.merge([*((image.clamp(-1, 1) + 1) * 127.5).float().cpu().numpy()])
        # What the network was not asked to repaint it may have painted anyhow.
        face = original.astype(np.float32)
        face[shown] = cv2.copyTo(paint, cells[shown], face[shown])
    with report.clock("paste"):
        face = match_colour(face, original, alpha, points)
        face = match_mouth(face, painted.portrait.mouth, points)
        face, coarse, own = split_texture(face, original, alpha, points, models.autoencoder.softness)
        shape, corner = (frame.picture.height, frame.picture.width), (shown[1].start, shown[0].start)
        patch = cv2.merge([face[shown], alpha[shown] * run.strength[place]])
        patch, box = uncrop(patch, run.to_crop[place], shape, corner)
        base, _ = uncrop(cv2.merge([coarse[shown], own[shown]]), run.to_crop[place], shape, corner)
        patch, box = trim(np.dstack([patch, base]), box)
        if not patch.size:  # the mouth lies outside the frame
            return frame, []
        below = whole[box[1] : box[3], box[0] : box[2]]
        colours = keep_texture(patch[..., :3], below, patch[..., 4:7], patch[..., 7])
        picture = paste(frame.picture, colours, patch[..., 3], box)
    return replace(frame, picture=picture), [box]


def _settings(
    video: Path,
    spoken: list[Path],
    assigned: dict[int, Path],
    models: Models,
    occlusion: str,
    config: SyncConfig,
) -> dict[str, object]:
    """Everything that decides what the result looks like; ``occlusion`` is the digest of those weights."""
    files = {str(path.resolve()): [path.stat().st_size, path.stat().st_mtime_ns] for path in (video, *spoken)}
    settings = asdict(replace(config, resume=False))
    return {
        "files": files,
        "assigned": {person: str(path) for person, path in assigned.items()},
        "model": models.name,
        "weights": models.digest,
        "occlusion": occlusion,
        "settings": settings,
    }

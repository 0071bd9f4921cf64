"""The whole flow on one page: a video and a speech in, the synced video out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from keysync.clip import AlignedFace, Frame
from keysync.composite.blend import match_colour, paste_mask
from keysync.composite.paste import paste, trim
from keysync.config import SyncConfig
from keysync.errors import ConfigError, MediaError, NoFaceFound
from keysync.face.crop import align_faces, crop, to_crop_points, uncrop
from keysync.face.track import smooth
from keysync.generate.interpolate import interpolate
from keysync.generate.keyframes import make_keyframes
from keysync.generate.layout import Layout
from keysync.generate.stage import Prepared
from keysync.mask.region import lower_face_box, to_latent
from keysync.media.read import probe, read_frames, read_speech
from keysync.media.write import VideoWriter
from keysync.models import Models, StageModel
from keysync.report import Report
from keysync.speech import Speech


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the networks are told of one frame; the frame itself is read again when it is shown."""

    time: Fraction
    face: AlignedFace | None
    latent: Float[Tensor, "c h w"]  # of the aligned crop; without a face, the last one seen
    mask: UInt8[np.ndarray, "h w"]  # 1 = repaint


def sync_file(
    video: str | Path,
    speech: str | Path,
    output: str | Path,
    *,
    models: Models,
    config: SyncConfig | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Report:
    """Make the mouth in ``video`` say ``speech``; write ``output``.

    The video streams through, one stretch of frames at a time. Nothing stands under the name ``output``
    before the file is complete.

    Raises:
        InputError: a file cannot be read or written, or no frame shows a face.
        ConfigError: the settings do not fit together.
    """
    config = config or SyncConfig()
    video, speech, output = Path(video), Path(speech), Path(output)
    for path in (video, speech):
        if path.exists() and output.exists() and path.samefile(output):
            raise ConfigError(f"{output}: is also an input; choose another name for the output")
    info = probe(video)
    if not info.has_video:
        raise MediaError(f"{video}: holds no picture; choose a video")
    sound = read_speech(speech)
    report = Report(model=models.name, video=str(video), speech=str(speech), output=str(output))

    def read() -> Iterator[Frame]:
        return _fit_length(read_frames(video), sound, config, report)

    with VideoWriter(output, info, codec=config.video_codec, crf=config.crf, audio=speech) as writer:
        for frame in sync(read, sound, models, config, report):
            with report.clock("write"):
                writer.write(frame.picture, frame.time)
            if on_progress:
                on_progress(report.frames, info.frames)
        if report.synced == 0:
            raise NoFaceFound(f"{video}: no face in any of {report.frames} frames; use a clip that shows one")
    return report


def sync(
    read: Callable[[], Iterator[Frame]], speech: Speech, models: Models, config: SyncConfig, report: Report
) -> Iterator[Frame]:
    """The synced frames, one for every input frame, in order. No files, no globals.

    Works through the clip in stretches of one keyframe group: sample the keyframes, fill the windows
    between them, decode, paste, hand on; the last keyframe starts the next stretch.

    Args:
        read: starts the clip from its first frame. Called twice, once to look ahead and once to paste: a
            stretch is some 170 frames, and of an 8K film they would fill 8 GB if they were kept.
    """
    layout, seed = models.layout, config.seed
    hear = {stage.name: stage.listen(speech) for stage in (models.keyframes, models.interpolation)}
    seen, frames = _look(read(), models, report), read()
    for first_seen in seen:
        if first_seen.face is not None:
            break
        yield report.passed(next(frames))
    else:
        return

    def told(stretch: list[_Seen], first: int, stage: StageModel) -> Prepared:
        with report.clock("audio"):
            times = [s.time - report.start for s in stretch]
            audio = hear[stage.name](times)
        latents = torch.stack([s.latent for s in stretch])
        masks = np.stack([s.mask for s in stretch])
        return Prepared(first, latents, torch.from_numpy(masks)[:, None].to(latents), audio.to(latents))

    identity = told([first_seen], 0, models.keyframes)
    stretch, first = [first_seen], 0
    known: Float[Tensor, "1 c h w"] | None = None
    for last in _fill(stretch, seen, layout):
        positions = layout.keyframes(len(stretch))
        fresh = positions if known is None else positions[1:]
        keys = [] if known is None else [known]
        with report.clock("keyframes"):
            stage = models.keyframes.stage(config.steps)
            for group in layout.groups(fresh):
                prepared = told(stretch, first, models.keyframes)
                keys.append(make_keyframes(prepared, group, identity, stage, layout.group, seed))
        keyframes = torch.cat(keys)

        if len(stretch) == 1:
            yield _show(next(frames), stretch[0].face, keyframes[0], models, report)
        prepared = told(stretch, first, models.interpolation)
        stage = models.interpolation.stage(config.steps)
        windows = layout.windows(positions)
        for i in range(0, len(windows), stage.rows):
            batch = windows[i : i + stage.rows]
            with report.clock("interpolation"):
                latents = interpolate(prepared, batch, keyframes[i : i + len(batch) + 1], stage, seed)
            for (begin, end), window in zip(batch, latents, strict=True):
                # The window's last frame is the next one's first; only the clip's very last is shown here.
                stop = end + 1 if last and end >= len(stretch) - 1 else end
                for place in range(begin, min(stop, len(stretch))):
                    yield _show(next(frames), stretch[place].face, window[place - begin], models, report)
        known, first = keyframes[-1:], first + positions[-1]
        del stretch[:-1]


def _fill(stretch: list[_Seen], seen: Iterator[_Seen], layout: Layout) -> Iterator[bool]:
    """Append one keyframe group's frames to ``stretch``, again and again; yields whether the clip ended."""
    # The first group brings its own first keyframe; later ones start from the last one of the group before.
    wanted = layout.spacing * (layout.keyframes_per_group - 1) + 1
    while True:
        while len(stretch) < wanted and (ahead := next(seen, None)) is not None:
            stretch.append(ahead)
        ended = len(stretch) < wanted
        yield ended
        if ended:
            return
        wanted = layout.spacing * layout.keyframes_per_group + 1


def _look(frames: Iterable[Frame], models: Models, report: Report) -> Iterator[_Seen]:
    """Find, steady and crop the face of every frame, and encode it."""
    size, factor = models.image_size, models.autoencoder.factor
    waiting: list[Frame] = []

    def remember() -> Iterator[Frame]:
        for frame in frames:
            waiting.append(frame)
            yield frame

    cells = size // factor
    held = (torch.zeros(models.autoencoder.channels, cells, cells), np.zeros((cells, cells), np.uint8))
    aligned = align_faces(smooth(models.tracker.follow(remember())), models.framing, size)
    while True:
        with report.clock("face"):
            try:
                face = next(aligned)
            except StopIteration:
                return
        frame = waiting.pop(0)
        if face is not None:
            with report.clock("encode"), torch.no_grad():
                picture = torch.from_numpy(crop(frame.rgb(), face.to_crop, size)).to(models.device)
                latent = models.autoencoder.encode(picture.permute(2, 0, 1)[None] / 127.5 - 1)[0]
                held = (latent, to_latent(lower_face_box(to_crop_points(face), size), factor))
        yield _Seen(frame.time, face, *held)


def _show(
    frame: Frame, face: AlignedFace | None, latent: Float[Tensor, "c h w"], models: Models, report: Report
) -> Frame:
    """Decode one face and paste it into its frame; a frame without a face leaves as it came."""
    if face is None:
        return report.passed(frame)
    with report.clock("decode"), torch.no_grad():
        image = models.autoencoder.decode(latent[None])[0].permute(1, 2, 0)
        painted = ((image.clamp(-1, 1) + 1) * 127.5).float().cpu().numpy()
    with report.clock("paste"):
        size, points = models.image_size, to_crop_points(face)
        alpha = paste_mask(points, lower_face_box(points, size))
        painted = match_colour(painted, crop(frame.rgb(), face.to_crop, size), alpha)
        shape = (frame.picture.height, frame.picture.width)
        patch, box = trim(*uncrop(np.dstack([painted, alpha]), face.to_crop, shape))
        if not patch.size:  # the mouth lies outside the frame
            return report.passed(frame)
        picture = paste(frame.picture, patch[..., :3], patch[..., 3], box)
    report.painted(frame, box)
    return replace(frame, picture=picture)


def _fit_length(
    frames: Iterator[Frame], speech: Speech, config: SyncConfig, report: Report
) -> Iterator[Frame]:
    """End the picture where ``config.length`` says; hold the last frame if the sound goes on."""
    frame: Frame | None = None
    step, end = Fraction(1, 25), speech.duration_s
    report.speech_s = speech.duration_s
    for following in frames:
        if frame is None:
            report.start = following.time
            end = following.time + speech.duration_s
        else:
            step = following.time - frame.time
        if config.length != "video" and following.time >= end:
            return
        frame = following
        report.end = frame.time + step
        yield frame
    if frame is None:
        return
    while config.length == "audio" and frame.time + step < end:
        frame = replace(frame, time=frame.time + step)
        report.end = frame.time + step
        yield frame

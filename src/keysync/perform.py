"""One person's performance: from frames and speech to the latents of every repainted face.

Each run of frames is worked through in stretches of one keyframe group: encode the faces, sample the
keyframes, fill the windows between them. The last keyframe of a stretch starts the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from keysync import memory
from keysync.cast import Part, Run
from keysync.clip import Frame
from keysync.composite.blend import lip_colour
from keysync.config import SyncConfig
from keysync.diffusion.autoencoder import to_image
from keysync.face.crop import crop
from keysync.generate.interpolate import interpolate
from keysync.generate.keyframes import make_keyframes
from keysync.generate.stage import Prepared
from keysync.job import Job
from keysync.mask.occlusion import uncovered
from keysync.mask.region import lower_face_box, to_latent
from keysync.models import Models, StageModel
from keysync.report import Report

Latent = Float[Tensor, "c h w"]
Picture = UInt8[np.ndarray, "s s 3"]
Image = Float[Tensor, "1 3 s s"]  # a picture as networks take it
Ear = Callable[[Sequence[Fraction]], Float[Tensor, "frames tokens dim"]]


@dataclass(frozen=True, slots=True)
class Painted:
    """A repainted face: frame ``place`` of ``run``."""

    run: Run
    place: int
    latent: Latent
    portrait: Image  # crop of the frame that shows best who this is
    lips: Float32[np.ndarray, " 2"]  # their colour there, see ``lip_colour``


def perform(
    read: Callable[[], Iterator[Frame]],
    part: Part,
    models: Models,
    config: SyncConfig,
    report: Report,
    job: Job | None,
) -> Iterator[Painted | None]:
    """What to paint into every frame; None where it stays as it is. Looks one stretch ahead.

    Args:
        read: starts the clip from its first frame; called once more to fetch each run's portrait.
    """
    ears = {stage.name: stage.listen(part.speech) for stage in (models.keyframes, models.interpolation)}
    frames, ahead = read(), read()
    number = fetched = 0
    for run in part.role.runs:
        for _ in range(run.first - number):
            next(frames)
            yield None
        face = run.portrait(open_mouth=models.layout.open_portrait)
        frame = next(islice(ahead, run.first + face - fetched, None))
        fetched = run.first + face + 1
        picture = _crop(frame, run, face, models)
        portrait, lips = to_image(picture, models.device), lip_colour(picture, run.points(face))
        acted = _act(frames, run, (face, portrait), part, ears, models, config, report, job)
        for place, latent in enumerate(acted):
            yield Painted(run, place, latent, portrait, lips)
        number = run.last + 1
    for _ in range(len(part.hears) - number):
        yield None


def _act(
    frames: Iterator[Frame],
    run: Run,
    who: tuple[int, Image],
    part: Part,
    ears: dict[str, Ear],
    models: Models,
    config: SyncConfig,
    report: Report,
    job: Job | None,
) -> Iterator[Latent]:
    """The latents of one run, in order; ``who`` is its portrait and the place that shows it."""
    layout, device = models.layout, models.device

    def told(places: Sequence[int], latents: Float[Tensor, "n c h w"], stage: StageModel) -> Prepared:
        with report.clock("audio"):
            audio = ears[stage.name]([part.hears[run.first + place] for place in places])
        masks = np.stack([_mask(run, place, models) for place in places])
        return Prepared(
            run.first + places[0], latents, torch.from_numpy(masks)[:, None].to(latents), audio.to(latents)
        )

    face, portrait = who
    identity = _encode(portrait, models, report)[None]
    known: Float[Tensor, "1 c h w"] | None = None  # the keyframe that ended the stretch before
    carry: Float[Tensor, "1 c h w"] | None = None  # the input of that frame
    for first, stop in layout.stretches(len(run)):
        positions = layout.keyframes(stop - first)
        read = range(first if carry is None else first + 1, min(first + positions[-1] + 1, len(run)))
        name = f"{part.role.person}-{run.first + first}"
        if job and (saved := job.load(name)):
            saved = {key: value.to(device) for key, value in saved.items()}
            for _ in read:
                next(frames)
            yield from saved["latents"].to(identity)
            known, carry = saved["known"], saved["carry"]
            continue

        fresh = []
        for place in read:
            picture = to_image(_crop(next(frames), run, place, models), device)
            fresh.append(_encode(picture, models, report))
            if place % memory.EVERY == 0:
                memory.give_back()
        latents = torch.stack(fresh) if carry is None else torch.cat([carry, *(z[None] for z in fresh)])
        places = range(first, first + len(latents))
        keys = [] if known is None else [known]
        with report.clock("keyframes"):
            prepared = told(places, latents, models.keyframes)
            own = told([face], identity, models.keyframes)
            for group in layout.groups(positions[len(keys) :]):
                stage = models.keyframes.stage(config.steps)
                keys.append(make_keyframes(prepared, group, own, stage, layout.group, config.seed))
        keyframes = torch.cat(keys)

        prepared = told(places, latents, models.interpolation)
        stage, windows = models.interpolation.stage(config.steps), layout.windows(positions)
        shown: list[Latent] = []
        for i in range(0, len(windows), stage.rows):
            batch = windows[i : i + stage.rows]
            with report.clock("interpolation"):
                filled = interpolate(prepared, batch, keyframes[i : i + len(batch) + 1], stage, config.seed)
            # Rounded here and not only on disk, so that a resumed run shows the same frames.
            new = list(filled[:, :-1].flatten(0, 1).half().to(latents))[: stop - first - len(shown)]
            shown += new
            yield from new
        if len(shown) < stop - first:  # the run ends on a keyframe
            shown.append(keyframes[len(windows)].half().to(latents))
            yield shown[-1]
        known, carry = keyframes[-1:], latents[-1:]
        if job:
            job.save(name, latents=torch.stack(shown).half(), known=known, carry=carry)


def _mask(run: Run, place: int, models: Models) -> np.ndarray:
    box = lower_face_box(run.points(place), models.image_size)
    return uncovered(to_latent(box, models.autoencoder.factor), run.cover(place))


def _crop(frame: Frame, run: Run, place: int, models: Models) -> Picture:
    return crop(frame.rgb(), run.to_crop[place], models.image_size)


@torch.no_grad()
def _encode(picture: Image, models: Models, report: Report) -> Latent:
    with report.clock("encode"):
        return models.autoencoder.encode(picture)[0]

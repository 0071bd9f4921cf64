"""One person's performance: from frames and speech to the latents of every repainted face.

Each run of frames is worked through in stretches of one keyframe group: encode the faces, sample the
keyframes, fill the windows between them. The last keyframe of a stretch starts the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from keysync import memory
from keysync.cast import Part, Run
from keysync.clip import Frame
from keysync.composite.blend import MouthColour, mouth_colour
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
from keysync.portrait import choose_portraits
from keysync.report import Report

Latent = Float[Tensor, "c h w"]
Picture = UInt8[np.ndarray, "s s 3"]
Image = Float[Tensor, "1 3 s s"]  # a picture as networks take it
Ear = Callable[[Sequence[Fraction]], Float[Tensor, "frames tokens dim"]]


@dataclass(frozen=True, slots=True)
class Portrait:
    """The frame that shows best who this is, at ``place`` of its run."""

    place: int
    crop: Image
    latent: Latent
    mouth: MouthColour


@dataclass(frozen=True, slots=True)
class Painted:
    """A repainted face: frame ``place`` of ``run``."""

    run: Run
    place: int
    latent: Latent
    portrait: Portrait


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
        read: starts the clip from its first frame; called once more to fetch portraits.
    """
    stages = (models.keyframes, models.interpolation)
    ears = {stage.name: stage.listen(part.speech, part.mouth) for stage in stages}
    frames, ahead = read(), enumerate(read())
    number = 0
    for run in part.role.runs:
        for _ in range(run.first - number):
            next(frames)
            yield None
        portraits = _portraits(ahead, run, models, report)
        acted = _act(frames, run, portraits, part, ears, models, config, report, job)
        for place, (latent, portrait) in enumerate(acted):
            yield Painted(run, place, latent, portrait)
        number = run.last + 1
    for _ in range(len(part.hears) - number):
        yield None


def _portraits(
    ahead: Iterator[tuple[int, Frame]], run: Run, models: Models, report: Report
) -> Iterator[Portrait]:
    """The portrait of each stretch; ``ahead``, numbered frames of the clip, is read as far as they need."""
    layout = models.layout
    places = choose_portraits(run, layout.stretches(len(run)), open_mouth=layout.open_portrait)
    last_use = {place: number for number, place in enumerate(places)}
    known: dict[int, Portrait] = {}
    for number, place in enumerate(places):
        while place not in known:
            at, frame = next(ahead)
            seen = at - run.first
            if seen in last_use:
                picture = _crop(frame, run, seen, models)
                image, mouth = to_image(picture, models.device), mouth_colour(picture, run.points(seen))
                known[seen] = Portrait(seen, image, _encode(image, models, report), mouth)
        yield known[place]
        known = {seen: portrait for seen, portrait in known.items() if last_use[seen] > number}


def _act(
    frames: Iterator[Frame],
    run: Run,
    portraits: Iterator[Portrait],
    part: Part,
    ears: dict[str, Ear],
    models: Models,
    config: SyncConfig,
    report: Report,
    job: Job | None,
) -> Iterator[tuple[Latent, Portrait]]:
    """The latents of one run, in order, each with its portrait; there is one for each stretch."""
    layout, device = models.layout, models.device

    def told(places: Sequence[int], latents: Float[Tensor, "n c h w"], stage: StageModel) -> Prepared:
        with report.clock("audio"):
            audio = ears[stage.name]([part.hears[run.first + place] for place in places])
        masks = np.stack([_mask(run, place, models) for place in places])
        return Prepared(
            run.first + places[0], latents, torch.from_numpy(masks)[:, None].to(latents), audio.to(latents)
        )

    known: Float[Tensor, "1 c h w"] | None = None  # the keyframe that ended the stretch before
    carry: Float[Tensor, "1 c h w"] | None = None  # the input of that frame
    for (first, stop), portrait in zip(layout.stretches(len(run)), portraits, strict=True):
        positions = layout.keyframes(stop - first)
        read = range(first if carry is None else first + 1, min(first + positions[-1] + 1, len(run)))
        name = f"{part.role.person}-{run.first + first}"
        if job and (saved := job.load(name)):
            saved = {key: value.to(device) for key, value in saved.items()}
            for _ in read:
                next(frames)
            yield from ((latent.to(portrait.latent), portrait) for latent in saved["latents"])
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
            own = told([portrait.place], portrait.latent[None], models.keyframes)
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
            yield from ((latent, portrait) for latent in new)
        if len(shown) < stop - first:  # the run ends on a keyframe
            shown.append(keyframes[len(windows)].half().to(latents))
            yield shown[-1], portrait
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

"""The compact autoencoder: principal components first, then a decoder that mends what they miss."""

from __future__ import annotations

import math
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from keysync.diffusion.autoencoder import Surroundings
from keysync.diffusion.compact_autoencoder import CompactAutoencoder, lay_over
from keysync.diffusion.compact_unet import CompactUNet
from keysync.diffusion.condition import Condition
from keysync.parallel import in_order
from keysync.train.dataset import Batch, Batches, PreparedClip, recolour
from keysync.train.judge import Judge
from keysync.train.loop import AUDIO_GUIDANCE, paint
from keysync.train.run import SAVE_EVERY_S, Checkpoint, Progress, Say, note, to_log

_PAINTED, _GUIDANCES = 0.7, (1.0, 2.0)  # share of the latents that are painted, and how
_DETAIL = 3.0  # weight of the local strength of detail
_MOVED, _PAINT = 1.0, 0.03  # weight of the moved reference alone, and of all that is painted over it
_LIPS = 0.1  # weight of what the judge reads
_CAST = 0.15  # how far painted colours are led astray, of -1..1
_CAST_CELLS = 6  # in so many places a side
_SCORES = ("psnr", "mouth_psnr", "sharpness")


def fit_components(autoencoder: CompactAutoencoder, clips: list[PreparedClip], seed: int) -> None:
    """Set the encoder: principal components of face patches, and each channel's mean and deviation."""
    rng = np.random.default_rng(seed)
    patch = autoencoder.config.patch
    patches = []
    for clip in clips:
        for index in range(0, len(clip.pictures), 12):
            picture = recolour(clip.pictures[index : index + 1], rng)[0] * 2 - 1
            cells = clip.mouths[index].shape[0]
            rows, columns = np.nonzero(clip.mouths[index])
            for _ in range(24):
                if rng.random() < 0.5 and len(rows):
                    pick = rng.integers(len(rows))
                    corner = np.array([rows[pick], columns[pick]]) * patch + rng.integers(-patch, patch, 2)
                else:
                    corner = rng.integers(0, cells * patch, 2)
                y, x = corner.clip(0, picture.shape[0] - patch)
                patches.append(picture[y : y + patch, x : x + patch].transpose(2, 0, 1).ravel())
    matrix = np.stack(patches).astype(np.float64)
    # Not centred: the mean patch is grey and becomes part of the first component.
    _, vectors = np.linalg.eigh(matrix.T @ matrix / len(matrix))
    chosen = vectors[:, ::-1][:, : autoencoder.channels].T
    projected = matrix @ chosen.T
    with torch.no_grad():
        autoencoder.components.copy_(torch.from_numpy(chosen.copy()).view_as(autoencoder.components))
        autoencoder.latent_mean.copy_(torch.from_numpy(projected.mean(axis=0)))
        autoencoder.latent_deviation.copy_(torch.from_numpy(projected.std(axis=0)))


def psnr(
    autoencoder: CompactAutoencoder,
    clips: list[PreparedClip],
    *,
    linear: bool = False,
    painter: CompactUNet | None = None,
) -> tuple[float, float, float]:
    """What decoding keeps of the repainted part, each clip's widest mouth being the reference.

    Args:
        linear: by the components alone.
        painter: the keyframe network, to decode what it paints of the true curves, not the true latents.
    Returns:
        decibels (0..1 scale) of the repainted part and of the cells that touch the lips; and the variance
        of the Laplacian in those cells over the original's, 1 being as sharp.
    """
    error, mouth, sharp = [], [], []
    device = autoencoder.device
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for clip in clips:
            places = np.arange(8, len(clip.pictures), 16)
            chosen = np.concatenate([[clip.lips[:, 0].argmax()], places])
            pictures = torch.from_numpy(clip.pictures[chosen]).permute(0, 3, 1, 2).to(device) / 127.5 - 1
            target, mask, lips = (
                pictures[1:],
                *(
                    _cover(torch.from_numpy(f[places]), pictures).to(device)
                    for f in (clip.masks, clip.mouths)
                ),
            )
            latents = autoencoder.encode_working(target)
            if painter is not None:
                cells = torch.from_numpy(clip.masks[places])[:, None, None].to(device)
                audio = torch.from_numpy(clip.tokens[0, places])[:, None].to(device)
                first = autoencoder.encode_working(pictures[:1])[None].expand(len(places), -1, -1, -1, -1)
                told = Condition(audio, first, latents[:, None], cells)
                latents = paint(painter, told, generator, AUDIO_GUIDANCE)[:, 0]
            if linear:
                decoded = autoencoder.decode_linear(latents)
            else:
                reference = pictures[:1].expand_as(target)
                around = Surroundings(reference, target * (1 - mask), mask)
                decoded = lay_over(*autoencoder.decode_working(latents, around), reference, target.shape[-1])
            square = ((decoded.clamp(-1, 1) - target) / 2) ** 2
            error.append(float((square * mask).sum() / (mask.sum() * 3)))
            mouth.append(float((square * lips).sum() / (lips.sum() * 3)))
            sharp.append(_sharpness(decoded, lips) / _sharpness(target, lips))
    return (
        -10 * math.log10(float(np.mean(error))),
        -10 * math.log10(float(np.mean(mouth))),
        float(np.mean(sharp)),
    )


def _cover(cells: Float[Tensor, "m v u"], pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "m 1 h w"]:
    return F.interpolate(cells[:, None], size=pictures.shape[-2:])


def _laplacian(pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1 h w"]:
    grey = F.pad(pictures.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], device=grey.device)[None, None]
    return F.conv2d(grey, kernel)


def _sharpness(pictures: Float[Tensor, "n 3 h w"], where: Float[Tensor, "n 1 h w"]) -> float:
    return float((_laplacian(pictures) ** 2 * where).sum() / where.sum())


def train_decoder(
    autoencoder: CompactAutoencoder,
    clips: list[PreparedClip],
    held_out: list[PreparedClip],
    out: Path,
    *,
    steps: int,
    seed: int,
    painter: CompactUNet | None = None,
    judge: Judge | None = None,
    batch: int = 12,
    side: int = 128,
    rate: float = 1e-3,
    noise: float = 0.4,
    say: Say = to_log,
) -> CompactAutoencoder:
    """Train the decoder on cuts around the mouth; returns the running average.

    Without ``painter`` the latents are the true ones, spoilt with noise of small and of large scale: what
    they say wrongly of skin colour and texture the decoder learns to take from the reference and the kept
    part. With it, the trained keyframe network, seven in ten are what that paints of the true curves: soft
    lips with dark edges, blue where the mouth is dark. The decoder learns what such a painting stands for;
    their colours are shifted, so that it takes those from the reference.

    Loss: L1 + 0.5 gradient L1 + 0.5 L2, and 3 times L1 of the local strength of detail, without which teeth
    and stubble average out; L1 of the moved reference alone, so that what it shows is found there, and 0.03
    times the share that is painted: what is copied is the person's own, a stranger's too. The lips count
    three times. With ``judge`` (``train/judge.py``) also 0.1 times L2 of the lips that it reads off what was
    decoded, encoded again, against the true ones: the corners of the mouth hardly count in all else. The
    encoder stays the principal components. Resumes from ``out/checkpoint.pt``; ``out/curve.csv`` lists
    ``psnr`` on ``held_out``, its first row being the components alone, with ``painter`` its second the
    decoder as it came.
    """
    out.mkdir(parents=True, exist_ok=True)
    autoencoder.components.requires_grad_(False)
    parameters = [p for p in autoencoder.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, rate, betas=(0.9, 0.99), weight_decay=1e-3)
    average = deepcopy(autoencoder).eval()
    checkpoint, curve = Checkpoint(out / "checkpoint.pt", autoencoder, average, optimiser), out / "curve.csv"
    step = checkpoint.load().get("step", 0)
    progress = Progress(say, "steps", step, steps)
    begin = last = time.monotonic()
    painters = [None] if painter is None else [None, painter]

    def scores(*, linear: bool = False) -> dict[str, float]:
        figures = dict[str, float]()
        for by in painters:
            names = [("" if by is None else "painted_") + name for name in _SCORES]
            figures |= zip(names, psnr(average, held_out, linear=linear, painter=by), strict=True)
        note(curve, step, time.monotonic() - begin, figures)
        return figures

    if step == 0:
        curve.unlink(missing_ok=True)
        scores(linear=True)
        if painter is not None:
            scores()

    def draw(step: int) -> tuple[Batch, np.random.Generator]:
        rng = np.random.default_rng([seed, step])
        return Batches(clips, autoencoder, rng).draw(batch, 1, windows=False), rng

    for seen, rng in in_order(draw, range(step, steps), lend=False):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        share = step / steps
        fall = 1.0 if share < 0.3 else 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (share - 0.3) / 0.7))
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 100) * fall
        latents = _spoilt(seen.target[:, 0], noise, generator)
        if painter is not None:
            some = slice(round(_PAINTED * batch))
            painted = paint(painter, seen.told.select(some), generator, float(rng.uniform(*_GUIDANCES)))[:, 0]
            latents[some] = _discoloured(painted, autoencoder, generator)
        cut = _cut(seen, latents, side // autoencoder.config.patch, rng)
        around = Surroundings(cut.reference, cut.target * (1 - cut.mask), cut.mask)
        drawn, cover, way = autoencoder.decode_working(cut.latents, around)
        decoded, moved = (
            lay_over(*over, way, cut.reference, seen.portrait.shape[-1])
            for over in ((drawn, cover), (torch.zeros_like(drawn), torch.ones_like(cover)))
        )
        weight = cut.mask * (1 + 2 * cut.mouth)
        error = decoded - cut.target
        edges = (error * weight).diff(dim=-1).abs().mean() + (error * weight).diff(dim=-2).abs().mean()
        strength, wanted = (F.avg_pool2d(_laplacian(p).abs() * weight, 8) for p in (decoded, cut.target))
        loss = (
            (error.abs() * weight).mean()
            + 0.5 * edges
            + 0.5 * (error**2 * weight).mean()
            + _DETAIL * (strength - wanted).abs().mean()
            + _MOVED * ((moved - cut.target).abs() * weight).mean()
            + _PAINT * ((1 - cover) * weight).mean()
        )
        if judge is not None:
            pasted = torch.lerp(cut.target, decoded, cut.mask)
            read, right = judge(_encoded(pasted, cut, seen, autoencoder)), judge(seen.target[:, 0])
            loss = loss + _LIPS * F.mse_loss(read, right)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step += 1
        keep = min(0.995, step / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(autoencoder.parameters()), 1 - keep)
        if time.monotonic() - last > SAVE_EVERY_S or step == steps:
            checkpoint.save(step)
            figures, kind = scores(), "" if painter is None else "painted_"
            progress.tell(step, **{name: figures[kind + name] for name in _SCORES[1:]})
            last = time.monotonic()
    return average


def _spoilt(
    latents: Float[Tensor, "n c y x"], noise: float, generator: torch.Generator
) -> Float[Tensor, "n c y x"]:
    """Noise per cell and noise of large scale, of a random strength up to ``noise`` deviations each."""
    count, channels, height, width = latents.shape
    fine = torch.randn(latents.shape, generator=generator)
    coarse = torch.randn(count, channels, 3, 3, generator=generator)
    coarse = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)
    amount = noise * torch.rand(2, count, 1, 1, 1, generator=generator)
    return latents + (amount[0] * fine + amount[1] * coarse).to(latents)


def _discoloured(
    latents: Float[Tensor, "n c y x"], autoencoder: CompactAutoencoder, generator: torch.Generator
) -> Float[Tensor, "n c y x"]:
    """Other colours here and there, as strangers are painted: what is right, the reference must tell."""
    config = autoencoder.config
    cast = torch.randn(len(latents), 3, _CAST_CELLS, _CAST_CELLS, generator=generator)
    cast *= _CAST * torch.rand(len(latents), 1, 1, 1, generator=generator)
    size = [config.patch * cells for cells in latents.shape[-2:]]
    cast = F.interpolate(cast, size=size, mode="bicubic", align_corners=True).to(latents)
    shift = F.conv2d(cast, autoencoder.components, stride=config.patch)
    return latents + shift / autoencoder.latent_deviation[:, None, None]


@dataclass(frozen=True, slots=True)
class _Cut:
    """Squares around the mouths of a batch."""

    places: list[tuple[slice, slice]]  # rows and columns of each, in cells
    latents: Float[Tensor, "n c v v"]
    target: Float[Tensor, "n 3 s s"]  # -1..1
    reference: Float[Tensor, "n 3 s s"]  # the same place of another frame
    mask: Float[Tensor, "n 1 s s"]  # 1 = repaint
    mouth: Float[Tensor, "n 1 s s"]  # 1 = touches the lips


def _cut(seen: Batch, latents: Float[Tensor, "n c h w"], cells: int, rng: np.random.Generator) -> _Cut:
    """``cells`` on a side, on the grid of cells, the mouth somewhere near the middle."""
    whole = latents.shape[-1]
    patch = seen.portrait.shape[-1] // whole
    fields = [latents, seen.pictures[:, 0], seen.portrait]
    fields += [_cover(field[:, 0, 0], seen.portrait) for field in (seen.told.mask, seen.mouth)]
    cuts, places = [], []
    for index, mouth in enumerate(seen.mouth[:, 0, 0]):
        middle = (mouth if mouth.any() else torch.ones_like(mouth)).nonzero().float().mean(dim=0)
        corner = middle.cpu().numpy() - cells / 2 + rng.uniform(-2, 2, 2)
        top, left = np.round(corner).astype(int).clip(0, whole - cells)
        small = (slice(top, top + cells), slice(left, left + cells))
        large = tuple(slice(patch * part.start, patch * part.stop) for part in small)
        places.append(small)
        cuts.append([field[index][:, *(large if field is not latents else small)] for field in fields])
    return _Cut(places, *(torch.stack(part) for part in zip(*cuts, strict=True)))


def _encoded(
    pictures: Float[Tensor, "n 3 s s"], cut: _Cut, seen: Batch, autoencoder: CompactAutoencoder
) -> Float[Tensor, "n c h w"]:
    """Latents of whole crops, true but where ``pictures`` were cut out."""
    latents, whole = autoencoder.encode_working(pictures), seen.target[:, 0].clone()
    for index, place in enumerate(cut.places):
        whole[index, :, *place] = latents[index]
    return whole

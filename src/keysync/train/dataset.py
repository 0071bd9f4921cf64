"""Drawn clips to training batches: aligned crops, masks, sound tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from keysync.audio.compact import TOKEN_HOP, CompactAudioEncoder
from keysync.audio.encoder import AudioEncoder
from keysync.audio.mel import log_mel
from keysync.audio.window import AudioTokens, token_indices
from keysync.diffusion.compact_autoencoder import CompactAutoencoder
from keysync.diffusion.condition import Condition
from keysync.errors import InputError
from keysync.face.crop import Framing, align_faces, crop, to_crop_points
from keysync.face.track import FaceTracker, smooth
from keysync.mask.region import lower_face_box, to_latent
from keysync.media.read import read_frames, read_speech
from keysync.synthetic.articulate import mouth_curves
from keysync.train.audio import augment_mel, augment_sound
from keysync.train.hearing import TOKEN_S

CROP = 512  # pixels; crops are stored at half that, the compact model's working size
DISGUISES = 3  # of every clip's sound
_TRIED = 4  # frames, of which one becomes the reference
_MOUTH_MARGIN = 6  # crop pixels around the lips that count as mouth
# How far a segment is framed off: degrees, factors, shares of the side; how much of a cell must be covered.
_TURN, _STRETCH, _SHIFT, _TOUCHED = 4.0, (0.93, 1.07), 0.03, 0.05


@dataclass(frozen=True, slots=True)
class PreparedClip:
    """One clip as the networks see it."""

    pictures: UInt8[np.ndarray, "t h w 3"]
    masks: Float32[np.ndarray, "t c c"]  # 1 = repaint, latent cells
    mouths: Float32[np.ndarray, "t c c"]  # 1 = touches the lips, latent cells
    lips: Float32[np.ndarray, "t 2"]  # gap between the lips and distance of the mouth's corners as drawn, cm
    # Sound around each frame, as it is, then disguised; what it says of the mouth's curves is the truth.
    tokens: Float32[np.ndarray, "v t s d"]


def prepare_clip(
    folder: Path, tracker: FaceTracker, framing: Framing, encoder: CompactAudioEncoder, cells: int
) -> PreparedClip:
    """Track, align and crop ``folder/clip.mp4`` just as the pipeline does, and gather its sound."""
    frames = list(read_frames(folder / "clip.mp4"))
    aligned = list(align_faces(smooth(tracker.follow(frames)), framing, CROP))
    factor = CROP // cells
    pictures, masks, mouths, lips, times = [], [], [], [], []
    drawn = _labels(folder)[2]
    for frame, face, *shape in zip(frames, aligned, drawn["gap_cm"], drawn["width_cm"], strict=True):
        if face is None:
            continue
        points = to_crop_points(face)
        picture = crop(frame.rgb(), face.to_crop, CROP)
        pictures.append(cv2.resize(picture, (CROP // 2, CROP // 2), interpolation=cv2.INTER_AREA))
        masks.append(to_latent(lower_face_box(points, CROP), factor))
        low = np.floor((points[48:68].min(axis=0) - _MOUTH_MARGIN) / factor).astype(int).clip(0, cells)
        high = np.ceil((points[48:68].max(axis=0) + _MOUTH_MARGIN) / factor).astype(int).clip(0, cells)
        mouth = np.zeros((cells, cells), np.float32)
        mouth[low[1] : high[1], low[0] : high[0]] = 1
        mouths.append(mouth)
        lips.append(shape)
        times.append(frame.time - frames[0].time)
    if len(pictures) < 14:
        raise InputError(f"{folder}: only {len(pictures)} frames with a face; a clip needs 14")
    speech = read_speech(folder / "clip.wav")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(len(speech))
        ears: list[AudioEncoder] = [encoder, *[Disguised(encoder)] * DISGUISES]
        # The same silence after the last word as ``models.py`` lets the compact model hear.
        heard = [AudioTokens(ear, speech, tail_s=1).at(times, 8, past_end="repeat").numpy() for ear in ears]
    # Learning from what the ear says of the curves, the networks would paint a mean of all it may have meant.
    moments = (token_indices(times, 8).numpy() + 0.5) * TOKEN_S
    tokens = np.stack(heard)
    tokens[..., : encoder.config.curves] = encoder.standard_curves(
        torch.from_numpy(true_curves(folder, moments))
    )
    return PreparedClip(
        np.stack(pictures),
        np.stack(masks).astype(np.float32),
        np.stack(mouths),
        np.array(lips, np.float32).clip(0),  # below 0 lips press on each other, which no picture shows
        tokens,
    )


def true_curves(folder: Path, moments: Float[np.ndarray, "t s"]) -> Float32[np.ndarray, "t s c"]:
    """What the audio encoder should say of a drawn clip's mouth, from its labels; see ``mouth_curves``.

    Args:
        moments: seconds since the first frame; before it and after the last the mouth stands still.
    """
    fps, weights, mouth = _labels(folder)
    curves = mouth_curves(weights, mouth["closure"], mouth["tuck"])
    times = np.arange(len(curves)) / fps
    return np.stack([np.interp(moments, times, curve) for curve in curves.T], axis=-1).astype(np.float32)


def _labels(
    folder: Path,
) -> tuple[float, dict[str, Float32[np.ndarray, " t"]], dict[str, Float[np.ndarray, " t"]]]:
    """Frames per second of a drawn clip; its blendshapes' weights and its mouth's measures in every frame."""
    about = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    with np.load(folder / "labels.npz", allow_pickle=False) as labels:
        weights = dict(zip(about["weight_names"], labels["weights"].T.astype(np.float32), strict=True))
        mouth = dict(zip(about["mouth_columns"], labels["mouth"].T, strict=True))
    return float(Fraction(about["fps"])), weights, mouth


class Disguised:
    """The encoder, hearing the same words from another throat in another room.

    What the U-Nets learn of a few hundred voices shall hold for all: without this, voices never trained on
    cost a tenth of the correlation.
    """

    def __init__(self, encoder: CompactAudioEncoder) -> None:
        self._encoder, self.dim, self.context_s = encoder, encoder.dim, encoder.context_s

    def __call__(self, samples: Float[Tensor, " n"]) -> Float[Tensor, "tokens dim"]:
        """Tokens, drawn anew by torch's own generator."""
        whole = torch.nn.functional.pad(samples, (0, -len(samples) % TOKEN_HOP))
        return self._encoder.tokens(augment_mel(log_mel(augment_sound(whole[None]))))[0]


def prepare_folder(
    clips: Path, out: Path, tracker: FaceTracker, framing: Framing, encoder: CompactAudioEncoder, cells: int
) -> Iterator[Path]:
    """Prepare every clip under ``clips`` that is not yet in ``out``; yields each file when it is there."""
    out.mkdir(parents=True, exist_ok=True)
    for folder in sorted(p for p in clips.glob("[!.]*") if (p / "labels.npz").exists()):
        target = out / f"{folder.name}.npz"
        if not target.exists():
            try:
                clip = prepare_clip(folder, tracker, framing, encoder, cells)
            except InputError:
                continue  # a drawn face that the detector cannot find teaches nothing
            partial = target.with_suffix(".partial.npz")
            fields = {name: getattr(clip, name) for name in PreparedClip.__dataclass_fields__}
            np.save(target.with_suffix(".npy"), fields.pop("pictures"))
            np.savez(partial, **fields)
            partial.replace(target)
        yield target


def load_clips(folder: Path) -> list[PreparedClip]:
    """Every prepared clip of ``folder``, in order of name; pictures stay on disk until they are looked at."""
    clips = []
    for path in sorted(folder.glob("[0-9]*[0-9].npz")):
        pictures = np.load(path.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
        with np.load(path, allow_pickle=False) as stored:
            clips.append(PreparedClip(pictures, **{name: stored[name] for name in stored.files}))
    if not clips:
        raise InputError(f"{folder}: no prepared clips; in no drawn one was a face found, draw more")
    return clips


@dataclass(frozen=True, slots=True)
class Batch:
    """B segments of T frames."""

    told: Condition
    target: Float[Tensor, "b t c h w"]
    mouth: Float[Tensor, "b t 1 h w"]
    lips: Float[Tensor, "b t 2"]
    identity: Float[Tensor, "b 1 c h w"]  # another frame of the clip, its mouth rather open
    pictures: Float[Tensor, "b t 3 p q"]  # -1..1
    portrait: Float[Tensor, "b 3 p q"]  # of ``identity``


class Batches:
    """Random segments, freshly mirrored and recoloured each time they are seen."""

    def __init__(self, clips: list[PreparedClip], autoencoder: CompactAutoencoder, rng: np.random.Generator):
        self.clips, self.autoencoder, self.rng = clips, autoencoder, rng

    def draw(self, segments: int, frames: int, *, windows: bool) -> Batch:
        """Segments of one clip each.

        Args:
            windows: consecutive frames with both ends given (stage two); else ``frames`` scattered
                frames and another frame of the clip as the reference (stage one).
        """
        parts = [self._segment(frames, windows) for _ in range(segments)]
        device = self.autoencoder.device
        pictures, extra, masks, mouths, lips, audio = (
            torch.stack(part).to(device) for part in zip(*parts, strict=True)
        )
        with torch.no_grad():
            everything = torch.cat([pictures, extra], dim=1)
            latents = self.autoencoder.encode_working(rearrange(everything, "b t c h w -> (b t) c h w"))
            latents = rearrange(latents, "(b t) c h w -> b t c h w", b=segments)
        target = latents[:, :frames]
        identity = latents[:, -1:]
        reference = latents[:, frames:-1] if windows else identity
        told = Condition(audio, reference, target, masks)
        return Batch(told, target, mouths, lips, identity, pictures, extra[:, -1])

    def _segment(self, frames: int, windows: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        rng = self.rng
        clip = self.clips[rng.integers(len(self.clips))]
        length = len(clip.pictures)
        if windows:
            places = rng.integers(length - frames + 1) + np.arange(frames)
            extra = np.append(places[[0, -1]], _portrait(clip, rng))
        else:
            places = np.sort(rng.choice(length, frames, replace=False))
            extra = np.array([_portrait(clip, rng)])
        chosen = np.concatenate([places, extra])
        placed, moved, grown = reframe(
            clip.pictures[chosen], np.stack([clip.masks[places], clip.mouths[places]]), rng
        )
        pictures = recolour(placed, rng)
        shown = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))) * 2 - 1
        masks, mouths = torch.from_numpy(moved)[:, :, None]
        audio = torch.from_numpy(clip.tokens[rng.integers(len(clip.tokens)), places])
        lips = torch.from_numpy(clip.lips[places] * grown)
        return shown[: len(places)], shown[len(places) :], masks, mouths, lips, audio


def _portrait(clip: PreparedClip, rng: np.random.Generator) -> int:
    """The frame that shows who this is: the widest mouth of a few, as use takes the widest of a stretch."""
    tried = rng.integers(len(clip.pictures), size=_TRIED)
    return int(tried[clip.lips[tried, 0].argmax()])


def reframe(
    pictures: UInt8[np.ndarray, "t h h 3"], fields: Float32[np.ndarray, "k n c c"], rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "t h h 3"], Float32[np.ndarray, "k n c c"], Float32[np.ndarray, " 2"]]:
    """One crop, a little off, for the whole segment: turned, stretched, shifted, sometimes mirrored.

    Without this the networks learn by heart what lies in each cell of each person, and are less sure of
    strangers: the cells' grid never falls on a face the same way twice.

    Returns:
        pictures; ``fields`` of cells, 1 wherever the moved field touches; how much taller and wider a mouth
        has become.
    """
    side, cells = pictures.shape[1], fields.shape[-1]
    stretch, shift = rng.uniform(*_STRETCH, 2), rng.uniform(-_SHIFT, _SHIFT, 2)
    turn, flip = np.deg2rad(rng.uniform(-_TURN, _TURN)), rng.choice([-1, 1])
    turned = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    change = turned @ np.diag([flip * stretch[0], stretch[1]])

    def around_middle(size: int) -> Float[np.ndarray, "2 3"]:
        middle = np.full(2, (size - 1) / 2)
        return np.column_stack([change, middle + shift * size - change @ middle])

    moved = np.stack(
        [
            cv2.warpAffine(
                picture,
                around_middle(side),
                (side, side),
                flags=cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REPLICATE,
            )
            for picture in pictures
        ]
    )
    warped = [
        cv2.warpAffine(field, around_middle(cells), (cells, cells), borderMode=cv2.BORDER_REPLICATE)
        > _TOUCHED
        for field in fields.reshape(-1, cells, cells)
    ]
    return moved, np.stack(warped).astype(np.float32).reshape(fields.shape), stretch[::-1].astype(np.float32)


def recolour(
    pictures: UInt8[np.ndarray, "t h w 3"], rng: np.random.Generator
) -> Float32[np.ndarray, "t h w 3"]:
    """One camera and one light for the whole segment: gamma, white balance, saturation, sometimes blur.

    Returns values in 0..1.
    """
    gamma, gain = rng.uniform(0.7, 1.4), rng.uniform(0.8, 1.12, 3)
    curve = (np.linspace(1e-4, 1, 256)[:, None] ** gamma * gain).astype(np.float32)
    saturation = rng.uniform(0.5, 1.25)
    mix = np.full((3, 3), (1 - saturation) / 3) + saturation * np.eye(3)
    sigma = rng.uniform(0.4, 1.3) if rng.random() < 0.25 else 0.0
    recoloured = np.empty(pictures.shape, np.float32)
    for picture, out in zip(pictures, recoloured, strict=True):
        seen = cv2.transform(cv2.LUT(np.ascontiguousarray(picture), curve[None]), mix)
        out[:] = cv2.GaussianBlur(seen, (0, 0), sigma) if sigma else seen
    return np.clip(recoloured, 0, 1, out=recoloured)

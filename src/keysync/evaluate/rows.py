"""Reference films: what a perfect and a lazy method would hand in, through the same crop and codec."""

from __future__ import annotations

import wave
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from keysync.composite.blend import bounds, paste_mask
from keysync.composite.paste import paste, trim
from keysync.evaluate import lips
from keysync.evaluate.measure import Track, crops
from keysync.face.crop import crop, uncrop
from keysync.mask.region import lower_face_box
from keysync.media.read import probe, read_frames
from keysync.media.write import VideoWriter
from keysync.speech import SPEECH_RATE_HZ

CROP_SIZE = 512  # pixels, as the full model's

Picture = UInt8[np.ndarray, "h w 3"]


def write_truth(video: Path, where: Track, out: Path) -> None:
    """The film itself, its mouth cut out and pasted back, encoded as a synced film is."""
    write_changed(video, where, out, lambda _, picture: picture)


def write_frozen(video: Path, where: Track, out: Path) -> None:
    """The film with the mouth of one frame in all frames: the one whose opening is the median."""
    curve = lips.opening(where.landmarks)
    middle = int(np.argsort(curve, kind="stable")[len(curve) // 2])
    held = next(picture for index, picture in enumerate(crops(video, where, CROP_SIZE)) if index == middle)
    write_changed(video, where, out, lambda *_: held)


def write_changed(video: Path, where: Track, out: Path, change: Callable[[int, Picture], Picture]) -> None:
    """The film with its mouth changed, encoded as a synced film is.

    Args:
        change: frame number and aligned crop of 512 px in, the new crop out; only the part that a synced
            film would show is pasted.
    """
    with closing(read_frames(video)) as frames, VideoWriter(out, probe(video), codec="h264") as writer:
        for index, frame in enumerate(frames):
            to_crop, points = where.matrix(index, CROP_SIZE), where.points(index, CROP_SIZE)
            painted = change(index, crop(frame.rgb(), to_crop, CROP_SIZE)).astype(np.float32)
            alpha = paste_mask(points, lower_face_box(points, CROP_SIZE))
            shown = bounds(alpha > 0, margin=1)
            shape, corner = (frame.picture.height, frame.picture.width), (shown[1].start, shown[0].start)
            patch = np.dstack([painted[shown], alpha[shown]])
            patch, box = trim(*uncrop(patch, to_crop, shape, corner))
            if patch.size:
                picture = paste(frame.picture, patch[..., :3], patch[..., 3], box)
                frame = replace(frame, picture=picture)
            writer.write(frame.picture, frame.time)


def write_silence(path: Path, seconds: float) -> None:
    """A WAV of zeros, 16 kHz, mono."""
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SPEECH_RATE_HZ)
        sound.writeframes(bytes(2 * round(SPEECH_RATE_HZ * seconds)))

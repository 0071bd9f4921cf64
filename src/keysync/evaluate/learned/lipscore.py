"""LipScore: do two videos read the same to a lip reader?"""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, UInt8
from torch import Tensor
from torch.nn import functional as F

from keysync.errors import CheckpointError, InputError
from keysync.evaluate.learned.avsr import AvsrEncoder
from keysync.evaluate.learned.metric import ClipMetric, check_pair, device_of
from keysync.evaluate.learned.weights import WeightFile

ENCODER = WeightFile("vsr_trlrs2lrs3vox2avsp_base.pth", "the model zoo of github.com/mpc001/auto_avsr")
MEAN_FACE = WeightFile("20words_mean_face.npy", "github.com/mpc001/auto_avsr, folder preparation/detectors")

_RIGID = [28, 33, 36, 39, 42, 45, 48, 54]
_FACE, _CROP, _SEEN = 256, 96, 88  # pixels
_SMOOTH = 6  # frames to each side
_MEAN, _SPREAD = 0.421, 0.165  # of the grey values that the encoder was trained on
_STRETCH = 600  # frames encoded at once; attention needs memory with the square


class LipScore(ClipMetric):
    """Cosine similarity of Auto-AVSR's visual features, frame by frame; -1 to 1, 1 for identical videos.

    Higher is better. Mean over the frames of a clip, then over clips. Both videos are cut with the same
    landmarks, so a crop that jumps about cannot change the score of one alone.

    Source: KeySync (Bigata et al. 2025, arXiv:2505.00497); encoder, Ma et al. 2023, arXiv:2303.14307.
    """

    files: ClassVar[tuple[WeightFile, ...]] = (ENCODER, MEAN_FACE)
    higher_is_better: ClassVar[bool] = True

    def __init__(self, network: AvsrEncoder, mean_face: Float[np.ndarray, "68 2"]) -> None:
        super().__init__()
        self._network = network
        self._mean_face = mean_face

    @staticmethod
    def build() -> AvsrEncoder:
        """The encoder at the size of the published file."""
        return AvsrEncoder()

    @classmethod
    def load(cls, device: str) -> LipScore:
        network = ENCODER.load(cls.build(), unused=("decoder.", "ctc."), rename=_current_name)
        return cls(network.to(device), _read_mean_face())

    def add(
        self,
        pred: UInt8[np.ndarray, "t h w 3"],
        ref: UInt8[np.ndarray, "u h w 3"],
        speech: Float32[np.ndarray, " n"] | None,  # noqa: ARG002
        mouth: Float32[np.ndarray, "v 68 2"] | None,
    ) -> float:
        check_pair(pred, ref)
        if mouth is None or len(mouth) != len(pred):
            found = 0 if mouth is None else len(mouth)
            raise InputError(
                f"landmarks of {found} frames for a clip of {len(pred)}; LipScore needs them all"
            )
        landmarks = fill_gaps(mouth)
        seen, wanted = (self._features(frames, landmarks) for frames in (pred, ref))
        return self._keep(float(F.cosine_similarity(seen, wanted, dim=1).mean()))

    @torch.no_grad()
    def _features(
        self, frames: UInt8[np.ndarray, "t h w 3"], landmarks: Float64[np.ndarray, "t 68 2"]
    ) -> Float[Tensor, "t dim"]:
        mouths = mouth_crops(frames, landmarks, self._mean_face).astype(np.float32)
        edge = (_CROP - _SEEN) // 2
        grey = mouths[:, edge:-edge, edge:-edge] @ np.array([0.2989, 0.587, 0.114], np.float32) / 255
        x = torch.from_numpy((grey - _MEAN) / _SPREAD).to(device_of(self._network))
        return torch.cat([self._network(part) for part in torch.split(x, _STRETCH)])


def fill_gaps(landmarks: Float32[np.ndarray, "t 68 2"]) -> Float64[np.ndarray, "t 68 2"]:
    """Landmarks of frames without a face (NaN): linear between the frames that have one, held at the ends.

    Raises:
        InputError: no frame has landmarks.
    """
    known = np.isfinite(landmarks).all(axis=(1, 2))
    if not known.any():
        raise InputError("no frame has landmarks; LipScore needs a face")
    times, flat = np.arange(len(landmarks)), landmarks.reshape(len(landmarks), -1).astype(np.float64)
    columns = [np.interp(times, times[known], column[known]) for column in flat.T]
    return np.stack(columns, axis=1).reshape(landmarks.shape)


def mouth_crops(
    frames: UInt8[np.ndarray, "t h w 3"],
    landmarks: Float64[np.ndarray, "t 68 2"],
    mean_face: Float[np.ndarray, "68 2"],
) -> UInt8[np.ndarray, "t 96 96 3"]:
    """Faces laid onto the mean face (256x256), then 96x96 pixels around the mouth.

    The steps of the encoder's training data: landmarks smoothed over 13 frames but centred on the frame's
    own, a similarity through 8 points by least median of squares (the corners of the mouth may be outliers).

    Raises:
        InputError: landmarks of a frame that no similarity fits.
    """
    crops = np.empty((len(frames), _CROP, _CROP, 3), np.uint8)
    for index, frame in enumerate(frames):
        reach = min(_SMOOTH, index, len(frames) - 1 - index)
        smooth = landmarks[index - reach : index + reach + 1].mean(axis=0)
        # Our pixel centres lie at .5, OpenCV's at whole numbers.
        points = smooth + (landmarks[index].mean(axis=0) - smooth.mean(axis=0)) - 0.5
        to_face, _ = cv2.estimateAffinePartial2D(points[_RIGID], mean_face[_RIGID], method=cv2.LMEDS)
        if to_face is None:
            raise InputError(f"landmarks of frame {index} do not look like a face; check the face track")
        face = cv2.warpAffine(frame, to_face, (_FACE, _FACE), flags=cv2.INTER_LINEAR)
        middle = (points[48:68] @ to_face[:, :2].T + to_face[:, 2]).mean(axis=0)
        x, y = np.rint(middle - _CROP / 2).clip(0, _FACE - _CROP).astype(int)
        crops[index] = face[y : y + _CROP, x : x + _CROP]
    return crops


def _current_name(name: str) -> str:
    """The published files know two spellings; the older one holds the front end inside the encoder."""
    for old, new in (("encoder.frontend.", "frontend."), ("encoder.embed.0.", "proj_encoder.")):
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _read_mean_face() -> Float64[np.ndarray, "68 2"]:
    path = MEAN_FACE.path()
    try:
        face = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CheckpointError(f"{path}: not a plain array file; get it again") from error
    if getattr(face, "shape", None) != (68, 2) or face.dtype.kind != "f" or not np.isfinite(face).all():
        raise CheckpointError(f"{path}: not 68 points in the plane; get it again")
    return np.asarray(face, np.float64)

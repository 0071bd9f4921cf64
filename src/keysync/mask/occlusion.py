"""Aligned crops -> what is before the face in each; and what that means for repainting.

Who judges a crop is not decided here: a ``Judge`` is our segmenter, or anything that answers how surely a
pixel is not face. Around it stand two ideas that make any judge better: a clean picture of the same
person, and time, because an occluder stays for some frames and a wrong answer rarely does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, Int16, Shaped, UInt8

from keysync.clip import Cover
from keysync.diffusion.half import fast_on
from keysync.mask.region import NOSE
from keysync.mask.segmenter import SIDE, Segmenter

Crops = UInt8[np.ndarray, "n 128 128 3"]
WideCrops = UInt8[np.ndarray, "n side side 3"]
Shares = Float32[np.ndarray, "n 128 128"]
EarlierShares = Float32[np.ndarray, "before 128 128"]

_SAMPLES = 9  # crops of which the clean picture is the median
_CLEAN = 0.25  # a pixel whose answer is below may be trusted to be face
_AROUND = 5  # pixels around a cover that are not trusted either: its soft edge and its shadow
# Answers between these become the soft edge of the mask.
_NONE, _WHOLE = 0.3, 0.6
_SPECK = 16  # pixels of a crop of 128: smaller covers are noise
# A cover counts if it is large and reaches into the face, or if the median answer in it is sure; and what is
# not large must be seen in two frames in a row, and not above all that is painted: there it is an eyelid.
_LARGE, _SURE = 400, 0.9
# What is before a face for fewer frames than this must differ from its clean picture so many times as much as
# the rest of the face does, both seen through a blur of so many pixels' deviation.
_BRIEF, _STRANGER, _BLUR = 8, 1.5, 4
_CELL_HIDDEN = 0.97  # share of a latent cell that must be hidden for it to be left alone
_SOFT_EDGE = 1 / 400  # of the crop's side: deviation of the blur that makes an edge alpha
_OUTLINE, _LIPS = slice(27), slice(48, 60)  # iBUG: jaw line and brows; outer lips
_GUIDE_REACH, _GUIDE_SOFTNESS = 3, 1e-3


@dataclass(frozen=True, slots=True)
class Clean:
    """A picture of the person with nothing before it, as far as it is known."""

    picture: UInt8[np.ndarray, "128 128 3"]
    known: Bool[np.ndarray, "128 128"]


# Answers for every pixel of some crops of one person how surely it is not the person, 0 to 1.
Judge = Callable[[Crops, Clean], Shares]


class FaceOrNot:
    """Our own segmenter as a judge, ``rows`` crops at a time."""

    def __init__(self, network: Segmenter, device: torch.device, rows: int = 16) -> None:
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device, self._rows = device, rows

    @torch.no_grad()
    def __call__(self, crops: Crops, clean: Clean) -> Shares:
        beside = self._picture(clean.picture[None])
        known = torch.from_numpy(clean.known[None, None]).to(beside)
        shares = []
        for first in range(0, len(crops), self._rows):
            part = self._picture(crops[first : first + self._rows])
            size = (len(part), -1, -1, -1)
            with torch.autocast("cpu", torch.bfloat16, enabled=fast_on(self._device)):  # as in training
                answer = self._network(part, beside.expand(size), known.expand(size))
            shares.append(answer[:, 0].float().sigmoid().cpu().numpy())
        return np.concatenate(shares)

    def _picture(self, pictures: UInt8[np.ndarray, "n h w 3"]) -> torch.Tensor:
        values = torch.from_numpy(np.ascontiguousarray(pictures)).to(self._device)
        return values.permute(0, 3, 1, 2).float() / 255


NOTHING_KNOWN = Clean(np.zeros((SIDE, SIDE, 3), np.uint8), np.zeros((SIDE, SIDE), bool))


def clean_picture(crops: Crops, judge: Judge, before: Clean = NOTHING_KNOWN) -> Clean:
    """The person without the occluder: per pixel the median of those crops in which it is face.

    Args:
        before: what is known from earlier crops of the person; used where these show nothing clean.
    """
    places = np.linspace(0, len(crops) - 1, min(len(crops), _SAMPLES)).round().astype(int)
    samples, clean = crops[places], before
    # Twice: with a first clean picture, beards and shadows are seen to belong to the person.
    for _ in range(2):
        shares = judge(samples, clean)
        around = np.ones((2 * _AROUND + 1, 2 * _AROUND + 1), np.uint8)
        doubted = np.stack([cv2.dilate((share > _CLEAN).astype(np.uint8), around) for share in shares])
        clean = _median(samples, doubted == 0, before)
    return clean


class Finder(ABC):
    """Finds what is before a face, in consecutive crops of one person."""

    reach: int = 1  # it sees so many times the aligned crop's side, in as many times its pixels

    @abstractmethod
    def find(self, crops: WideCrops, before: Clean) -> tuple[Shares, Clean]:
        """How surely every pixel of the aligned crop is hidden, 0 to 1; and the person without what hides it.

        Args:
            before: the clean picture from earlier crops of this person.
        """


class ByFace(Finder):
    """Asks a judge, with a clean picture beside every crop."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def find(self, crops: WideCrops, before: Clean) -> tuple[Shares, Clean]:
        clean = clean_picture(crops, self._judge, before)
        return self._judge(crops, clean), clean


class Together(Finder):
    """What any of several finders finds."""

    def __init__(self, *finders: Finder) -> None:
        self._finders = finders
        self.reach = max(finder.reach for finder in finders)

    def find(self, crops: WideCrops, before: Clean) -> tuple[Shares, Clean]:
        shares: Shares = np.zeros((len(crops), SIDE, SIDE), np.float32)
        for finder in self._finders:
            side = SIDE * finder.reach
            found, before = finder.find(np.stack([middle_of(crop, side) for crop in crops]), before)
            shares = np.maximum(shares, found)
        return shares, before


class Click(NamedTuple):
    """A point that the user put on an occluder."""

    place: int  # number of the crop
    x: float  # pixels of the crop, as ``y``; centres at .5
    y: float


class Follower(ABC):
    """Refines what a finder found in one unbroken run of one face, by following each object through it.

    Crops come in stretches. One stretch is held back, so that an object first seen in the next is still
    followed back through it.
    """

    side: int  # of the crops that it wants, pixels
    stretch: int  # most crops at a time

    @abstractmethod
    def take(self, crops: WideCrops, found: Shares, clicks: Sequence[Click] = ()) -> EarlierShares:
        """The next stretch in, the masks of the one before out; none at first.

        Args:
            found: the finder's masks of these crops.
            clicks: by place in these crops.
        """

    @abstractmethod
    def rest(self) -> Shares:
        """The masks of the last stretch; nothing may be taken afterwards."""


def middle_of(wide: Shaped[np.ndarray, "s s *c"], side: int = SIDE) -> Shaped[np.ndarray, "{side} {side} *c"]:
    """The aligned crop, or less of what is around it."""
    edge = (len(wide) - side) // 2
    return wide[edge : edge + side, edge : edge + side]


def masks(shares: Shares, landmarks: Float32[np.ndarray, "n 68 2"], crops: Crops, clean: Clean) -> Shares:
    """Answers to soft masks, without specks, what shows up in one frame only, and small or far doubts.

    Most wrong answers are spots on a face that moves, and what stands beside it: a judge knows this face from
    its clean picture, and clothes and rooms only from others. So there it must be sure. And a head flung
    round, blurred, is for some frames none that a judge ever saw: then the whole face differs from the clean
    picture, where an occluder would differ more than what it leaves of the face.

    Args:
        shares: how surely each pixel is hidden, in consecutive crops.
        landmarks: in pixels of the masks.
        clean: the person in these crops.
    """
    soft = np.clip((shares - _NONE) / (_WHOLE - _NONE), 0, 1)
    pieces = [list(_sure_pieces(*item)) for item in zip(soft, shares, landmarks, strict=True)]
    seen = np.stack([np.any([np.zeros((SIDE, SIDE), bool), *found], axis=0) for found in pieces])
    lasts = _frames_in_a_row(seen)
    kept = np.zeros_like(soft)
    for number, found in enumerate(pieces):
        if not found:
            continue
        face, apart = _filled(landmarks[number][_OUTLINE]) > 0, _apart(crops[number], clean)
        rest = apart[face & clean.known & ~seen[number]]
        for inside in found:
            own = apart[inside & face & clean.known]
            strange = min(own.size, rest.size) < _SPECK or own.mean() > _STRANGER * rest.mean()
            fleeting = lasts[number][inside].max() == 1 < len(shares) and inside.sum() < _LARGE
            if not fleeting and (strange or np.median(lasts[number][inside & face]) >= _BRIEF):
                near = with_edge(inside)
                kept[number][near] = soft[number][near]
    return kept


def _frames_in_a_row(seen: Bool[np.ndarray, "n 128 128"]) -> Int16[np.ndarray, "n 128 128"]:
    """For how many frames on end each pixel is seen, where it is."""
    before, after = (np.zeros(seen.shape, np.int16) for _ in range(2))
    before[0], after[-1] = seen[0], seen[-1]
    for number in range(1, len(seen)):
        before[number] = (before[number - 1] + 1) * seen[number]
        after[-1 - number] = (after[-number] + 1) * seen[-1 - number]
    return np.asarray(before + after - seen, np.int16)


def _apart(crop: UInt8[np.ndarray, "128 128 3"], clean: Clean) -> Float32[np.ndarray, "128 128"]:
    """How much a crop differs from the person's clean picture, levels; nothing where that is not known."""
    change = (crop.astype(np.float32) - clean.picture) * clean.known[..., None]
    return np.asarray(np.abs(cv2.GaussianBlur(change, (0, 0), _BLUR)).max(axis=2))


def _sure_pieces(
    mask: Float32[np.ndarray, "128 128"],
    shares: Float32[np.ndarray, "128 128"],
    landmarks: Float32[np.ndarray, "68 2"],
) -> Iterator[Bool[np.ndarray, "128 128"]]:
    """The pieces of one crop's mask that its answers alone make likely."""
    face, bridge = _filled(landmarks[_OUTLINE]) > 0, max(int(landmarks[NOSE, 1]), 0)
    count, label, stats, _ = cv2.connectedComponentsWithStats((mask > 0.5).astype(np.uint8))
    for piece in range(1, count):
        inside, area = label == piece, stats[piece, cv2.CC_STAT_AREA]
        plain = area >= _LARGE and (inside & face).sum() >= _SPECK
        matters = area >= _LARGE or inside[bridge:].any()
        if area >= _SPECK and matters and (plain or np.median(shares[inside]) > _SURE):
            yield inside


def cover(mask: Float32[np.ndarray, "128 128"], landmarks: Float32[np.ndarray, "68 2"]) -> Cover | None:
    """Keep a mask; None where nothing is hidden.

    Args:
        landmarks: in pixels of the mask.
    """
    if not (mask > 0.5).any():
        return None
    areas = (_filled(landmarks[part]) > 0 for part in (_OUTLINE, _LIPS))
    face, mouth = (float(mask[inside].mean()) if inside.any() else 0.0 for inside in areas)
    return Cover.pack(mask, face, mouth)


def with_edge(piece: Bool[np.ndarray, "128 128"]) -> Bool[np.ndarray, "128 128"]:
    """A piece of a mask and its soft edge."""
    return np.asarray(cv2.dilate(piece.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)


def _filled(points: Float32[np.ndarray, "n 2"]) -> UInt8[np.ndarray, "128 128"]:
    """1 inside the hull of points."""
    area = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillConvexPoly(area, cv2.convexHull(np.round(points).astype(np.int32)), 1)
    return area


def uncovered(cells: UInt8[np.ndarray, "c c"], hidden: Cover | None) -> UInt8[np.ndarray, "c c"]:
    """The cells to repaint, without those that the occluder hides wholly.

    A cell at its edge is repainted: what shows beside the occluder must be new, and the occluder's own
    pixels are put on top afterwards.
    """
    if hidden is None:
        return cells
    whole = cv2.resize(
        (hidden.alpha() > 0.9).astype(np.float32), cells.shape[::-1], interpolation=cv2.INTER_AREA
    )
    return np.asarray(cells * (whole < _CELL_HIDDEN), np.uint8)


def on_top(hidden: Cover | None, crop: UInt8[np.ndarray, "s s 3"]) -> Float32[np.ndarray, "s s"] | None:
    """How much of each pixel of the full crop stays the original; None: nothing is in front.

    The small mask's edge is moved to where the crop has one by a guided filter at that size (He and Sun 2015,
    arXiv:1505.00996). In doubt the original stays: a thin rim of old skin
    beside a finger is seen by nobody, lips on it by everyone.
    """
    if hidden is None:
        return None
    side, mask = len(crop), cv2.dilate(hidden.alpha(), np.ones((3, 3), np.uint8))
    small = cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    slope, offset = _guided(small, mask)
    large = cv2.resize(np.dstack([slope, offset]), (side, side), interpolation=cv2.INTER_LINEAR)
    fitted = (large[..., :3] * (crop.astype(np.float32) / 255)).sum(axis=2) + large[..., 3]
    # The filter only moves edges: deep inside and far outside the mask is right.
    coarse = cv2.resize(mask, (side, side), interpolation=cv2.INTER_LINEAR)
    deep = cv2.resize(
        cv2.erode(mask, np.ones((7, 7), np.uint8)), (side, side), interpolation=cv2.INTER_LINEAR
    )
    near = cv2.resize(
        cv2.dilate(mask, np.ones((5, 5), np.uint8)), (side, side), interpolation=cv2.INTER_LINEAR
    )
    mixed = np.clip(np.maximum(fitted, 0.5 * coarse), deep, near)
    soft = cv2.GaussianBlur(np.clip((mixed - 0.1) / 0.35, 0, 1), (0, 0), _SOFT_EDGE * side)
    # Exactly 1 inside: there not one sample of the frame may change.
    return np.asarray(np.clip(1.06 * soft - 0.03, 0, 1), np.float32)


def _guided(
    guide: Float32[np.ndarray, "s s 3"], target: Float32[np.ndarray, "s s"]
) -> tuple[Float32[np.ndarray, "s s 3"], Float32[np.ndarray, "s s"]]:
    """Per window the linear function of the guide's colour that comes nearest to the target."""

    def mean(values: np.ndarray) -> np.ndarray:
        side = 2 * _GUIDE_REACH + 1
        return np.asarray(cv2.blur(values, (side, side)))

    middle, level = mean(guide), mean(target)
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    products = np.dstack([guide[..., i] * guide[..., j] for i, j in pairs])
    spread = mean(products[..., :3]), mean(products[..., 3:])
    both = np.dstack(spread)
    matrix = np.empty((*target.shape, 3, 3), np.float32)
    for place, (i, j) in enumerate(pairs):
        value = both[..., place] - middle[..., i] * middle[..., j]
        matrix[..., i, j] = matrix[..., j, i] = value + (_GUIDE_SOFTNESS if i == j else 0)
    along = mean(guide * target[..., None]) - middle * level[..., None]
    slope = np.linalg.solve(matrix, along[..., None])[..., 0]
    offset = level - (slope * middle).sum(axis=2)
    return mean(slope), mean(offset)


def _median(samples: Crops, trusted: Bool[np.ndarray, "n 128 128"], before: Clean) -> Clean:
    """Per pixel the median of the trusted samples."""
    count = trusted.sum(axis=0)
    values = np.where(trusted[..., None], samples.astype(np.float32), np.inf)
    values.sort(axis=0)  # those not trusted come last
    middle = np.maximum(count - 1, 0) // 2
    picture = np.take_along_axis(values, middle[None, ..., None], axis=0)[0]
    known = count >= min(2, len(samples))
    picture = np.where(known[..., None], picture, before.picture)
    return Clean(picture.astype(np.uint8), known | before.known)

"""Where the new crop shows, how softly it ends, and how colour and texture are matched to the old one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

# Fractions of the crop's side.
_BELOW_CHIN = 0.05  # room for a jaw that opens wider than the source's did
_FEATHER = 0.08  # width of the soft edge
_NOSE_MARGIN, _NOSE_FEATHER = 0.01, 0.04  # around the nose; width of the soft edge between it and the lip
_COLOUR_REACH = 0.06  # how far a colour difference reaches
_AROUND_LIPS = 0.06  # skin that near to the lips moves with them
_INNER_EDGE = 0.012  # teeth and shadow may reach that far over the inner lips' line
_SKIN = 2.0  # and skin up to that many times as far is what lips are compared with
_RED = (5.0, 13.0)  # levels; lips less redder than skin than the first have no colour that tells them apart
# What a portrait tells of colours: the quantile, if lips and what is between are that share of a crop each.
_MOST, _TOLD = 0.9, 0.002
_FINE = 0.006  # texture is what is finer than about this
_SOFT = 0.003  # and what a soft painter lacks of lips is what is finer than this

_JAW = list(range(3, 14))  # iBUG: the jaw line from cheek to cheek, without the parts beside the ears
_LIPS = list(range(48, 60))
_INNER_LIPS = list(range(60, 68))
_NOSE_TIP = 30  # above it speech moves nothing that anyone sees
_NOSE = list(range(30, 36))  # tip and base
_WINGS = 1.4  # the nose is that much wider than its base's points are apart
_SHRINK = 4
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of R, G and B (ITU-R BT.601)
_STRONGEST = 40.0  # levels; what differs more from its surroundings than that is an edge, not texture
# Grain: the quietest share of a grid of cells; how many levels its deviation is there from where it counts,
# and in full; and where it is taken from, as shares of the patch's width and height.
_CELLS, _QUIET, _GRAINY = 24, 0.15, (3.0, 5.0)
_PLACES = ((0.05, 0.33), (-0.3, -0.21), (0.33, -0.1), (-0.36, 0.12), (0.21, 0.25), (-0.07, -0.37))
_OTHER = 30.0  # levels; where original and paint differ by that much, one of them shows something else
_STRANGE = 40.0  # levels; a larger difference in the soft edge is another thing (hair, an ear), not a cast


def paste_mask(
    landmarks: Float32[np.ndarray, "68 2"], repainted: UInt8[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w"]:
    """How much of the new crop shows at each pixel, 0 to 1; exactly 0 outside ``repainted``.

    The network repaints a generous box, so that the old expression cannot leak in; of that box only the
    lower face is shown. The nose, neck, clothes and background beside the jaw stay the original ones.

    Args:
        landmarks: iBUG points in crop pixels.
        repainted: 1 where the network painted, 0 elsewhere.
    """
    side = repainted.shape[0]
    jaw = landmarks[_JAW].copy()
    centre = landmarks[[48, 54]].mean(axis=0)
    down = np.clip((jaw[:, 1] - centre[1]) / max(float(np.ptp(jaw[:, 1])), 1.0), 0, 1)
    jaw[:, 1] += down * _BELOW_CHIN * side
    top = np.stack([jaw[[0, -1], 0], np.full(2, landmarks[_NOSE_TIP, 1])], axis=1)
    outline = cv2.convexHull(np.concatenate([jaw, top]).astype(np.float32))
    inside = np.zeros((side, side), np.uint8)
    cv2.fillPoly(inside, [np.round(outline * 16).astype(np.int32)], 1, shift=4)
    inside &= repainted
    inside[[0, -1]] = 0
    inside[:, [0, -1]] = 0
    alpha = np.zeros((side, side), np.float32)
    if not inside.any():
        return alpha
    box = bounds(inside > 0, margin=1)
    # Distance from the edge, so that the fade lies wholly inside: outside stays exactly 0.
    depth = cv2.distanceTransform(inside[box], cv2.DIST_L2, 5) / np.float32(_FEATHER * side)
    # Speech leaves nostrils as they are, and no network paints them as they were.
    base = landmarks[_NOSE]
    base = base.mean(axis=0) + (base - base.mean(axis=0)) * np.array([_WINGS, 1], np.float32)
    nose = np.zeros((side, side), np.uint8)
    cv2.fillConvexPoly(nose, cv2.convexHull(np.round(base).astype(np.int32)), 1)
    beside = cv2.distanceTransform(1 - nose[box], cv2.DIST_L2, 5) / np.float32(side)
    alpha[box] = _smooth(depth) * _smooth((beside - np.float32(_NOSE_MARGIN)) / np.float32(_NOSE_FEATHER))
    return alpha


def _smooth(depth: Float32[np.ndarray, "y x"]) -> Float32[np.ndarray, "y x"]:
    """From 0 at depth 0 to 1 at depth 1, without a kink."""
    ramp = np.clip(depth, 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp))


def match_colour(
    painted: Float32[np.ndarray, "h w 3"],
    original: UInt8[np.ndarray, "h w 3"],
    alpha: Float32[np.ndarray, "h w"],
    landmarks: Float32[np.ndarray, "68 2"],
) -> Float32[np.ndarray, "h w 3"]:
    """Shift the colours of ``painted`` smoothly towards those of ``original``.

    In the soft edge both pictures show the same skin, and inside they show the same person's, away from
    the lips: what differs there on a large scale is a colour error. It is spread by normalised convolution
    (Knutsson and Westin 1993); the lips get what their surroundings need, nothing of the old lips.

    Args:
        painted: its side is a multiple of 4.
        alpha: above 0 somewhere; elsewhere nothing is shifted.
        landmarks: iBUG points of ``original``, crop pixels.
    """
    side = painted.shape[0]
    # A quarter of the size: the correction is smooth by design, and this makes it nearly free.
    box = bounds(alpha > 0, margin=_SHRINK, step=_SHRINK)
    small = tuple(slice(part.start // _SHRINK, part.stop // _SHRINK) for part in box)
    size = (small[1].stop - small[1].start, small[0].stop - small[0].start)
    shown = alpha[box]
    error = original[box] - painted[box]
    same = reduce(np.maximum, cv2.split(np.abs(error))) < _STRANGE
    away = _from_lips(landmarks, side, box) > 1
    edge = ((shown > 0.02) & same & (away | (shown < 0.98))).astype(np.float32)
    trusted = np.zeros((side // _SHRINK, side // _SHRINK, 4), np.float32)  # error and weight
    trusted[small] = cv2.resize(
        cv2.merge([error * edge[..., None], edge]), size, interpolation=cv2.INTER_AREA
    )
    spread = cv2.GaussianBlur(trusted, (0, 0), _COLOUR_REACH * side / _SHRINK)[small]
    # The floor keeps a border with nothing to trust from shouting: there the correction fades to none.
    correction = spread[..., :3] / np.maximum(spread[..., 3:], 0.02)
    matched = painted.copy()
    matched[box] += cv2.resize(correction, shown.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return matched


def split_texture(
    painted: Float32[np.ndarray, "h w 3"],
    original: UInt8[np.ndarray, "h w 3"],
    alpha: Float32[np.ndarray, "h w"],
    landmarks: Float32[np.ndarray, "68 2"],
    softness: float,
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """Where the fine texture of ``original`` belongs, and both pictures without it.

    Pores, stubble and the camera's grain are no part of what is said, and no network paints them as
    they were. So they stay, away from the lips, where both pictures agree on a large scale: else one shows
    a lip or the edge of the jaw. Lips and teeth that are painted softly are sharpened instead.

    Args:
        painted: with matched colours, see ``match_colour``.
        alpha: above 0 somewhere; only there texture is kept.
        landmarks: iBUG points of ``original``, crop pixels.
        softness: how much painted fine detail lacks, as a share of what there is.
    Returns:
        painted: without its own texture where the original's belongs.
        coarse: ``original`` without any.
        own: share of the texture that is to be the original's, 0 to 1; see ``keep_texture``.
    """
    side = painted.shape[0]
    box = bounds(alpha > 0)
    ours, coarse = painted[box], original.astype(np.float32)
    ours_coarse = cv2.GaussianBlur(ours, (0, 0), _FINE * side)
    sharper = (ours - cv2.GaussianBlur(ours, (0, 0), _SOFT * side)) * softness
    coarse[box] = cv2.GaussianBlur(coarse[box], (0, 0), _FINE * side)
    apart = reduce(np.maximum, cv2.split(np.abs(coarse[box] - ours_coarse))) / np.float32(_OTHER)
    away = np.clip(_from_lips(landmarks, side, box) - 0.5, 0, 1)
    own = np.zeros(alpha.shape, np.float32)
    own[box] = away * np.clip(1.5 - 1.5 * apart, 0, 1) * (alpha[box] > 0)
    smooth = painted.copy()
    smooth[box] += sharper * (1 - away)[..., None] - (ours - ours_coarse) * own[box][..., None]
    return smooth, coarse, own


def keep_texture(
    patch: Float32[np.ndarray, "y x 3"],
    picture: UInt8[np.ndarray, "y x 3"],
    coarse: Float32[np.ndarray, "y x 3"],
    own: Float32[np.ndarray, "y x"],
) -> Float32[np.ndarray, "y x 3"]:
    """``patch`` with the fine texture of ``picture``, at the frame's resolution.

    What is finer than a crop's pixels no crop can hold, only the frame itself.

    Args:
        picture: the part of the frame that ``patch`` shall cover.
        coarse, own: see ``split_texture``, brought to the frame's resolution.
    """
    fine = picture - coarse
    kept = np.clip(fine, -_STRONGEST, _STRONGEST) * own[..., None]
    # Of independent grains the squares add up.
    return np.asarray(patch + kept + _grain(fine) * np.sqrt(np.maximum(1 - own * own, 0))[..., None])


def _grain(fine: Float32[np.ndarray, "y x 3"]) -> Float32[np.ndarray, "y x 3"]:
    """The camera's grain, everywhere; nothing of a picture that has hardly any.

    It is the sum of what is seen in several quiet places around: as strong and as coarse as theirs, and from
    frame to frame it changes or stays as that does.
    """
    strength = cv2.resize(fine * fine, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA).mean(axis=2)
    ordinary = np.float32(np.sqrt(np.quantile(strength, _QUIET)))
    share = np.clip((ordinary - _GRAINY[0]) / (_GRAINY[1] - _GRAINY[0]), 0, 1)
    grain = np.zeros_like(fine)
    if not share:
        return grain
    size = fine.shape[1::-1]
    # No mole, crease or old lip: cells hardly stronger than the quietest, and of those no stray pixel.
    quiet = (strength < 1.5 * ordinary**2).astype(np.float32)
    quiet[[0, -1]] = quiet[:, [0, -1]] = 0  # there the coarse picture may end
    quiet = cv2.resize(quiet, size, interpolation=cv2.INTER_NEAREST)
    held = cv2.merge([*cv2.split(np.clip(fine, -4 * ordinary, 4 * ordinary) * quiet[..., None]), quiet])
    count = np.zeros_like(quiet)
    for number, (across, down) in enumerate(_PLACES):
        move = np.array([[1, 0, round(across * size[0])], [0, 1, round(down * size[1])]], np.float32)
        moved = cv2.warpAffine(held, move, size, flags=cv2.INTER_NEAREST)
        grain += (-1) ** number * moved[..., :3]
        count += moved[..., 3]
    return np.asarray(grain * (share / np.sqrt(np.maximum(count, 1)))[..., None])


@dataclass(frozen=True, slots=True)
class MouthColour:
    """The colours of one person's mouth, over those of the skin around it, levels."""

    lips: Float32[np.ndarray, " 2"]  # R - Y and B - Y
    least: Float32[np.ndarray, " 2"]  # hardly a pixel of lips, teeth and tongue has less of either
    most: Float32[np.ndarray, " 2"]  # or more; infinite if none is seen


def mouth_colour(picture: UInt8[np.ndarray, "h w 3"], landmarks: Float32[np.ndarray, "68 2"]) -> MouthColour:
    """What ``match_mouth`` shall keep to.

    Args:
        picture: a crop, its mouth open if it can be had.
        landmarks: iBUG points in its pixels.
    """
    side = picture.shape[0]
    away = _from_lips(landmarks, side, (slice(None), slice(None)))
    apart = _from_skin(picture.astype(np.float32), away)
    lips, inside = (away == 0).astype(np.uint8), np.zeros((side, side), np.uint8)
    inner = np.round(landmarks[_INNER_LIPS]).astype(np.int32)
    cv2.polylines(lips, [inner], True, 0, thickness=max(round(_INNER_EDGE * side), 1))
    cv2.fillPoly(lips, [inner], 0)
    cv2.fillPoly(inside, [inner], 1)
    seen = [apart[part > 0] for part in (lips, inside)]
    colour = np.median(seen[0], axis=0) if len(seen[0]) else np.zeros(2)
    least, most = np.full(2, -np.inf), np.full(2, np.inf)
    if min(map(len, seen)) > _TOLD * side * side:
        least, most = (
            ends([np.quantile(part, share, axis=0) for part in seen] + [np.zeros(2)], axis=0)
            for ends, share in ((np.min, 1 - _MOST), (np.max, _MOST))
        )
    return MouthColour(*(np.asarray(found, np.float32) for found in (colour, least, most)))


def match_mouth(
    painted: Float32[np.ndarray, "h w 3"], colour: MouthColour, landmarks: Float32[np.ndarray, "68 2"]
) -> Float32[np.ndarray, "h w 3"]:
    """Give a painted mouth the colours of this person's; how light it is stays, and so does skin.

    A network that learned mouths from other people paints theirs: their lips, and a dim inside that is bluer
    than this person's teeth are. Where the painted lips are tells their redness; lips too much like skin to
    be told by it are at least no redder than this person's mouth is anywhere.

    Args:
        painted: a crop.
        colour: of this person's mouth, see ``mouth_colour``.
        landmarks: iBUG points of the frame that it is painted into, crop pixels.
    """
    away = _from_lips(landmarks, painted.shape[0], (slice(None), slice(None)))
    box = bounds(away < _SKIN)
    away = away[box]
    apart = _from_skin(painted[box], away)
    near = np.clip(2 - 2 * away, 0, 1)  # not the chin
    change = np.zeros_like(apart)
    # Teeth and stubble may be bluer than skin as well, but not redder.
    certain = np.clip((colour.lips[0] - _RED[0]) / (_RED[1] - _RED[0]), 0, 1)
    if certain:
        redder = apart[..., 0]
        share = np.clip(1.5 * redder / colour.lips[0] - 0.5, 0, 1) * near
        if share.sum() >= 1:  # else no lips are in sight
            # As much colour as this person's lips have on average, here and there more or less as painted.
            wanted = (redder / ((redder * share).sum() / share.sum()))[..., None] * colour.lips
            change = (wanted - apart) * (certain * share)[..., None]
    changed = apart + change
    back = np.clip(changed, colour.least, colour.most) - changed
    change += near[..., None] * back * (1 - certain, 1)
    red, blue = cv2.split(change.astype(np.float32))
    matched = painted.copy()
    matched[box] += cv2.merge([red, -(_LUMA[0] * red + _LUMA[2] * blue) / _LUMA[1], blue])
    return matched


def _from_skin(
    picture: Float32[np.ndarray, "y x 3"], away: Float32[np.ndarray, "y x"]
) -> Float32[np.ndarray, "y x 2"]:
    """R - Y and B - Y, less those of the skin around the lips; ``away`` is from them."""
    chroma = picture[..., [0, 2]] - (picture @ _LUMA)[..., None]
    around = chroma[(away > 1) & (away < _SKIN)]
    # A beard is no skin, and how much of it is seen changes from frame to frame. It is hardly red at all.
    reddest = np.quantile(around[:, 0], 0.9)
    skin = around[around[:, 0] >= min(reddest, reddest / 2)]
    return np.asarray(chroma - np.median(skin, axis=0), np.float32)


def _from_lips(
    landmarks: Float32[np.ndarray, "68 2"], side: int, box: tuple[slice, slice]
) -> Float32[np.ndarray, "y x"]:
    """How far the pixels of ``box`` are from the lips; 1 is where skin no longer moves with them."""
    lips = np.zeros((side, side), np.uint8)
    cv2.fillConvexPoly(lips, cv2.convexHull(np.round(landmarks[_LIPS]).astype(np.int32)), 1)
    distance = cv2.distanceTransform(1 - lips[box], cv2.DIST_L2, 5)
    return np.asarray(distance / np.float32(_AROUND_LIPS * side))


def bounds(shown: Bool[np.ndarray, "h w"], margin: int = 0, step: int = 1) -> tuple[slice, slice]:
    """Rows and columns that hold everything ``shown``, which is not nothing.

    Args:
        margin: pixels more on every side, as far as there are any.
        step: begin and end on multiples of this.
    """
    sides = []
    for line in (np.asarray(shown.any(axis=1)), np.asarray(shown.any(axis=0))):
        first, stop = int(line.argmax()) - margin, len(line) - int(line[::-1].argmax()) + margin
        sides.append(slice(max(first // step * step, 0), min(-(-stop // step) * step, len(line))))
    return sides[0], sides[1]

"""Which frame shows best who a person is: the networks paint from it, so its pixels are seen again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from keysync.cast import Run
from keysync.face.crop import RIGID
from keysync.face.mouth import eye_distance, inner_gap

_LOOKED_THROUGH = 250  # frames to either side of a stretch in which its portrait is looked for
_AS_CLEAR = 0.05  # how much more of a face may be hidden
_BLURRED = 0.15  # eye distances a frame; a head that moves faster is seen blurred
# The first portrait: frames that are early; how wide a mouth must be, as a share of the widest, for the early
# ones to do; how much of a grin's mouth is dark at most, and of a hanging jaw's at least.
_EARLY, _WIDE, _GRIN, _HANGING = 40, 0.7, 0.3, 0.4
_TURNED_DEG = 8.0  # another look of the head: its jaw line lies elsewhere
# Of the eyes' distance, between the lips: drawn mouths, which the model learnt from, are hardly ever wider.
_YELL = 0.3
# A later portrait: points that only turns of the head move in a crop (iBUG: beside the ears, bridge of the
# nose); how far away, in eye distances, they are elsewhere; how near, against the nearest, the portrait
# before must be to stay, and another to be as good; by how much their mouths may differ, in eye distances
# between the lips and between the corners, and in how much of it is dark; above which sum of the squares of
# that no turn makes up for it.
_STILL, _ELSEWHERE = np.array([0, 1, 2, 3, 13, 14, 15, 16, 27, 28, 29, 30]), 0.14
_STAYS, _AS_GOOD, _OTHER_MOUTH, _UNLIKE = 0.6, 0.8, np.array([0.07, 0.04, 0.4]), 16
_EVERY = 5  # frames of a stretch of which one is compared

Places = Int64[np.ndarray, " places"]


def choose_portraits(run: Run, stretches: Sequence[tuple[int, int]], *, open_mouth: bool) -> list[int]:
    """For each stretch, first frame and end, the place in ``run`` that shows best who this is.

    It stays the same while it can: another picture of the person has other lips. But where the head has
    turned, what was beside it before would be painted on its cheek: there it is a frame of a head so turned.

    Args:
        open_mouth: a mouth wide open shows its teeth, and how far it opens: painting from it, the compact
            model follows the speech better. Else all have the first frame in plain view.
    """
    first = _first(run, open_mouth=open_mouth)
    portraits = [first]
    for start, stop in stretches[1:]:
        portraits.append(_next(run, start, stop, first, portraits[-1]) if open_mouth else first)
    return portraits


def _first(run: Run, *, open_mouth: bool) -> int:
    """An early frame in plain view.

    A later frame, of a head that has moved on, is worth less (docs/lessons.md); but not than a grin, whose
    teeth would be stretched over all of an opening mouth. A yell is too wide: lips that meet would be
    painted apart.
    """
    places = np.arange(min(len(run), _LOOKED_THROUGH))
    plain = _in_plain_view(run, places)
    if not open_mouth:
        return int(plain.argmax())
    gap, hollow = _mouths(run, places)[:, 0], run.hollow[places]
    gap[gap > _YELL] = 0
    gap[~plain] = -1
    first_open = int((gap >= _WIDE * gap.max()).argmax())
    place = int(gap[: max(_EARLY, first_open + 1)].argmax())
    if hollow[place] < _GRIN:
        hanging = (gap >= _WIDE * gap[place]) & (hollow >= _HANGING)
        hanging &= np.abs(run.yaw_deg[places] - run.yaw_deg[place]) < _TURNED_DEG
        dark = gap * hollow * hanging
        place = int((dark >= _WIDE * dark.max()).argmax()) if hanging.any() else place
    return place


def _next(run: Run, start: int, stop: int, first: int, last: int) -> int:
    """The portrait ``last`` of the stretch before, or one whose head is turned as in this stretch.

    Of those the one whose mouth is most like the first portrait's: another one would open the lips otherwise.
    Where all so turned are shut or rounded, from which lips would hardly open, it is one less turned.
    """
    low, high = max(start - _LOOKED_THROUGH, 0), min(start + _LOOKED_THROUGH, len(run))
    places = np.concatenate([[last], np.arange(low, high)])
    frames = np.arange(start, min(stop, len(run)), _EVERY)
    looks, wanted = _look(run, places), _look(run, frames)
    distance = np.sqrt(((looks[:, None] - wanted) ** 2).sum(axis=3).mean(axis=2)) / _ELSEWHERE
    near = np.exp(-(distance**2)).mean(axis=1) * _in_plain_view(run, places)
    if near[0] >= _STAYS * near.max():
        return last
    other = (_mouths(run, places) - _mouths(run, np.array([first]))) / _OTHER_MOUTH
    apart = np.where(near > 0, (other**2).sum(axis=1), np.inf)
    near[apart > max(_UNLIKE, apart.min())] = 0
    return int(places[np.where(near >= _AS_GOOD * near.max(), apart, np.inf).argmin()])


def _in_plain_view(run: Run, places: Places) -> Bool[np.ndarray, " places"]:
    """Whether as little is before the face as ever, the paint as strong, and the head as still."""
    covers = [run.cover(place) for place in places.tolist()]
    hidden = np.array([cover.face if cover else 0.0 for cover in covers])
    poor = np.round(hidden / _AS_CLEAR) + np.round((1 - run.strength[places]) / _AS_CLEAR)
    poor += _speed(run, places) > _BLURRED
    return np.asarray(poor == poor.min())


def _speed(run: Run, places: Places) -> Float64[np.ndarray, " places"]:
    """Of the head, eye distances a frame."""
    before, after = np.maximum(places - 1, 0), np.minimum(places + 1, len(run) - 1)
    moved = (run.landmarks[after] - run.landmarks[before])[:, RIGID].mean(axis=1)
    apart = np.maximum(after - before, 1) * np.maximum(eye_distance(run.landmarks[places]), 1e-6)
    return np.asarray(np.linalg.norm(moved, axis=1) / apart, np.float64)


def _mouths(run: Run, places: Places) -> Float64[np.ndarray, "places 3"]:
    """How far lips and corners are apart, in eye distances, and how much of what is between is dark."""
    points = run.landmarks[places]
    apart = np.maximum(eye_distance(points), 1e-6)
    width = np.linalg.norm(points[:, 48] - points[:, 54], axis=1)
    return np.stack([inner_gap(points) / apart, width / apart, run.hollow[places]], axis=1)


def _look(run: Run, places: Places) -> Float32[np.ndarray, "places 12 2"]:
    """Where ``_STILL`` lie in the crop, in eye distances."""
    points = np.stack([run.points(place) for place in places.tolist()])
    return np.asarray(points[:, _STILL] / max(float(np.median(eye_distance(points))), 1e-6), np.float32)

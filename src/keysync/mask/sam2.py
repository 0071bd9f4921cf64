"""What a finder found, refined by SAM 2 (Ravi et al. 2024, arXiv:2408.00714): found once, then followed.

The finder's largest spot of a stretch that nothing explains yet is the prompt for an object. SAM 2 follows
it backwards and forwards until it is gone; then the next spot, until all are explained. Objects that are
there at the end of a stretch live on into the next one.

The network is the transformers library's. Its processors are not used, they need torchvision: a crop is
scaled and normalised here, prompts and answers are carried between the two sizes here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor

from keysync.diffusion.half import fast_on
from keysync.errors import CheckpointError
from keysync.mask.occlusion import Click, EarlierShares, Follower, Shares, WideCrops, with_edge
from keysync.mask.segmenter import SIDE
from keysync.weightfile import load_into, load_safetensors

if TYPE_CHECKING:
    from transformers import Sam2VideoModel

Mask = Float32[np.ndarray, "128 128"]
Spot = Bool[np.ndarray, "128 128"]

MAX_BYTES = 2**30  # of weights; the largest official size has 0.9e9
_DESCRIPTION_BYTES = 2**20
_SIZES = range(128, 2049)  # pixels a side that a network may ask for
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which all official weights expect
_FINE = 4
_REMEMBERED = 15  # frames: SAM 2 looks at the masks of 6 and the pointers of 15, and at the prompt
_MOST = 4  # objects followed at a time; what else was found stays as the finder gave it
_NEW = 8  # objects begun in a stretch, at most
_GONE = 25  # frames in a row: so long an object is looked for, but no longer than it was there
_SMALLEST = 64  # pixels of a crop of 128: a smaller spot is no prompt
_EXPLAINED = 0.5  # share of a spot that objects must cover
_SAME = 0.8  # share of an object inside others: then it is one of them
_AGREES = 0.5  # intersection over union of a spot and what SAM 2 makes of it


def open_sam2(folder: Path, device: torch.device) -> Sam2VideoModel:
    """The network of a folder with ``config.json`` and ``model.safetensors``.

    Raises:
        CheckpointError: there is none, or not SAM 2 for video, or it does not fit its weights.
    """
    config, weights = folder / "config.json", folder / "model.safetensors"
    for path in (config, weights):
        if not path.is_file():
            raise CheckpointError(
                f"{path}: not there; 'keysync models fetch sam2' gets it, or put the folder of a "
                f"Sam2VideoModel at {folder}"
            )
    from transformers import Sam2VideoConfig, Sam2VideoModel

    try:
        if config.stat().st_size > _DESCRIPTION_BYTES:
            raise ValueError("too long")
        given = json.loads(config.read_bytes())
        kind, size = given["model_type"], given.get("image_size", 1024)
        if kind != "sam2_video" or not isinstance(size, int) or size not in _SIZES:
            raise ValueError(f"model_type is {kind!r}, image_size {size!r}")
        settings = Sam2VideoConfig.from_dict(given)
        grids = [[size // cell, size // cell] for cell in (4, 8, 16)]
        vision, prompts = settings.vision_config, settings.prompt_encoder_config
        if vision.backbone_feature_sizes != grids or prompts.image_size != size:
            raise ValueError("its sizes do not fit together")
        # Measured before it is laid out in memory: a description may ask for more than there is.
        with torch.device("meta"):
            blank = Sam2VideoModel(settings)
        if 4 * sum(weight.numel() for weight in blank.parameters()) > MAX_BYTES:
            raise ValueError("its network is larger than any SAM 2")
    except Exception as error:  # a bad description can fail anywhere inside transformers
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise CheckpointError(
            f"{config}: not a SAM 2 for video ({reason}); 'keysync models fetch sam2' gets one"
        ) from error
    network = Sam2VideoModel(settings)
    load_into(network, load_safetensors(weights, limit_bytes=MAX_BYTES), weights)
    return network.to(device).eval().requires_grad_(False)


class Prompt(NamedTuple):
    """Points that tell SAM 2 what is meant."""

    points: Float64[np.ndarray, "n 2"]  # x, y as shares of the crop's side
    labels: list[int]  # 1: on the object; 2 and 3: two corners of a box about it


class Sam2Follower(Follower):
    """Follows occluders through one run of one face.

    Bounded: it holds two stretches of crops (100 MB) and, of each object, what SAM 2 remembers of the prompt
    and of the last ``_REMEMBERED`` frames (1.5 MB each). Where nothing was found and nothing is followed, it
    costs nothing.
    """

    side = 512  # all that the aligned crop has
    stretch = 64

    def __init__(self, network: Sam2VideoModel) -> None:
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceCache

        self._network = network
        self._cache = Sam2VideoInferenceCache(network.device, network.device)  # what all see of one frame
        self._first = 0  # number of the first crop held, in the run
        self._crops: WideCrops = np.empty((0, self.side, self.side, 3), np.uint8)
        self._found: Shares = np.empty((0, SIDE, SIDE), np.float32)
        self._masks: Shares = np.empty((0, SIDE, SIDE), np.float32)  # of all objects together
        self._living: list[_Object] = []

    def take(self, crops: WideCrops, found: Shares, clicks: Sequence[Click] = ()) -> EarlierShares:
        """See ``Follower``."""
        held = len(self._crops)
        self._crops = np.concatenate([self._crops, crops])
        self._found = np.concatenate([self._found, found])
        self._masks = np.concatenate([self._masks, np.zeros_like(found)])
        fresh = range(held, len(self._crops))
        self._living = self._follow(self._living, fresh)
        for click in clicks:
            point = np.array([[click.x, click.y]]) / self.side
            self._live(self._object(held + click.place, Prompt(point, [1])), held + click.place)
        # Each frame is asked about once: what SAM 2 then denies stays as it was found.
        asked = set[int]()
        while len(self._living) < _MOST and len(asked) < _NEW:
            found_at = self._largest(place for place in fresh if place not in asked)
            if found_at is None:
                break
            self._live(self._begin(*found_at), found_at[0])
            asked.add(found_at[0])
        done = self._answers(held)
        self._crops, self._found, self._masks = self._crops[held:], self._found[held:], self._masks[held:]
        self._first += held
        return done

    def rest(self) -> Shares:
        """See ``Follower``."""
        return self._answers(len(self._crops))

    def _follow(
        self, objects: list[_Object], places: Iterable[int], *, reverse: bool = False
    ) -> list[_Object]:
        """Add objects to the masks of ``places``; those that are still there at the end."""
        for place in places:
            if not objects:
                break
            pixels = self._pixels(place)
            going = []
            for one in objects:
                mask = one.look(self._first + place, pixels, reverse=reverse)
                known = _inside(mask > 0.5, self._masks[place] > 0.5) >= _SAME
                self._masks[place] = np.maximum(self._masks[place], mask)
                if one.missing <= min(_GONE, one.seen) and not known:
                    going.append(one)
            objects = going
        return objects

    def _live(self, one: _Object, place: int) -> None:
        """Follow a new object from its prompt on, both ways."""
        self._masks[place] = np.maximum(self._masks[place], one.mask)
        self._follow([one], range(place - 1, -1, -1), reverse=True)
        one.missing = 0
        self._living += self._follow([one], range(place + 1, len(self._crops)))

    def _begin(self, place: int, spot: Spot) -> _Object:
        """An object from a spot: what SAM 2 sees in its box, or the spot itself if that is another thing."""
        rows, columns = np.flatnonzero(spot.any(axis=1)), np.flatnonzero(spot.any(axis=0))
        depth = cv2.distanceTransform(np.pad(spot, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        points = [(columns[0], rows[0]), (columns[-1] + 1, rows[-1] + 1), (x + 0.5, y + 0.5)]
        one = self._object(place, Prompt(np.array(points, np.float64) / SIDE, [2, 3, 1]))
        seen = one.mask > 0.5
        if (seen & spot).sum() >= _AGREES * (seen | spot).sum():
            return one
        return self._object(place, spot)

    def _object(self, place: int, prompt: Prompt | Spot) -> _Object:
        return _Object(self._network, self._cache, self._first + place, self._pixels(place), prompt)

    def _pixels(self, place: int) -> Float[Tensor, "3 s s"]:
        """A crop as the network wants it."""
        size = self._network.config.image_size
        how = cv2.INTER_LINEAR if size > self.side else cv2.INTER_AREA
        scaled = cv2.resize(self._crops[place], (size, size), interpolation=how)
        values = torch.from_numpy(scaled).to(self._network.device).permute(2, 0, 1).float() / 255
        mean, deviation = (torch.tensor(three).to(values)[:, None, None] for three in (_MEAN, _STD))
        return (values - mean) / deviation

    def _unexplained(self, place: int) -> list[Spot]:
        """What the finder found there and no object covers."""
        count, label = cv2.connectedComponents((self._found[place] > 0.5).astype(np.uint8))
        seen = self._masks[place] > 0.5
        spots = (label == number for number in range(1, count))
        return [spot for spot in spots if _inside(spot, seen) < _EXPLAINED]

    def _largest(self, places: Iterable[int]) -> tuple[int, Spot] | None:
        """The spot of which the finder is surest over the most pixels."""
        spots = [(place, spot) for place in places for spot in self._unexplained(place)]
        spots = [(place, spot) for place, spot in spots if spot.sum() >= _SMALLEST]
        return max(spots, key=lambda one: self._found[one[0]][one[1]].sum(), default=None)

    def _answers(self, count: int) -> Shares:
        """Of the first crops: the objects, and beside them what the finder found and no object explains."""
        answers = self._masks[:count].copy()
        for place in range(count):
            for spot in self._unexplained(place):
                near = with_edge(spot)
                answers[place][near] = np.maximum(answers[place], self._found[place])[near]
        return answers


class _Object:
    """One object and what SAM 2 remembers of it."""

    def __init__(
        self, network: Any, cache: Any, number: int, pixels: Float[Tensor, "3 s s"], prompt: Prompt | Spot
    ) -> None:
        from transformers import Sam2VideoInferenceSession

        device = network.device
        self._network = network
        self.seen = self.missing = 0  # frames with it; frames in a row without it
        self._session = session = Sam2VideoInferenceSession(
            inference_device=device,
            inference_state_device=device,
            video_storage_device=device,
            dtype=network.dtype,
        )
        session.cache = cache
        index, size = session.obj_id_to_idx(1), pixels.shape[-1]
        if isinstance(prompt, Prompt):
            # The network counts from the centre of the first pixel.
            points = torch.from_numpy(prompt.points * size - 0.5).to(pixels)
            labels = torch.tensor(prompt.labels, dtype=torch.int32, device=device)
            session.add_point_inputs(
                index, number, {"point_coords": points[None, None], "point_labels": labels[None, None]}
            )
        else:
            large = cv2.resize(prompt.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
            session.add_mask_inputs(index, number, torch.from_numpy(large > 0.5)[None, None].float())
        session.obj_with_new_inputs = [1]
        self.mask = self.look(number, pixels)  # of the frame of the prompt

    def look(self, number: int, pixels: Float[Tensor, "3 s s"], *, reverse: bool = False) -> Mask:
        """Where it is in the next frame; with ``reverse``, in the one before. Nowhere, if SAM 2 says so."""
        # In half the digits, as its authors run it, where that is faster.
        device = pixels.device
        with torch.autocast(device.type, torch.bfloat16, enabled=fast_on(device)):
            answer = self._network(self._session, frame_idx=number, frame=pixels, reverse=reverse)
        self._forget(number)
        mask = np.zeros((SIDE, SIDE), np.float32)
        if answer.object_score_logits.item() >= 0:
            # Its outline, where the answer changes sign, drawn fine and averaged: alpha, not stairs.
            logits = answer.pred_masks[0, 0].float().cpu().numpy()
            fine = cv2.resize(logits, (_FINE * SIDE, _FINE * SIDE), interpolation=cv2.INTER_LINEAR) > 0
            mask = cv2.resize(fine.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        there = bool((mask > 0.5).any())
        self.seen += there
        self.missing = 0 if there else self.missing + 1
        return mask

    def _forget(self, number: int) -> None:
        """Drop from the session what SAM 2 will not ask for again: it would keep every frame for ever."""
        session = self._session
        session.processed_frames = None
        for tracked in session.frames_tracked_per_obj.values():
            tracked.clear()
        for outputs in session.output_dict_per_obj.values():
            later = outputs["non_cond_frame_outputs"]
            for old in [known for known in later if abs(known - number) >= _REMEMBERED]:
                del later[old]
            for output in (*later.values(), *outputs["cond_frame_outputs"].values()):
                output.pop("high_res_masks", None)
                output.pop("pred_masks", None)


def _inside(spot: Spot, other: Spot) -> float:
    """Share of a spot that lies in another; 0 of none."""
    return float((spot & other).sum() / max(spot.sum(), 1))

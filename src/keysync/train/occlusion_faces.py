"""Drawn faces for the occlusion segmenter: aligned pictures of people with nothing before them.

One file a person: two scenes (light, camera, background), in each the same person with other expressions
and other head poses. What covers them is pasted later, anew for every batch; see ``occlusion_scenes.py``.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from keysync.face.crop import RIGID, Framing
from keysync.face.warp import apply, fit_similarity, warp
from keysync.synthetic.camera import expose
from keysync.synthetic.head import head_model
from keysync.synthetic.person import Person, Scene, draw_person, draw_scene, picture, place_camera, pose
from keysync.synthetic.skin import draw_look

SIDE = 192  # pixels of a stored picture ...
INNER = 148  # ... of which the aligned crop is the middle: room to shift, turn and shrink it
SCENES, SHOTS = 2, 5
_FRAME = 256
_OVERSAMPLE = 1.25
_KIND = 11  # of generator: ``make.py`` uses 0 to 5
_STRONG = ("jawOpen", "mouthFunnel", "mouthPucker", "tongueOut", "tongueUp", "mouthRollLower")


@dataclass(frozen=True, slots=True)
class Faces:
    """One person in one scene."""

    pictures: UInt8[np.ndarray, "k s s 3"]
    landmarks: Float32[np.ndarray, "k 68 2"]  # pixels of the stored picture
    mattes: UInt8[np.ndarray, "k s s"]  # person against background


def draw_faces(seed: int, index: int) -> list[Faces]:
    """One person in ``SCENES`` scenes, ``SHOTS`` pictures each; every fourth one has a beard."""
    person = draw_person(_identity(seed, index))
    rng = np.random.default_rng([seed, _KIND + 1, index])
    return [_shoot(person, draw_scene(rng), rng) for _ in range(SCENES)]


def make_faces(count: int, seed: int, out: Path, jobs: int) -> Iterator[Path]:
    """Draw ``count`` people into ``out``, those that are not there yet; yields each file when it is."""
    out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        queued = [pool.submit(_keep, seed, index, out / f"{index:05d}.npz") for index in range(count)]
        try:
            for done in as_completed(queued):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def load_faces(folder: Path) -> list[Faces]:
    """All scenes of everybody in ``folder``, in order."""
    faces = []
    for path in sorted(folder.glob("[0-9]*[0-9].npz")):
        with np.load(path, allow_pickle=False) as kept:
            stacked = [kept[name] for name in Faces.__dataclass_fields__]
        faces += [Faces(*parts) for parts in zip(*stacked, strict=True)]
    return faces


def _keep(seed: int, index: int, path: Path) -> Path:
    if not path.exists():
        scenes = draw_faces(seed, index)
        partial = path.with_suffix(".partial.npz")
        fields = Faces.__dataclass_fields__
        stacks = {name: np.stack([getattr(scene, name) for scene in scenes]) for name in fields}
        np.savez(partial, allow_pickle=False, **stacks)
        partial.replace(path)
    return path


def _identity(seed: int, index: int) -> np.random.Generator:
    """The generator of a person; for every fourth, the first of a row that draws a beard."""
    wants_beard = index % 4 == 0
    attempt = 0
    while wants_beard and not draw_look(_generator(seed, index, attempt).spawn(4)[1]).beard:
        attempt += 1
    return _generator(seed, index, attempt)


def _generator(seed: int, index: int, attempt: int) -> np.random.Generator:
    return np.random.default_rng([seed, _KIND, index, attempt])


def _shoot(person: Person, scene: Scene, rng: np.random.Generator) -> Faces:
    camera = place_camera(scene, person, (_FRAME, _FRAME), str(rng.choice(["face", "head"])))
    template = Framing().template(INNER) + (SIDE - INNER) / 2
    pictures, landmarks, mattes = [], [], []
    for _ in range(SHOTS):
        turned = scene.pose + rng.normal(0, (3.0, 6.0, 2.5))
        posed = pose(person, _expression(rng), turned, rng.normal(0, 0.3, 3))
        drawn = picture(person, posed, scene, camera, _OVERSAMPLE)
        points = camera.project(posed.landmarks)[:, :2]
        place = fit_similarity(points[RIGID], template)
        pictures.append(warp(expose(drawn.srgb, scene.sensor, rng), place, SIDE, SIDE))
        mattes.append(warp(drawn.matte, place, SIDE, SIDE))
        landmarks.append(apply(place, points).astype(np.float32))
    return Faces(np.stack(pictures), np.stack(landmarks), np.stack(mattes))


def _expression(rng: np.random.Generator) -> Float32[np.ndarray, " 57"]:
    """Any face that speech, song, laughter or a grimace could make."""
    names = head_model().names
    weights: Float64[np.ndarray, " 57"] = rng.uniform(0, 0.4, len(names)) * (rng.random(len(names)) < 0.15)
    for name in _STRONG:
        if rng.random() < 0.35:
            weights[names.index(name)] = rng.uniform(0, 0.7)
    smile = rng.uniform(0, 0.8) * (rng.random() < 0.3)
    for side in ("L", "R"):
        weights[names.index(f"mouthSmile_{side}")] += smile
        weights[names.index(f"mouthUpperUp_{side}")] += 0.4 * smile
    return np.asarray(np.clip(weights, 0, 1), np.float32)

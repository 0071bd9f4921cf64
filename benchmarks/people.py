"""Who speaks, and where are the cuts? Drawn people, so that the truth is known.

    python benchmarks/people.py [--clips 20] [--keep FOLDER] [--jobs 2]

Three tables:

    auto    two people side by side who talk in turn: is the one who talks longer picked, and for which
            part of the frames does ``turns`` name the right one (frames in which somebody talks)?
    cuts    one hard cut a clip, to another person or to the same one reframed (by 15 to 60 %); found if a
            shot starts within one frame of it and nowhere else
    uncut   fast head shakes, camera shakes, flashes, an arm that sweeps through: no cut at all
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from keysync import load_models
from keysync.audio.compact import CompactAudioEncoder
from keysync.audio.opening import expected_opening
from keysync.clip import Frame
from keysync.face.crop import Framing
from keysync.face.shots import ShotDetector
from keysync.face.speaker import turns, who_speaks
from keysync.face.survey import survey
from keysync.face.track import FaceTracker, face_tracker
from keysync.speech import Speech
from keysync.synthetic.articulate import articulate
from keysync.synthetic.behave import behave, merge
from keysync.synthetic.camera import expose
from keysync.synthetic.head import head_model, seal_lips
from keysync.synthetic.person import draw_person, draw_scene, picture, place_camera, pose
from keysync.synthetic.speech import TEST_VOICES, TRAIN_VOICES, speak
from keysync.synthetic.text import sentence
from keysync.synthetic.utterance import PAUSE, RATE_HZ, Phone, Utterance

FPS = Fraction(25)
SIDE = 256
SECONDS = 3.6
WORDS_PER_SECOND = 3.5
SIDES = ("left", "right")


def draw_talker(seed: int, start_s: float, end_s: float, shake: float, path: Path) -> Path:
    """One person who talks from ``start_s`` to ``end_s`` and rests otherwise; kept in ``path``.

    Args:
        shake: how fast the head is thrown from side to side, degrees of yaw each way, twice a second.
    """
    if path.exists():
        return path
    rng = np.random.default_rng([7, seed])
    spoken = speak(
        sentence(rng, max(2, round((end_s - start_s) * WORDS_PER_SECOND))),
        str(rng.choice(TRAIN_VOICES + TEST_VOICES)),
        rng,
    )
    utterance = _place(spoken, start_s, end_s)
    mouth = articulate(utterance, SECONDS, rng, fps=FPS, jaw_gain=rng.uniform(0.7, 1.25), lip_gain=1.0)
    behaviour = behave(mouth, rng)
    named = merge(mouth, behaviour)
    still = np.zeros(len(mouth.closure), np.float32)
    person, scene = draw_person(rng), draw_scene(rng)
    weights = np.stack([named.get(name, still) for name in head_model().names], axis=1)
    weights = seal_lips(person.resting, weights, mouth.closure)
    swing = np.sin(2 * np.pi * 2 * mouth.times_s + rng.uniform(0, 6))[:, None] * (0, 1, 0) * shake
    motion = behaviour.pose + scene.pose + swing
    camera = place_camera(scene, person, (SIDE, SIDE), "head")
    frames = []
    for number in range(int(SECONDS * FPS)):
        at = min(round(number / FPS * mouth.rate_hz), len(motion) - 1)
        posed = pose(person, weights[at], motion[at], behaviour.shift[at])
        drawn = picture(person, posed, scene, camera, 1.25)
        frames.append(expose(drawn.srgb, scene.sensor, rng))
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, frames=np.stack(frames), samples=utterance.samples)
    partial.rename(path)
    return path


def _place(spoken: Utterance, start_s: float, end_s: float) -> Utterance:
    """The utterance from ``start_s`` on, cut at ``end_s``, with silence around it."""
    samples = np.zeros(round(SECONDS * RATE_HZ), np.float32)
    first = round(start_s * RATE_HZ)
    said = spoken.samples[: round((end_s - start_s) * RATE_HZ)].copy()
    fade = min(320, len(said))
    said[len(said) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    samples[first : first + len(said)] = said
    phones = [Phone(PAUSE, 0.0, start_s)] if start_s > 0 else []
    for phone in spoken.phones:
        if phone.start_s + start_s < end_s:
            phones.append(Phone(phone.name, phone.start_s + start_s, min(phone.end_s + start_s, end_s)))
    if phones[-1].end_s < SECONDS:
        phones.append(Phone(PAUSE, phones[-1].end_s, SECONDS))
    return Utterance(samples, RATE_HZ, tuple(phones))


def plan(clips: int) -> list[tuple[int, float, float, float]]:
    """Seed, turn and shake of every person: two for each clip, then one in four that shakes the head."""
    talkers = []
    for clip in range(clips):
        rng = np.random.default_rng([11, clip])
        # One talks for 54 to 65 % of the time, and either may be first.
        share = rng.uniform(0.54, 0.65) if rng.random() < 0.5 else rng.uniform(0.35, 0.46)
        middle = SECONDS * share
        turns = [(0.0, middle - 0.1), (middle + 0.1, SECONDS)]
        if rng.random() < 0.5:
            turns.reverse()
        talkers += [(2 * clip + side, *turns[side], 0.0) for side in (0, 1)]
    return talkers + [(1000 + k, 0.0, SECONDS, 14.0 + 4.0 * k) for k in range(clips // 4)]


def draw(clips: int, folder: Path, jobs: int) -> None:
    """Everybody of ``plan``, into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        waiting = [
            pool.submit(draw_talker, *talker, folder / f"{talker[0]:04d}.npz") for talker in plan(clips)
        ]
        for done in waiting:
            done.result()


def load(folder: Path, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames and samples of one talker."""
    kept = np.load(folder / f"{seed:04d}.npz")
    return kept["frames"], kept["samples"]


def film(pictures: Iterable[np.ndarray]) -> Iterator[Frame]:
    """Pictures as the frames of a clip."""
    for number, shown in enumerate(pictures):
        shown = np.ascontiguousarray(shown)
        yield Frame(av.VideoFrame.from_ndarray(shown, format="rgb24"), number / FPS)


def talks(samples: np.ndarray, frames: int) -> np.ndarray:
    """In which frames a talker is heard: within 30 dB of the loudest."""
    step = int(RATE_HZ / FPS)
    loud = np.sqrt((samples[: frames * step].reshape(frames, step).astype(np.float64) ** 2).mean(axis=1))
    return loud > loud.max() * 10 ** (-30 / 20)


def auto(clips: int, folder: Path, tracker: FaceTracker, encoder: CompactAudioEncoder) -> None:
    """The first table."""
    right, matched, heard = 0, 0, 0
    print(f"{'clip':>5} {'longer':>7} {'picked':>7} {'sure':>5} {'r left':>7} {'r right':>7} {'turns':>6}")
    for clip in range(clips):
        left, right_side = load(folder, 2 * clip), load(folder, 2 * clip + 1)
        seen = survey(film(np.concatenate([left[0], right_side[0]], axis=2)), tracker, Framing(), 512)
        sides = {}
        for one in seen.appearances:
            sides[one.person] = int(one.landmarks[:, :, 0].mean() > SIDE)
        expected = expected_opening(Speech([left[1] + right_side[1]]), seen.times, encoder)
        choice = who_speaks(seen, expected)
        talking = np.stack([talks(sound, len(seen.times)) for _, sound in (left, right_side)])
        longer = int(talking[1].sum() > talking[0].sum())
        named = np.full(len(seen.times), -1)
        for first, last, person in turns(seen, expected):
            named[first : last + 1] = sides[person]
        alone = talking[0] != talking[1]
        hits = int((named[alone] == talking[1][alone]).sum())
        right, matched, heard = right + (sides[choice.person] == longer), matched + hits, heard + alone.sum()
        scores = {sides[who]: score for who, score in choice.scores.items()}
        print(
            f"{clip:>5} {SIDES[longer]:>7} {SIDES[sides[choice.person]]:>7} {choice.confidence:>5.2f} "
            f"{scores.get(0, np.nan):>7.2f} {scores.get(1, np.nan):>7.2f} {hits / alone.sum():>6.0%}",
            flush=True,
        )
    print(f"auto: {right} of {clips} right; turns name the right one in {matched / heard:.1%} of the frames")


def zoomed(picture: np.ndarray, zoom: float, x: float, y: float) -> np.ndarray:
    """A part of the picture, its middle shifted by ``x`` and ``y`` (-0.5 to 0.5 of what is cut off)."""
    side = SIDE / zoom
    left, top = (SIDE - side) * (0.5 + x), (SIDE - side) * (0.5 + y)
    matrix = np.array([[zoom, 0, -left * zoom], [0, zoom, -top * zoom]])
    return cv2.warpAffine(picture, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)


def cut_case(case: int, clips: int, folder: Path) -> tuple[str, list[np.ndarray], int]:
    """One hard cut: what kind, the pictures, the first one after the cut."""
    rng = np.random.default_rng([13, case])
    one, other = rng.choice(2 * clips, 2, replace=False)
    before, after = load(folder, one)[0], load(folder, other)[0]
    cut = int(rng.integers(10, 50))
    if case % 2:
        zoom, x, y = rng.uniform(1.15, 1.6), *rng.uniform(-0.4, 0.4, 2)
        return (
            f"reframed x{zoom:.2f}",
            [
                *before[:cut],
                *(zoomed(picture, zoom, x, y) for picture in before[cut : cut + 40]),
            ],
            cut,
        )
    return "other person", [*before[:cut], *after[cut : cut + 40]], cut


def uncut_case(case: int, clips: int, folder: Path) -> tuple[str, list[np.ndarray]]:
    """One shot with much going on: what kind, the pictures."""
    rng = np.random.default_rng([17, case])
    pictures = list(load(folder, int(rng.integers(2 * clips)))[0])
    kind = ("head shake", "camera shake", "flash", "arm")[case % 4]
    if kind == "head shake":
        pictures = list(load(folder, 1000 + (case // 4) % max(clips // 4, 1))[0])
    elif kind == "camera shake":
        speed, reach = rng.uniform(0.2, 0.7), rng.uniform(0.2, 0.45)
        pictures = [
            zoomed(picture, 1.25, reach * np.sin(speed * k), reach * np.cos(0.8 * speed * k))
            for k, picture in enumerate(pictures)
        ]
    elif kind == "flash":
        for first in rng.integers(10, 80, 2):
            for k in range(first, min(first + int(rng.integers(1, 4)), len(pictures))):
                pictures[k] = cv2.add(pictures[k], np.full(3, rng.integers(80, 220), np.uint8).astype(float))
    else:
        first, colour = int(rng.integers(10, 60)), tuple(int(c) for c in rng.integers(60, 200, 3))
        for k in range(first, min(first + 10, len(pictures))):
            pictures[k] = pictures[k].copy()
            x = round(SIDE * ((k - first) / 8 - 0.1))  # an eighth of the picture from frame to frame
            cv2.line(pictures[k], (x, SIDE), (x + 40, 40), colour, 70, cv2.LINE_AA)
    return kind, pictures


def found_cuts(pictures: Iterable[np.ndarray]) -> list[int]:
    """What the detector says."""
    detector = ShotDetector()
    cuts: list[int] = []
    for shown in pictures:
        detector.look(shown)
        cuts += detector.cuts()
    return cuts + detector.finish()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Who speaks, and where are the cuts, in drawn clips.")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder for the drawn people; drawn once, used again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        draw(options.clips, folder, options.jobs)
        encoder = load_models("compact", "cpu").keyframes.encoder
        auto(options.clips, folder, face_tracker(), encoder)
        right = 0
        for case in range(options.clips):
            kind, pictures, cut = cut_case(case, options.clips, folder)
            cuts = found_cuts(pictures)
            right += len(cuts) == 1 and abs(cuts[0] - cut) <= 1
            print(f"cut {case:>3} {kind:<15} at {cut:>3}: found {cuts}", flush=True)
        print(f"cuts: {right} of {options.clips} found, and no others")
        wrong = 0
        for case in range(options.clips):
            kind, pictures = uncut_case(case, options.clips, folder)
            cuts = found_cuts(pictures)
            wrong += bool(cuts)
            print(f"uncut {case:>3} {kind:<15} found {cuts}", flush=True)
        print(f"uncut: {wrong} of {options.clips} with a false cut")


if __name__ == "__main__":
    main()

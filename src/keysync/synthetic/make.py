"""A plan in, a clip out: talking heads whose every label is known exactly."""

from __future__ import annotations

import json
import shutil
import wave
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from keysync.errors import ConfigError
from keysync.synthetic.articulate import articulate
from keysync.synthetic.behave import behave, merge
from keysync.synthetic.camera import Framing, Scene
from keysync.synthetic.head import head_model
from keysync.synthetic.person import Person
from keysync.synthetic.speech import RATE_HZ, TEST_VOICES, TRAIN_VOICES, Phone, speak
from keysync.synthetic.text import sentence

VERSION = 1  # of the generator: a change of pictures or labels raises it
_SPLITS = {"train": 0, "validation": 1, "test": 2}
_KINDS = {"identity": 0, "voice": 1, "text": 2, "scene": 3, "motion": 4, "sensor": 5}


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipPlan:
    """Everything that decides a clip; equal plans give equal bytes.

    ``identity``, ``scene``, ``motion`` and ``text`` are seeds of their own: two plans that differ in
    ``text`` and ``voice`` alone are the same face, motion and light saying other words.
    """

    split: str
    identity: int
    scene: int
    motion: int
    text: int
    voice: str
    size: tuple[int, int] = (512, 512)  # width, height
    seconds: float = 4.0
    fps: Fraction = Fraction(25)
    framing: Framing = "head"

    def __post_init__(self) -> None:
        if self.split not in _SPLITS:
            raise ConfigError(f"split is {self.split!r}; choose one of {', '.join(_SPLITS)}")
        if min(self.size) < 64 or max(self.size) > 2048:
            raise ConfigError(f"size is {self.size}; each side must be 64 to 2048 pixels")
        if not 0.1 <= self.seconds <= 600 or not 1 <= self.fps <= 120:
            raise ConfigError(f"{self.seconds} s at {self.fps} fps; use 0.1 to 600 s and 1 to 120 fps")

    def rng(self, kind: str) -> np.random.Generator:
        index = {"sensor": self.motion, "voice": self.text}.get(kind)
        return np.random.default_rng(
            [_SPLITS[self.split], _KINDS[kind], index if index is not None else getattr(self, kind)]
        )


@dataclass(frozen=True, slots=True)
class Drawn:
    """A clip in memory with its labels."""

    frames: UInt8[np.ndarray, "t h w 3"]
    sound: Float32[np.ndarray, " n"]  # 16 kHz mono
    landmarks: Float32[np.ndarray, "t 68 2"]  # pixels, centre of the first pixel at .5
    mouth: Float32[np.ndarray, "t 6"]  # gap cm (signed), width cm, protrusion cm, jawOpen, closure, tuck
    weights: Float32[np.ndarray, "t s"]
    pose: Float32[np.ndarray, "t 3"]  # pitch, yaw, roll, degrees
    phones: tuple[Phone, ...]
    text: str


@lru_cache(maxsize=2)
def _person(split: str, identity: int) -> Person:
    return Person(np.random.default_rng([_SPLITS[split], _KINDS["identity"], identity]))


def draw_clip(plan: ClipPlan) -> Drawn:
    """Speak the text, move the face by its phones, render every frame."""
    rng = plan.rng("text")
    text = sentence(rng)
    utterance = speak(text, plan.voice, plan.rng("voice"))
    samples = np.zeros(round(plan.seconds * RATE_HZ), np.float32)
    spoken = utterance.samples[: len(samples)]
    samples[: len(spoken)] = spoken
    person = _person(plan.split, plan.identity)
    mouth = articulate(
        utterance, plan.seconds, rng, fps=plan.fps, jaw_gain=rng.uniform(0.8, 1.2), lip_gain=rng.uniform(0.8, 1.2),
        seal=person.seal,
    )  # fmt: skip
    # The head's motion belongs to the motion seed alone: it must not nod to the words.
    calm = replace(mouth, loudness=np.ones_like(mouth.loudness))
    behaviour = behave(calm, plan.rng("motion"))
    weights = merge(mouth, behaviour)
    model = head_model()
    curves = np.zeros((len(mouth.closure), len(model.shapes)), np.float32)
    for name, curve in weights.items():
        curves[:, model.shapes.index(name)] = curve

    scene = Scene(plan.rng("scene"), person, plan.framing)
    sensor = plan.rng("sensor")
    marks = model.landmarks
    frames, landmarks, mouths, at = [], [], [], []
    for index in range(int(plan.seconds * plan.fps)):
        k = min(round(index / plan.fps * mouth.rate_hz), len(curves) - 1)
        image, points = scene.render(person, curves[k], behaviour.pose[k], behaviour.shift[k], plan.size)
        frames.append(scene.sense(image, sensor))
        landmarks.append(points)
        lips = person.expressed[marks]
        width = float(np.linalg.norm(lips[60] - lips[64]))
        forward = float(lips[[62, 66], 2].mean())
        jaw = weights["jawOpen"][k]
        mouths.append((person.gap_cm(), width, forward, jaw, mouth.closure[k], mouth.tuck[k]))
        at.append(k)
    return Drawn(
        np.stack(frames), samples, np.stack(landmarks), np.array(mouths, np.float32), curves[at],
        behaviour.pose[at], utterance.phones, text,
    )  # fmt: skip


def save_clip(plan: ClipPlan, folder: Path, crf: int = 18) -> None:
    """Draw ``plan`` into ``folder``: clip.mp4, clip.wav, labels.npz, meta.json. All or nothing."""
    drawn = draw_clip(plan)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_video(partial / "clip.mp4", drawn.frames, plan.fps, crf)
    write_sound(partial / "clip.wav", drawn.sound)
    np.savez_compressed(
        partial / "labels.npz",
        landmarks68=drawn.landmarks,
        mouth=drawn.mouth,
        weights=drawn.weights.astype(np.float16),
        pose=drawn.pose,
        phone_names=np.array([phone.name for phone in drawn.phones]),
        phone_starts_s=np.array([phone.start_s for phone in drawn.phones], np.float32),
        phone_ends_s=np.array([phone.end_s for phone in drawn.phones], np.float32),
    )
    meta = {"generator": VERSION, **asdict(plan), "fps": str(plan.fps), "text_spoken": drawn.text}
    (partial / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    partial.rename(folder)


def write_video(path: Path, frames: UInt8[np.ndarray, "t h w 3"], fps: Fraction, crf: int = 18) -> None:
    """H.264 in 4:2:0, BT.709."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf), "preset": "veryfast"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.thread_count = "yuv420p", 1  # one thread: the same bytes everywhere
        for frame in frames:
            stream_frame = av.VideoFrame.from_ndarray(frame, format="rgb24")
            container.mux(stream.encode(stream_frame))
        container.mux(stream.encode(None))


def write_sound(path: Path, samples: Float32[np.ndarray, " n"]) -> None:
    """16-bit mono WAV at 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def plan_clips(
    count: int, seed: int, *, split: str, size: tuple[int, int], seconds: float, framing: Framing
) -> list[ClipPlan]:
    """``count`` different people, scenes and sentences; voices of the split."""
    voices = TEST_VOICES if split == "test" else TRAIN_VOICES
    rng = np.random.default_rng([_SPLITS[split], 99, seed])
    plans = []
    for index in range(count):
        number = seed * 1_000_000 + index
        recorded = split == "train" and rng.random() < 0.4
        voice = str(TRAIN_VOICES[rng.integers(3)] if recorded else voices[rng.integers(len(voices))])
        plans.append(
            ClipPlan(
                split=split, identity=number, scene=number, motion=number, text=number, voice=voice, size=size,
                seconds=seconds, framing=framing,
            )  # fmt: skip
        )
    return plans


def make_clips(plans: list[ClipPlan], out: Path, jobs: int) -> Iterator[Path]:
    """Draw every plan that is not yet under ``out``; yields each folder when it is there."""
    out.mkdir(parents=True, exist_ok=True)
    wanted = [(plan, out / f"{index:05d}") for index, plan in enumerate(plans)]
    yield from (folder for _, folder in wanted if folder.exists())
    todo = [(plan, folder) for plan, folder in wanted if not folder.exists()]
    if jobs <= 1:
        for plan, folder in todo:
            save_clip(plan, folder)
            yield folder
        return
    with ProcessPoolExecutor(jobs, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        waiting = {pool.submit(save_clip, plan, folder): folder for plan, folder in todo}
        for done in as_completed(waiting):
            done.result()
            yield waiting[done]

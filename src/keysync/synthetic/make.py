"""Plan -> clip, in memory or as folders on disk, in parallel over clips.

``keysync synth OUT`` writes one folder per clip, ``OUT/00000`` and so on, and skips those that are there:

* ``clip.mp4``: H.264, no sound (AAC would delay it)
* ``clip.wav``: 16 kHz, mono, 16 bit; sample 0 is heard when frame 0 is seen
* ``labels.npz``: the fields of ``Labels``; ``T`` frames, ``P`` phones
* ``matte.mkv``, ``mouth_area.mkv``: person against background, lower face; lossless (FFV1), ``read_mask``
* ``occluder.mkv``, ``clean.mp4``: only of clips with an occluder: its alpha, and the clip without it
* ``meta.json``: the plan, voice, text, version of the generator

Everything random comes from ``default_rng([split, kind, index])``, so any clip can be made again alone,
and identity, voice, text, scene and motion vary independently.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import multiprocessing
import os
import tempfile
import wave
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace
from jaxtyping import Bool, Float16, Float32, UInt8

from keysync.errors import ConfigError
from keysync.synthetic import kokoro
from keysync.synthetic.articulate import Mouth, articulate
from keysync.synthetic.behave import behave, merge
from keysync.synthetic.camera import FRAMINGS, Camera, expose
from keysync.synthetic.head import head_model, lip_gap, mouth_width, seal_lips
from keysync.synthetic.occlude import FACE_CM, Occluder, draw_occluder, mouth_and_size, overlay
from keysync.synthetic.person import (
    Person,
    Scene,
    draw_person,
    draw_scene,
    foresee_look,
    picture,
    place_camera,
    pose,
    protrusion,
)
from keysync.synthetic.room import in_room
from keysync.synthetic.speech import TEST_VOICES, TRAIN_VOICES, speak
from keysync.synthetic.surface import Lamp
from keysync.synthetic.text import sentence, words_filling
from keysync.synthetic.utterance import RATE_HZ, Phone, Utterance

VERSION = 4  # of the generator: the same plan gives the same frames within one version
_SPLITS = ("train", "test")
_KINDS = ("identity", "voice", "text", "scene", "motion", "occluder", "room")  # append only: places are seeds
_OVERSAMPLE = 1.25  # samples per pixel along each side: smoother edges for a third more time
_FADE_S = 0.02
_WANTED, _DARK_TONE = {"beard": 0.4, "dark": 0.25, "other": 0.35}, 0.42  # shares; mean of the tone, 0 to 1
_SHUTTER = 0.5  # share of a frame's time that the sensor is open, where motion blurs

MOUTH_COLUMNS = (
    *("gap_cm", "width_cm", "protrusion_cm", "jaw_open", "closure", "tuck"),
    *("teeth_share", "tongue_share"),  # of what an open mouth shows; 0 of a closed one
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipPlan:
    """What to draw. Two plans with one identity, scene and motion differ only about the mouth."""

    split: str
    identity: int
    voice: int
    text: int
    scene: int
    motion: int
    size: tuple[int, int] = (384, 384)  # width, height; even
    seconds: float = 3.2
    fps: Fraction = Fraction(25)
    framing: str = "face"
    occluder: int | None = None  # None: nothing in front
    room: int | None = None  # None: no echo, no noise
    natural: bool = False  # said by voices that sound like people, whose phones lie where our ear finds them

    def __post_init__(self) -> None:
        if self.split not in _SPLITS:
            raise ConfigError(f"split is {self.split!r}; take one of {', '.join(_SPLITS)}")
        if self.framing not in FRAMINGS:
            raise ConfigError(f"framing is {self.framing!r}; take one of {', '.join(FRAMINGS)}")
        if any(side < 32 or side % 2 for side in self.size):
            raise ConfigError(f"size is {self.size}; both sides must be even and 32 or more")
        if self.fps <= 0 or self.seconds * self.fps < 1:
            raise ConfigError(f"{self.seconds} s at {self.fps} frames per second hold no frame")

    @property
    def frame_count(self) -> int:
        """Whole frames that fit."""
        return math.floor(self.seconds * self.fps + 1e-9)

    def rng(self, kind: str) -> np.random.Generator:
        """A generator for one of identity, voice, text, scene, motion; occluder and room if there are any."""
        return np.random.default_rng([_SPLITS.index(self.split), _KINDS.index(kind), getattr(self, kind)])


@dataclass(frozen=True, slots=True)
class Labels:
    """The truth about every frame, and the phones."""

    landmarks68: Float32[np.ndarray, "t 68 2"]  # pixels, centre of the top-left pixel at (0.5, 0.5)
    mouth: Float32[np.ndarray, "t 8"]  # MOUTH_COLUMNS; gap is signed and vertical, protrusion against rest
    weights: Float16[np.ndarray, "t 57"]  # in the order of ``HeadModel.names``
    pose: Float32[np.ndarray, "t 6"]  # pitch, yaw, roll in degrees, shift x, y, z in cm; scene included
    landmarks68_visible: Bool[np.ndarray, "t 68"]  # nothing in front: neither person nor occluder
    camera: Float32[np.ndarray, " 4"]  # focal length in frame heights; its x, y and distance, cm
    phone_names: np.ndarray  # p names
    phone_starts_s: Float32[np.ndarray, " p"]
    phone_ends_s: Float32[np.ndarray, " p"]


@dataclass(frozen=True, slots=True)
class Masks:
    """Shares of every pixel, 255 is all of it."""

    matte: UInt8[np.ndarray, "t h w"]  # person, with or without an occluder in front
    mouth_area: UInt8[np.ndarray, "t h w"]  # lower face, the same
    occluder: UInt8[np.ndarray, "t h w"] | None  # exact alpha; None: nothing in front


@dataclass(frozen=True, slots=True)
class DrawnClip:
    """One clip in memory; frame k is seen at ``k / fps`` seconds."""

    plan: ClipPlan
    frames: UInt8[np.ndarray, "t h w 3"]
    audio16k: Float32[np.ndarray, " n"]
    dry16k: Float32[np.ndarray, " n"] | None  # the same without the room, if there is one
    labels: Labels
    voice: str
    text: str
    masks: Masks
    clean: UInt8[np.ndarray, "t h w 3"] | None  # the same frames without the occluder, if there is one


def draw_clip(plan: ClipPlan) -> DrawnClip:
    """Draw one clip: about 2 s for the person and 0.1 s per frame of 384 pixels.

    Raises:
        MissingProgram: the synthesiser of the drawn voice is not installed.
    """
    voice, text, utterance, mouth = _say(plan)
    person = _person(plan.split, plan.identity)
    weights, motion, shift = _move(plan, person, mouth)
    scene_rng = plan.rng("scene")
    scene = draw_scene(scene_rng)
    motion = motion + scene.pose.astype(np.float32)
    shots = list(_shoot(plan, person, scene, scene_rng, mouth, weights, motion, shift))
    times_s = np.arange(plan.frame_count) / float(plan.fps)
    held = [_at(curve, mouth, times_s) for curve in (mouth.closure, mouth.tuck)]
    jaw = _at(weights[:, head_model().names.index("jawOpen")], mouth, times_s)
    labels = Labels(
        landmarks68=np.stack([shot.landmarks for shot in shots]),
        mouth=np.concatenate(
            [
                np.array([shot.measures for shot in shots]),
                np.stack([jaw, *held], axis=1),
                np.array([shot.shows for shot in shots]),
            ],
            axis=1,
        ).astype(np.float32),
        weights=_at(weights, mouth, times_s).astype(np.float16),
        pose=np.concatenate([_at(motion, mouth, times_s), _at(shift, mouth, times_s)], axis=1),
        landmarks68_visible=np.stack([shot.visible for shot in shots]),
        camera=_camera_label(place_camera(scene, person, plan.size, plan.framing)),
        phone_names=np.array([phone.name for phone in utterance.phones]),
        phone_starts_s=np.array([phone.start_s for phone in utterance.phones], np.float32),
        phone_ends_s=np.array([phone.end_s for phone in utterance.phones], np.float32),
    )
    hidden = plan.occluder is not None
    masks = Masks(
        matte=np.stack([shot.matte for shot in shots]),
        mouth_area=np.stack([shot.mouth_area for shot in shots]),
        occluder=np.stack([shot.occluder for shot in shots if shot.occluder is not None]) if hidden else None,
    )
    frames = np.stack([shot.frame for shot in shots])
    clean = np.stack([shot.clean for shot in shots]) if hidden else None
    sound, dry = utterance.samples, None
    if plan.room is not None:
        sound, dry = in_room(sound, plan.rng("room")), sound
    return DrawnClip(plan, frames, sound, dry, labels, voice, text, masks, clean)


def make_clip(plan: ClipPlan, folder: Path, crf: int = 18) -> None:
    """Draw one clip into ``folder``, whole or not at all; a folder that is there is left as it is."""
    if folder.exists():
        return
    clip = draw_clip(plan)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        whole = Path(scratch) / folder.name
        whole.mkdir()
        _write_clip(whole, clip, crf)
        try:
            whole.rename(folder)
        except OSError:
            if not folder.exists():  # else another run was first: the same plan, the same clip
                raise


def _write_clip(folder: Path, clip: DrawnClip, crf: int) -> None:
    fps = clip.plan.fps
    _write_video(folder / "clip.mp4", clip.frames, fps, crf)
    if clip.clean is not None:
        _write_video(folder / "clean.mp4", clip.clean, fps, crf)
    for field in dataclasses.fields(Masks):
        mask = getattr(clip.masks, field.name)
        if mask is not None:
            _write_mask(folder / f"{field.name}.mkv", mask, fps)
    _write_sound(folder / "clip.wav", clip.audio16k)
    if clip.dry16k is not None:
        _write_sound(folder / "dry.wav", clip.dry16k)
    labels = {field.name: getattr(clip.labels, field.name) for field in dataclasses.fields(Labels)}
    np.savez_compressed(folder / "labels.npz", **labels)
    meta = dataclasses.asdict(clip.plan) | {
        "fps": str(fps),
        "voice_name": clip.voice,
        "text_spoken": clip.text,
        "mouth_columns": MOUTH_COLUMNS,
        "weight_names": head_model().names,
        "generator": VERSION,
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))


def plan_clips(
    count: int,
    seed: int,
    *,
    split: str,
    takes: int = 1,
    size: tuple[int, int] = (384, 384),
    seconds: float = 3.2,
    fps: Fraction = Fraction(25),
    framing: str = "face",
    occluders: bool = False,
    rooms: bool = False,
    natural: bool = False,
) -> list[ClipPlan]:
    """Plan a set of clips: new words in each, and ``takes`` clips in a row of one person in one scene.

    With ``occluders``, something comes before the face in every clip; with ``rooms``, every clip's speech
    is heard with echo and noise; with ``natural``, Kokoro says everything.

    Raises:
        ConfigError: no clips, or no takes.
    """
    for name, value in (("clips", count), ("takes", takes)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; it must be 1 or more")
    first = seed * 1_000_000  # sets of different seeds share nothing
    return [
        ClipPlan(
            split=split,
            identity=first + index // takes,
            voice=first + index,
            text=first + index,
            scene=first + index // takes,
            motion=first + index // takes,
            size=size,
            seconds=seconds,
            fps=fps,
            framing=framing,
            occluder=first + index if occluders else None,
            room=first + index if rooms else None,
            natural=natural,
        )
        for index in range(count)
    ]


def hard_faces(plans: Sequence[ClipPlan], count: int) -> list[ClipPlan]:
    """``count`` of ``plans``, among them many of the faces that a model of lips finds hard.

    Two in five have a beard and one in four dark skin, as far as ``plans`` hold so many; drawn at random one
    in eight has a beard, and a network that saw few of them smears them.
    """
    taken: dict[str, int] = dict.fromkeys(_WANTED, 0)
    chosen: list[ClipPlan] = []
    for plan in plans:
        look = foresee_look(plan.rng("identity"))
        kind = "beard" if look.beard else "dark" if look.tone.mean() < _DARK_TONE else "other"
        if len(chosen) < count and taken[kind] < _WANTED[kind] * (len(chosen) + 1):
            chosen.append(plan)
            taken[kind] += 1
    known = set(chosen)
    rest = [plan for plan in plans if plan not in known]
    return chosen + rest[: count - len(chosen)]


def make_clips(plans: Iterable[ClipPlan], out: Path, jobs: int) -> Iterator[Path]:
    """Draw a set into ``out``, ``jobs`` clips at a time, one core each; yields folders as they are done.

    Raises:
        ConfigError: no jobs.
    """
    if jobs < 1:
        raise ConfigError(f"jobs is {jobs}; it must be 1 or more")
    out.mkdir(parents=True, exist_ok=True)
    # Spawned, not forked: a worker reads this before its numpy starts, and keeps to one core.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_one_thread) as pool:
        queued = {}
        for index, plan in enumerate(plans):
            folder = out / f"{index:05d}"
            queued[pool.submit(make_clip, plan, folder)] = folder
        try:
            for done in as_completed(queued):
                done.result()
                yield queued[done]
        finally:
            pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _say(plan: ClipPlan) -> tuple[str, str, Utterance, Mouth]:
    """Voice and text of a plan, the speech cut to its length, and the mouth that says it."""
    speaker, text_rng = plan.rng("voice"), plan.rng("text")
    duration_s = plan.frame_count / plan.fps
    if plan.natural:
        voice, text, whole = _say_naturally(plan, speaker, text_rng)
    else:
        voice = str(speaker.choice(TRAIN_VOICES if plan.split == "train" else TEST_VOICES))
        text = sentence(text_rng, words_filling(plan.seconds))
        whole = speak(text, voice, speaker)
    utterance = _cut(whole, float(duration_s))
    mouth = articulate(
        utterance,
        float(duration_s),
        text_rng,
        fps=plan.fps,
        jaw_gain=speaker.uniform(0.7, 1.25),
        lip_gain=speaker.uniform(0.7, 1.25),
    )
    return voice, text, utterance, mouth


def _say_naturally(
    plan: ClipPlan, speaker: np.random.Generator, text_rng: np.random.Generator
) -> tuple[str, str, Utterance]:
    # Here, because only this needs PyTorch, which takes seconds to import.
    from keysync.models import compact_ear
    from keysync.synthetic.align import align

    if plan.split == "train":
        how = kokoro.draw_style(speaker)
    else:
        how = kokoro.style(str(speaker.choice(kokoro.TEST_VOICES)))
    text = kokoro.draw_text(how.language, text_rng, plan.seconds)
    samples, phones = kokoro.utter(text, how, speaker)
    return how.name, text, align(compact_ear(), samples, phones)[0]


def _cut(utterance: Utterance, duration_s: float) -> Utterance:
    """Cut, or fill with silence, to a length; phones beyond it would pull the last frame's mouth."""
    count = round(duration_s * utterance.rate_hz)
    samples = np.zeros(count, np.float32)
    kept = min(count, len(utterance.samples))
    samples[:kept] = utterance.samples[:kept]
    if kept < len(utterance.samples):
        fade = min(kept, round(_FADE_S * utterance.rate_hz))
        samples[kept - fade : kept] *= np.linspace(1, 0, fade, dtype=np.float32)
    phones = tuple(
        Phone(phone.name, phone.start_s, min(phone.end_s, duration_s))
        for phone in utterance.phones
        if phone.start_s < duration_s
    )
    return Utterance(samples, utterance.rate_hz, phones)


def _move(
    plan: ClipPlan, person: Person, mouth: Mouth
) -> tuple[Float32[np.ndarray, "t 57"], Float32[np.ndarray, "t 3"], Float32[np.ndarray, "t 3"]]:
    """All weights, and the head's rotation and shift, at the mouth's rate."""
    # At an even loudness head and brows move by the plan's motion alone: other words, same motion.
    even = dataclasses.replace(mouth, loudness=np.full_like(mouth.loudness, 0.9))
    behaviour = behave(even, plan.rng("motion"))
    named = merge(mouth, behaviour)
    still = np.zeros(len(mouth.closure), np.float32)
    weights = np.stack([named.get(name, still) for name in head_model().names], axis=1)
    return seal_lips(person.resting, weights, mouth.closure), behaviour.pose, behaviour.shift


def _at(curves: np.ndarray, mouth: Mouth, times_s: np.ndarray) -> Float32[np.ndarray, "k ..."]:
    """Read curves at any times, between their samples too."""
    place = np.clip(times_s * mouth.rate_hz, 0, len(curves) - 1)
    before = np.minimum(place.astype(int), len(curves) - 2)
    share = (place - before).reshape(-1, *[1] * (curves.ndim - 1))
    return np.asarray((1 - share) * curves[before] + share * curves[before + 1], np.float32)


@dataclass(frozen=True, slots=True)
class _Shot:
    frame: UInt8[np.ndarray, "h w 3"]
    clean: UInt8[np.ndarray, "h w 3"]  # ``frame`` itself where nothing is in front
    occluder: UInt8[np.ndarray, "h w"] | None
    matte: UInt8[np.ndarray, "h w"]
    mouth_area: UInt8[np.ndarray, "h w"]
    landmarks: Float32[np.ndarray, "68 2"]
    visible: Bool[np.ndarray, " 68"]
    measures: tuple[float, float, float]  # gap, width, protrusion
    shows: tuple[float, float]  # shares of teeth and tongue


@lru_cache(maxsize=2)
def _person(split: str, identity: int) -> Person:
    """Takes of one person follow each other, so the person is built once."""
    return draw_person(np.random.default_rng([_SPLITS.index(split), _KINDS.index("identity"), identity]))


def _shoot(
    plan: ClipPlan,
    person: Person,
    scene: Scene,
    rng: np.random.Generator,
    mouth: Mouth,
    weights: Float32[np.ndarray, "t 57"],
    motion: Float32[np.ndarray, "t 3"],
    shift: Float32[np.ndarray, "t 3"],
) -> Iterator[_Shot]:
    camera = place_camera(scene, person, plan.size, plan.framing)
    front: tuple[Occluder, np.random.Generator, np.ndarray] | None = None
    for index in range(plan.frame_count):
        # Sub-frames lie evenly about the frame's time, whose truth the labels hold.
        spread = (np.arange(scene.sensor.sub_frames) + 0.5) / scene.sensor.sub_frames - 0.5
        times_s = (index + np.append(_SHUTTER * spread, 0.0)) / float(plan.fps)
        moments = [
            pose(person, w, degrees, cm)
            for w, degrees, cm in zip(
                *(_at(curve, mouth, times_s) for curve in (weights, motion, shift)), strict=True
            )
        ]
        drawn = [picture(person, posed, scene, camera, _OVERSAMPLE) for posed in moments[:-1]]
        shown = drawn[len(drawn) // 2]
        truth = moments[-1]
        landmarks, visible, alpha = camera.project(truth.landmarks)[:, :2], shown.visible, None
        open_view = np.asarray(np.mean([one.srgb for one in drawn], axis=0, dtype=np.float32))
        same_sensor = copy.deepcopy(rng)  # the clean clip is the one that this plan gives without an occluder
        clean = frame = expose(open_view, scene.sensor, rng)
        if plan.occluder is not None:
            places, sizes = mouth_and_size(landmarks[None])
            if front is None:
                front = (*_occluder(plan, person, scene, float(sizes[0])), places[0])
            occluder, grain, origin = front
            laid = overlay(
                occluder, index / float(plan.fps), places[0], origin, float(sizes[0]), plan.size, grain
            )
            frame = expose(laid.over(open_view), scene.sensor, same_sensor)
            alpha = laid.alpha
            if scene.sensor.blur_px > 0:  # the lens blurs its edge too
                alpha = cv2.GaussianBlur(alpha, (0, 0), scene.sensor.blur_px)
            column, row = np.clip(landmarks.astype(int), 0, np.array(plan.size) - 1).T
            visible = visible & (alpha[row, column] < 128)
        yield _Shot(
            frame=frame,
            clean=clean,
            occluder=alpha,
            matte=shown.matte,
            mouth_area=shown.mouth_area,
            landmarks=landmarks,
            visible=visible,
            measures=(lip_gap(truth.face), mouth_width(truth.face), protrusion(person, truth)),
            shows=(shown.teeth_share, shown.tongue_share),
        )


def _write_sound(path: Path, samples: Float32[np.ndarray, " n"]) -> None:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE_HZ)
        sound.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())


def _occluder(
    plan: ClipPlan, person: Person, scene: Scene, face_size: float
) -> tuple[Occluder, np.random.Generator]:
    """A plan's occluder in the scene's light, and the generator of its grain."""
    rng = plan.rng("occluder")
    key = scene.lights.lamps[0].astype(np.float64) * (1, -1, 1, 1, 1, 1)  # a picture's y runs down
    around = 0.8 * scene.lights.around[0].astype(np.float64)
    lamp = Lamp(key[:3], 0.8 * scene.exposure * key[3:], scene.exposure * around)
    px_per_cm = face_size / FACE_CM
    return draw_occluder(rng, plan.seconds, px_per_cm, lamp=lamp, skin=person.look.skin), rng


def _camera_label(camera: Camera) -> Float32[np.ndarray, " 4"]:
    return np.array([camera.focal, camera.x, camera.y, camera.distance], np.float32)


def read_mask(path: Path) -> UInt8[np.ndarray, "t h w"]:
    """Read one of a clip's masks."""
    with av.open(str(path)) as video:
        return np.stack([frame.to_ndarray() for frame in video.decode(video=0)])


def _write_mask(path: Path, mask: UInt8[np.ndarray, "t h w"], fps: Fraction) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=fps)
        stream.height, stream.width = mask.shape[1:]
        stream.pix_fmt = "gray"
        stream.codec_context.thread_count = 1
        for index, shares in enumerate(mask):
            share_frame = av.VideoFrame.from_ndarray(shares, format="gray")
            share_frame.pts = index
            container.mux(stream.encode(share_frame))
        container.mux(stream.encode())


def _write_video(path: Path, frames: UInt8[np.ndarray, "t h w 3"], fps: Fraction, crf: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf)})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.colorspace = Colorspace.ITU709
        for index, frame in enumerate(frames):
            drawn = av.VideoFrame.from_ndarray(frame, format="rgb24")
            converted = drawn.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, threads=1)
            converted.pts = index
            container.mux(stream.encode(converted))
        container.mux(stream.encode())

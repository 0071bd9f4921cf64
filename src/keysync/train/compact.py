"""From seeds to the compact model's folder: draw, listen, prepare, train, pack."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from keysync.audio.compact import CompactAudioConfig, CompactAudioEncoder
from keysync.checkpoints import hash_file
from keysync.diffusion.compact_autoencoder import CompactAutoencoder, CompactAutoencoderConfig
from keysync.diffusion.compact_unet import CompactUNet, CompactUNetConfig
from keysync.errors import ConfigError
from keysync.face.crop import Framing
from keysync.face.track import face_tracker
from keysync.generate.layout import Layout
from keysync.models import pick_device
from keysync.train.autoencoder import fit_components, train_decoder
from keysync.train.dataset import CROP, PreparedClip, load_clips, prepare_folder
from keysync.train.judge import Judge, train_judge
from keysync.train.loop import AUDIO_GUIDANCE, PURE_SIGMA, RHO, SIGMA_MIN, STEPS, TrainConfig, train_stage
from keysync.train.pace import step_seconds
from keysync.train.run import Say, duration, processes, to_log, working_in
from keysync.weightfile import load_into

JUDGE_STEPS = 1000
HELD_OUT = 12  # prepared clips, the last ones, that no network learns from
# Every other frame is a keyframe: the more of them, the better the width of the mouth follows; the frames
# between calm them. See docs/lessons.md for other spacings.
LAYOUT = Layout(window=3, open_portrait=True)
SAMPLING = {
    "sigma_max": PURE_SIGMA,
    "sigma_min": SIGMA_MIN,
    "rho": RHO,
    "steps": STEPS,
    "audio_guidance": AUDIO_GUIDANCE,
    "rows": 2,
}


# Seconds of one core (AMD EPYC of 2026, without AVX-512): a person, a frame of 384 pixels, a clip's crops, an
# hour of speech and of natural speech. What the networks take is measured on the spot.
_PERSON_S, _FRAME_S, _PREPARE_S, _SPEECH_S, _NATURAL_S = 2.5, 0.093, 0.4, 225.0, 2700.0
_KEYFRAMES = TrainConfig(stage="keyframes", steps=1)
_INTERPOLATION = TrainConfig(
    stage="interpolation", steps=1, window=LAYOUT.window, frames_per_step=27, generated=0.8, rate=5e-4,
    audio_rate=5e-4, lips_weight=0.03,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How much of everything."""

    seed: int = 1
    clips: int = 900
    seconds: float = 1.6  # of every clip: rather more people than more of each
    speech_hours: float = 10.0
    audio_steps: int = 8000
    natural_hours: float = 3.8
    natural_steps: int = 3600  # of each of two rounds; a third has twice as many
    decoder_steps: int = 3000
    keyframe_steps: int = 26000
    keyframe_again_steps: int = 14000  # of their second round
    interpolation_steps: int = 4000
    refine_steps: int = 9000

    def hours(self, jobs: int, step_s: Mapping[str, float]) -> dict[str, float]:
        """About how long each part takes.

        Args:
            jobs: cores that draw and speak.
            step_s: seconds of a step of each network, see ``step_seconds``.
        """
        drawn_s = self.clips * (_PERSON_S + self.seconds * 25 * _FRAME_S)
        said_s = self.speech_hours * _SPEECH_S + (
            self.natural_hours * _NATURAL_S if self.natural_steps else 0
        )
        keyframe_steps = self.keyframe_steps + self.keyframe_again_steps
        heard_s = (self.audio_steps + 4 * self.natural_steps) * step_s["audio"]
        return {
            "draw and audio encoder": ((drawn_s + said_s) / jobs + heard_s) / 3600,
            "prepare": self.clips * _PREPARE_S / 3600,
            "autoencoder": self.decoder_steps * step_s["decoder"] / 3600,
            "keyframes": (keyframe_steps * step_s["keyframes"] + JUDGE_STEPS * step_s["judge"]) / 3600,
            "interpolation": self.interpolation_steps * step_s["interpolation"] / 3600,
            "decoder again": self.refine_steps * step_s["refine"] / 3600,
        }


def train_compact(
    out: Path,
    plan: Plan,
    say: Say = to_log,
    device: str = "auto",
    jobs: int | None = None,
) -> Path:
    """Make the compact model under ``out``; a part that is finished is not made again.

    Args:
        device: where the networks learn.
        jobs: processes that draw and speak; one for each core if None. They never change the result.
    Returns:
        the model folder, ``out / "model"``.
    Raises:
        ConfigError: too little of something; no such device; see also ``working_in``.
        CheckpointError: Kokoro is not on this machine.
        MissingProgram: another synthesiser is not installed.
    """
    _check(plan)
    where, jobs = pick_device(device), processes(jobs)
    begun = (out / "plan.json").exists()
    with working_in(out, asdict(plan)):
        if not begun:
            say(f"see how fast a network learns on {where}")
            hours = plan.hours(jobs, step_seconds(where, _KEYFRAMES, _INTERPOLATION))
            told = ", ".join(f"{part} {duration(60 * time)}" for part, time in hours.items())
            say(f"about {duration(60 * sum(hours.values()))} on {where} with {jobs} cores: {told}")
        draw_and_listen(out, plan, device, jobs, say)
        say("3/7 find, align and crop the faces")
        prepare(out, plan, say)
        say(f"4/7 autoencoder: {plan.decoder_steps} steps")
        train_autoencoder(out, plan, where, say)
        say(f"5/7 keyframes: {plan.keyframe_steps} steps, then {plan.keyframe_again_steps} on several frames")
        train_network(out, "keyframes", plan, where, say)
        say(f"6/7 interpolation: {plan.interpolation_steps} steps")
        train_network(out, "interpolation", plan, where, say)
        say(f"7/7 the decoder again, on what keyframes paint: {plan.refine_steps} steps")
        refine_decoder(out, plan, where, say)
        return pack(out)


def _check(plan: Plan) -> None:
    """Refuse what could not be finished before hours go into its first parts."""
    if plan.clips <= HELD_OUT:
        raise ConfigError(f"clips is {plan.clips}; it must be over {HELD_OUT}: so many are held out")
    if plan.seed < 0:
        raise ConfigError(f"seed is {plan.seed}; it must be 0 or more")
    for name, much in asdict(plan).items():
        needed = name != "seed" and (plan.natural_steps != 0 or not name.startswith("natural_"))
        if needed and not 0 < much < math.inf:
            raise ConfigError(f"{name} is {much}; it must be a number over 0")


def draw_and_listen(out: Path, plan: Plan, device: str, jobs: int, say: Say) -> None:
    """Draw the clips; the audio encoder learns meanwhile."""
    from keysync.train.audio import train_audio

    say(f"1/7 draw {plan.clips} clips of {plan.seconds} s")
    stop = Event()
    with ThreadPoolExecutor(1) as beside:
        drawing = beside.submit(_draw, out / "clips", plan, jobs, say, stop)
        try:
            say(
                f"2/7 audio encoder meanwhile: {plan.speech_hours} h of speech, {plan.audio_steps} steps; "
                f"{plan.natural_hours} h of natural speech, {plan.natural_steps} steps"
            )
            if not (out / "audio" / "done").exists():
                train_audio(
                    out / "audio", steps=plan.audio_steps, hours_of_speech=plan.speech_hours,
                    natural_steps=plan.natural_steps, natural_hours=plan.natural_hours, seed=plan.seed,
                    jobs=jobs, device=device, say=say,
                )  # fmt: skip
                (out / "audio" / "done").touch()
            drawing.result()
        finally:
            stop.set()


def _draw(folder: Path, plan: Plan, jobs: int, say: Say, stop: Event) -> None:
    """Until all clips are there, or until ``stop``."""
    from keysync.synthetic.make import hard_faces, make_clips, plan_clips

    plans = hard_faces(plan_clips(3 * plan.clips, plan.seed, split="train", seconds=plan.seconds), plan.clips)
    at_once = max(jobs - 1, 1)  # one core is left to the audio encoder, which learns meanwhile
    for count, _ in enumerate(make_clips(plans, folder, at_once), start=1):
        if count % 20 == 0:
            say(f"    {count} of {plan.clips} clips")
        if stop.is_set():
            return


def _audio(out: Path) -> CompactAudioEncoder:
    path = out / "audio" / "audio.safetensors"
    state = load_file(path)
    config = CompactAudioConfig(phones=len(state["phones.bias"]), curves=len(state["curves.bias"]))
    encoder = CompactAudioEncoder(config)
    load_into(encoder, state, path)
    return encoder.eval().requires_grad_(False)


def prepare(out: Path, plan: Plan, say: Say) -> None:
    """Crop every drawn clip as the pipeline would."""
    cells = CompactUNetConfig().cells
    prepared = prepare_folder(out / "clips", out / "prepared", face_tracker(), Framing(), _audio(out), cells)
    for count, _ in enumerate(prepared, start=1):
        if count % 50 == 0:
            say(f"    {count} of {plan.clips} clips")


def train_autoencoder(out: Path, plan: Plan, device: torch.device, say: Say) -> None:
    """Components, then the decoder."""
    clips = load_clips(out / "prepared")
    torch.manual_seed(plan.seed)
    network = CompactAutoencoder(CompactAutoencoderConfig())
    fit_components(network, clips[:-HELD_OUT], plan.seed)
    network.to(device)
    folder = out / "autoencoder"
    network = train_decoder(
        network, clips[:-HELD_OUT], clips[-HELD_OUT:], folder, steps=plan.decoder_steps, seed=plan.seed,
        say=say,
    )  # fmt: skip
    save_half(network, _first_autoencoder(out))


def _first_autoencoder(out: Path) -> Path:
    """Not in the model's folder: what a finished run has there stays whole if another one is cut off."""
    return out / "autoencoder" / "autoencoder.safetensors"


def refine_decoder(out: Path, plan: Plan, device: torch.device, say: Say) -> None:
    """The decoder again, now that it can be shown what the keyframe network paints."""
    clips = load_clips(out / "prepared")
    autoencoder, painter = CompactAutoencoder(CompactAutoencoderConfig()), CompactUNet(CompactUNetConfig())
    _fill(autoencoder.to(device), _first_autoencoder(out))
    _fill(painter.to(device), out / "model" / "keyframes.safetensors")
    judge = _judge(out, autoencoder, clips[:-HELD_OUT], plan, say)
    autoencoder = train_decoder(
        autoencoder, clips[:-HELD_OUT], clips[-HELD_OUT:], out / "decoder", steps=plan.refine_steps,
        seed=plan.seed + 2, painter=painter.eval().requires_grad_(False), judge=judge, rate=5e-4, say=say,
    )  # fmt: skip
    save_half(autoencoder, out / "model" / "autoencoder.safetensors")


def train_network(out: Path, stage: str, plan: Plan, device: torch.device, say: Say) -> None:
    """One stage's U-Net; interpolation starts from the keyframe network."""
    clips = load_clips(out / "prepared")
    autoencoder = CompactAutoencoder(CompactAutoencoderConfig())
    _fill(autoencoder.to(device), _first_autoencoder(out))
    torch.manual_seed(plan.seed)
    network = CompactUNet(CompactUNetConfig())
    if stage == "keyframes":
        keyframes = None
        # Only several frames of a person tell how the lips move; of them one round is too few.
        rounds = {
            "keyframes": replace(_KEYFRAMES, steps=plan.keyframe_steps, seed=plan.seed),
            "keyframes2": replace(
                _KEYFRAMES, steps=plan.keyframe_again_steps, single_share=0.0, rate=6e-4,
                audio_rate=1.2e-3, seed=plan.seed + 3,
            ),
        }  # fmt: skip
    else:
        _fill(network, out / "model" / "keyframes.safetensors")
        keyframes = deepcopy(network).to(device).eval().requires_grad_(False)
        rounds = {
            "interpolation": replace(_INTERPOLATION, steps=plan.interpolation_steps, seed=plan.seed + 1)
        }  # fmt: skip
    judge = _judge(out, autoencoder, clips[:-HELD_OUT], plan, say)
    network.to(device)
    for name, config in rounds.items():
        network = train_stage(
            network.train().requires_grad_(True), autoencoder, clips[:-HELD_OUT], clips[-HELD_OUT:],
            out / name, config, judge, keyframes=keyframes, say=say,
        )  # fmt: skip
    save_half(network, out / "model" / f"{stage}.safetensors")


def _judge(
    out: Path, autoencoder: CompactAutoencoder, clips: list[PreparedClip], plan: Plan, say: Say
) -> Judge:
    """The same for both stages and the decoder, trained once."""
    path = out / "judge.safetensors"
    if not path.exists():
        judge, r = train_judge(autoencoder, clips, JUDGE_STEPS, plan.seed)
        say(f"    the judge of lips reads their gap with r {r[0]:.2f}, the mouth's width with r {r[1]:.2f}")
        save_half(judge, path)
    judge = Judge(autoencoder.channels, CompactUNetConfig().cells).to(autoencoder.device)
    _fill(judge, path)
    return judge.eval().requires_grad_(False)


def pack(out: Path) -> Path:
    """Write the audio encoder and ``model.json`` beside the networks."""
    folder = out / "model"
    audio = _audio(out)
    save_half(audio, folder / "audio.safetensors")
    network = asdict(CompactUNetConfig())
    description: dict[str, object] = {
        "kind": "compact",
        "image_size": CROP,
        "framing": asdict(Framing()),
        "layout": asdict(LAYOUT),
        "autoencoder": asdict(CompactAutoencoderConfig()),
        "audio": asdict(audio.config),
        "keyframes": {"network": network, "sampling": SAMPLING},
        "interpolation": {
            "network": network,
            "sampling": SAMPLING | {"rows": 4},
        },  # frames shown beside keep up
    }
    description["sha256"] = {path.name: hash_file(path) for path in sorted(folder.glob("*.safetensors"))}
    (folder / "model.json").write_text(json.dumps(description, indent=1) + "\n")
    return folder


def save_half(network: nn.Module, path: Path) -> None:
    """Weights in half precision, written under their name only when complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(
        {name: value.half().cpu().contiguous() for name, value in network.state_dict().items()}, partial
    )
    partial.replace(path)


def _fill(network: nn.Module, path: Path) -> None:
    load_into(network, load_file(path), path)

"""Train the compact audio encoder on speech that we synthesise: no recordings, exact labels.

It leaves ``audio.safetensors`` (the weights, renewed at every evaluation), and of each round (``exact``,
``natural1`` to ``natural3``) a ``.csv`` with all evaluations, a ``.png`` of it, and what an interrupted run
goes on from.
"""

from __future__ import annotations

import math
import time
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from safetensors.torch import save_file
from scipy.signal import resample
from torch import Tensor
from torch.nn import functional as F

from keysync.audio.compact import TOKEN_HOP, CompactAudioConfig, CompactAudioEncoder
from keysync.audio.mel import log_mel
from keysync.diffusion.half import trains_faster_on
from keysync.models import pick_device
from keysync.parallel import in_order
from keysync.synthetic import festival, kokoro
from keysync.synthetic.articulate import CURVES
from keysync.synthetic.channel import CODECS, coded, music, narrow, over
from keysync.synthetic.speech import EAR_VOICES, TEST_VOICES, speak
from keysync.synthetic.text import babble, sentence
from keysync.synthetic.utterance import PHONES, RATE_HZ
from keysync.train.hearing import evaluate, label, to_float, write_conditions
from keysync.train.natural import natural_speech, timed
from keysync.train.run import Checkpoint, Progress, Say, note, to_log
from keysync.train.spoken import Spoken, load, make_once, save

_BATCH, _CROP_TOKENS = 32, 100  # 32 pieces of 2 s
_LEARNING_RATE, _WARM_UP_STEPS = 1e-3, 50
# Of the rounds on natural speech: learning rate, its share of a batch's rows, how often ``natural_steps``.
_NATURAL = ((5e-4, 0.65, 1), (2.5e-4, 0.65, 1), (5e-4, 0.35, 2))
_EVALUATE_EVERY = 300  # steps
_TEST_UTTERANCES = 20  # for each test voice
_PLAYBACK = (0.88, 1.14)  # over the pace at which it was said
# Of the training speech: flite's recorded voices, Festival's English ones, its other ones, espeak's.
_SHARES = (0.30, 0.14, 0.26, 0.30)
_MUSIC_SHARE, _NARROW_SHARE, _CODED_SHARE = 0.15, 0.15, 0.15
_BAND_S = 60  # of music, from which pieces are taken
_NO_LABEL = -100
_LEAST_DEVIATION = 0.25  # of a token's number


def train_audio(
    out: Path,
    *,
    steps: int,
    hours_of_speech: float,
    natural_steps: int,
    natural_hours: float,
    seed: int,
    jobs: int = 1,
    device: str = "auto",
    say: Say = to_log,
) -> None:
    """Make the speech, train, evaluate on voices never trained on, write everything to ``out``.

    First it learns from synthesisers that tell when each phone starts. What it then knows times natural
    speech, from which it goes on to learn in three rounds, in the last mostly from the first kind again;
    without natural steps that is left out.

    Args:
        steps: of the first round; its learning rate falls to its end by then.
        hours_of_speech: exactly timed, for training; the test voices' comes on top.
        natural_steps: of each round on natural speech, the last has twice as many.
        natural_hours: of natural speech.
        jobs: processes that make speech.
        device: where the network learns; its running average is on the CPU.
    Raises:
        CheckpointError: natural speech is wanted and Kokoro is not on this machine.
        MissingProgram: a synthesiser is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    where = pick_device(device)
    torch.manual_seed(seed)
    natural = natural_speech(out / "natural", natural_hours, seed, jobs, say) if natural_steps else []
    speech = _speech(out / "speech", hours_of_speech, seed, jobs, say)
    train = [item for item in speech if item.voice not in TEST_VOICES]
    test = [item for item in speech if item.voice in TEST_VOICES]
    hours = sum(len(item.samples) for item in train) / RATE_HZ / 3600
    say(f"    {len(train)} utterances, {hours:.2f} h to train; {len(test)} to test")

    network = CompactAudioEncoder(CompactAudioConfig(phones=len(PHONES), curves=len(CURVES)))
    average = deepcopy(network).requires_grad_(False)
    network.to(where)
    exact = _Round("exact", steps, _LEARNING_RATE, [(train, _BATCH)], test)
    _learn(exact, out, network, average, seed, where, say)
    tested = test
    for number, (rate, share, times) in enumerate(_NATURAL if natural_steps else (), start=1):
        record = out / f"natural{number}.npz"
        if not record.exists():
            say(f"    when each phone is said in {len(natural)} natural utterances")
            save(record, timed(average, natural, seed))  # better each time
        spoken = load(record, Spoken)
        tested = test + [item for item in spoken if item.voice in kokoro.TEST_VOICES]
        spoken = [item for item in spoken if item.voice not in kokoro.TEST_VOICES]
        network.load_state_dict(average.state_dict())
        rows = round(share * _BATCH)
        shares = [(train, _BATCH - rows), (spoken, rows)]
        now = _Round(f"natural{number}", times * natural_steps, rate, shares, tested)
        _learn(now, out, network, average, seed + number, where, say)
    write_conditions(average, tested, out / "conditions.csv", say)


@dataclass(frozen=True, slots=True)
class _Round:
    """Steps on one mixture of speech, with a learning rate that rises and falls once."""

    name: str
    steps: int
    rate: float
    train: list[tuple[list[Spoken], int]]  # rows of a batch from each
    test: list[Spoken]

    def batch(self, seed: int, step: int) -> _Batch:
        """The same for the same seed and step."""
        rng = np.random.default_rng([seed, step])
        samples, phones, curves = zip(
            *(_batch(spoken, rng, rows) for spoken, rows in self.train), strict=True
        )
        return torch.cat(samples), torch.cat(phones), torch.cat(curves)


def _learn(
    now: _Round, out: Path, network: CompactAudioEncoder, average: CompactAudioEncoder, seed: int,
    device: torch.device, say: Say,
) -> None:  # fmt: skip
    """Take all of a round's steps, or those that an interrupted run has left."""
    matrices = [weight for weight in network.parameters() if weight.ndim > 1]
    vectors = [weight for weight in network.parameters() if weight.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.02}, {"params": vectors, "weight_decay": 0.0}], lr=now.rate
    )
    checkpoint = Checkpoint(out / f"{now.name}.pt", network, average, optimiser)
    saved = {"step": 0, "spent_s": 0.0, "mean_loss": math.nan} | checkpoint.load()
    step, spent_s, mean_loss = saved["step"], saved["spent_s"], saved["mean_loss"]
    if step < now.steps:
        say(f"    {now.name}: {now.steps} steps" + (f", going on from step {step}" if step else ""))
    progress = Progress(say, f"steps ({now.name})", step, now.steps)

    started_s = time.monotonic() - spent_s
    for batch in in_order(lambda step: now.batch(seed, step), range(step, now.steps), lend=False):
        _set_learning_rate(optimiser, step, step / now.steps, now.rate)
        torch.manual_seed(seed * 1_000_003 + step)  # the augmentation's draws
        loss = _step(network, optimiser, batch, device)
        step += 1
        _follow(average, network, step)
        mean_loss = loss if math.isnan(mean_loss) else 0.98 * mean_loss + 0.02 * loss
        if step % _EVALUATE_EVERY == 0 or step == now.steps:
            standardise(average, [item for spoken, _ in now.train for item in spoken])
            scores = evaluate(average, now.test)
            spent_s = time.monotonic() - started_s
            figures = {"loss": mean_loss} | {
                f"{voice} {name}": r for voice, by_name in scores.items() for name, r in by_name.items()
            }
            note(out / f"{now.name}.csv", step, spent_s, figures)
            save_file(average.state_dict(), out / "audio.safetensors.part")
            (out / "audio.safetensors.part").replace(out / "audio.safetensors")
            checkpoint.save(step, spent_s=spent_s, mean_loss=mean_loss)
            means = {name: float(np.mean([r[name] for r in scores.values()])) for name in ("phones", "jaw")}
            progress.tell(step, loss=mean_loss, **means)


def learn_exact(out: Path, spoken: list[Spoken], steps: int, device: torch.device) -> None:
    """The first round of ``train_audio`` on ``spoken``, told to nobody: to see how long its steps take."""
    network = CompactAudioEncoder(CompactAudioConfig(phones=len(PHONES), curves=len(CURVES)))
    average = deepcopy(network).requires_grad_(False)
    now = _Round("exact", steps, _LEARNING_RATE, [(spoken, _BATCH)], spoken)
    _learn(now, out, network.to(device), average, 0, device, lambda _: None)


def standardise(network: CompactAudioEncoder, spoken: list[Spoken]) -> None:
    """Set the network's token mean and deviation to those over a sample of the training set."""
    network.token_mean.zero_()
    network.token_std.fill_(1.0)
    with torch.no_grad():
        sample = spoken[:: max(1, len(spoken) // 100)]
        tokens = torch.cat([network(to_float(item.samples)) for item in sample])
    network.token_mean.copy_(tokens.mean(0))
    # A rare phone's probability hardly varies; divided by that little, it would drown the rest.
    network.token_std.copy_(tokens.std(0).clamp(min=_LEAST_DEVIATION))


def make_spoken(voice: str, seed: list[int]) -> Spoken:
    """Say one random sentence; the labels are the synthesiser's own."""
    rng = np.random.default_rng(seed)
    text = babble(rng) if _is_foreign(voice) else sentence(rng)
    return label(speak(text, voice, rng), voice, rng)


def _speech(folder: Path, hours: float, seed: int, jobs: int, say: Say) -> list[Spoken]:
    rng = np.random.default_rng([seed, 1])
    # An utterance lasts 4.8 s on average, silence included.
    voices = [_draw_voice(rng) for _ in range(max(1, round(hours * 750)))]
    voices += [voice for voice in TEST_VOICES for _ in range(_TEST_UTTERANCES)]
    return make_once(folder, Spoken, make_spoken, voices, [seed, 2], jobs, say)


def _draw_voice(rng: np.random.Generator) -> str:
    built = [voice for voice in EAR_VOICES if voice.startswith("en-")]
    foreign = [voice for voice in EAR_VOICES if _is_foreign(voice)]
    english = [voice for voice in festival.VOICES if not _is_foreign(voice)]
    recorded = [voice for voice in EAR_VOICES if voice not in (*built, *foreign, *english)]
    groups = (recorded, english, foreign, built)
    return str(rng.choice(groups[rng.choice(len(groups), p=_SHARES)]))


def _is_foreign(voice: str) -> bool:
    return voice in festival.VOICES and festival.language(voice) != "english"


_Batch = tuple[Float[Tensor, "b n"], Int[Tensor, "b t"], Float[Tensor, "b t 7"]]


def _step(
    network: CompactAudioEncoder, optimiser: torch.optim.Optimizer, batch: _Batch, device: torch.device
) -> float:
    samples, phones, curves = batch
    mel = augment_mel(log_mel(augment_sound(samples))).to(device)
    phones, curves = phones.to(device), curves.to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=trains_faster_on(device)):
        hidden = network.hidden(mel)
        named, drawn = network.phones(hidden).float(), network.curves(hidden).float()
    naming = F.cross_entropy(
        named.flatten(0, 1), phones.flatten(), ignore_index=_NO_LABEL, label_smoothing=0.05
    )
    labelled = (phones != _NO_LABEL)[..., None]
    drawing = ((drawn - curves).square() * labelled).mean()
    loss = naming + 2 * drawing
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())


def _batch(spoken: list[Spoken], rng: np.random.Generator, rows: int) -> _Batch:
    samples = torch.zeros(rows, _CROP_TOKENS * TOKEN_HOP)
    phones = torch.full((rows, _CROP_TOKENS), _NO_LABEL)
    curves = torch.zeros(rows, _CROP_TOKENS, len(CURVES))
    for row, index in enumerate(rng.integers(0, len(spoken), rows)):
        item = spoken[index]
        # Played a little faster or slower each time, so that it is another talker's voice and pace.
        rate = float(rng.uniform(*_PLAYBACK))
        wanted = round(_CROP_TOKENS * rate)
        start = int(rng.integers(0, max(len(item.phones) - wanted, 0) + 1))
        held = min(wanted, len(item.phones) - start)
        count = min(round(held / rate), _CROP_TOKENS)
        piece = item.samples[start * TOKEN_HOP : (start + held) * TOKEN_HOP].astype(np.float32) / 32767
        heard = travelled(resample(piece, count * TOKEN_HOP).astype(np.float32), rng)
        samples[row, : count * TOKEN_HOP] = torch.from_numpy(heard)
        places = start + ((np.arange(count) + 0.5) * held / count).astype(int)
        phones[row, :count] = torch.from_numpy(item.phones[places])
        curves[row, :count] = torch.from_numpy(item.curves[places])
    return samples, phones, curves


def travelled(samples: Float32[np.ndarray, " n"], rng: np.random.Generator) -> Float32[np.ndarray, " n"]:
    """Speech as files hold it: some of it over music, through a narrow line, or through a codec."""
    if rng.random() < _MUSIC_SHARE:
        start = int(rng.integers(len(_band()) - len(samples)))
        samples = over(_band()[start : start + len(samples)], samples, -rng.uniform(-25, -3))
    if rng.random() < _NARROW_SHARE:
        samples = narrow(samples, rng.uniform(60, 400), rng.uniform(2500, 7500))
    if rng.random() < _CODED_SHARE:
        samples = coded(samples, str(rng.choice(list(CODECS))))
    return samples


@lru_cache(maxsize=1)
def _band() -> Float32[np.ndarray, " n"]:
    return music(_BAND_S * RATE_HZ, np.random.default_rng(0))


def augment_sound(samples: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Rooms, other talkers, hiss and level, drawn for each row from torch's own generator."""
    rows, length = samples.shape
    level = samples.square().mean(1, keepdim=True).sqrt() + 1e-4

    def chance(share: float) -> Tensor:
        return (torch.rand(rows, 1) < share).float()

    # A room is noise that dies away over 0.1 to 0.5 s, after the direct sound.
    echo_s = torch.empty(rows, 1).uniform_(0.1, 0.5)
    age_s = torch.arange(RATE_HZ // 2)[None] / RATE_HZ
    room = torch.randn(rows, RATE_HZ // 2) * torch.exp(-6.9 * age_s / echo_s)
    room = room / room.square().sum(1, keepdim=True).sqrt() * torch.empty(rows, 1).uniform_(0.1, 0.7)
    size = length + room.shape[1]
    echo = torch.fft.irfft(torch.fft.rfft(samples, size) * torch.fft.rfft(room, size), size)[:, :length]
    heard = samples + chance(0.35) * echo

    talkers = samples.roll(1, 0) * (level / level.roll(1, 0)).clamp(max=3.0)
    heard = heard + chance(0.2) * talkers * _decibels(rows, -25.0, -8.0)
    hiss = torch.fft.rfft(torch.randn(rows, length))
    tilt = torch.arange(1, hiss.shape[1] + 1)[None] ** -torch.empty(rows, 1).uniform_(0.0, 1.0)
    hiss = torch.fft.irfft(hiss * tilt, length)
    hiss = hiss / hiss.square().mean(1, keepdim=True).sqrt()
    heard = heard + chance(0.5) * hiss * level * _decibels(rows, -40.0, -5.0)
    return torch.as_tensor(heard * _decibels(rows, -36.0, 6.0))


def augment_mel(mel: Float[Tensor, "b t 80"]) -> Float[Tensor, "b t 80"]:
    """Other throats, microphones and gaps: warp and tilt the bands, raise the floor, mask stripes."""
    rows, frames, bands = mel.shape
    scale, offset = torch.empty(rows, 1).uniform_(0.88, 1.13), torch.empty(rows, 1).uniform_(-3, 3)
    place = (torch.arange(bands) * scale + offset).clamp(0, bands - 1.001)
    lower = place.long()
    share = (place - lower)[:, None]
    below = mel.gather(2, lower[:, None].expand(rows, frames, bands))
    above = mel.gather(2, (lower + 1)[:, None].expand(rows, frames, bands))
    mel = below * (1 - share) + above * share

    mel = mel + F.interpolate(torch.randn(rows, 1, 6) * 0.7, size=bands, mode="linear")
    floor = torch.empty(rows, 1, 1).uniform_(-11.5, -5.0) + 0.6 * torch.randn(rows, frames, bands)
    mel = torch.where(torch.rand(rows, 1, 1) < 0.5, torch.logaddexp(mel, floor), mel)
    mean = mel.mean((1, 2), keepdim=True)
    in_bands, in_time = _stripe(rows, bands, 10)[:, None, :], _stripe(rows, frames, 8)[:, :, None]
    return torch.where(in_bands | in_time, mean, mel)


def _stripe(rows: int, length: int, widest: int) -> Tensor:
    """In half of the rows, a stretch of 2 to ``widest`` cells."""
    start = torch.randint(0, length, (rows, 1))
    width = torch.randint(2, widest + 1, (rows, 1)) * (torch.rand(rows, 1) < 0.5)
    cell = torch.arange(length)[None]
    return (cell >= start) & (cell < start + width)


def _decibels(rows: int, lowest: float, highest: float) -> Tensor:
    return torch.as_tensor(10 ** (torch.empty(rows, 1).uniform_(lowest, highest) / 20))


def _set_learning_rate(optimiser: torch.optim.Optimizer, step: int, share_done: float, peak: float) -> None:
    fall = 0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * min(1.0, share_done)))
    for group in optimiser.param_groups:
        group["lr"] = peak * min(1.0, (step + 1) / _WARM_UP_STEPS) * fall


@torch.no_grad()
def _follow(average: CompactAudioEncoder, network: CompactAudioEncoder, step: int) -> None:
    """Move the running average of the weights, slowly once there is something to average."""
    keep = min(0.998, step / (step + 15))
    for mean, weight in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(weight.to(mean), 1 - keep)

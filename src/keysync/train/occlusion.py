"""From seeds to the occlusion segmenter's folder: draw faces and things, paste, train, pack."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from keysync.checkpoints import hash_file
from keysync.errors import ConfigError
from keysync.mask.segmenter import SIDE, Segmenter, SegmenterConfig
from keysync.train.compact import save_half
from keysync.train.occlusion_faces import SCENES, load_faces, make_faces
from keysync.train.occlusion_scenes import Example, Examples, draw_props
from keysync.train.run import Checkpoint, Progress, Say, note, processes, to_log, working_in

HELD_OUT = 32  # people, the last ones, that the network does not learn from
_STOCK = 600  # examples that are kept to be used again
_JUDGED = 256  # held-out examples, half of them with nothing in front
_BELOW = 27  # landmark: the top of the region that may be repainted, where errors count most


@dataclass(frozen=True, kw_only=True, slots=True)
class OcclusionPlan:
    """How much of everything."""

    seed: int = 61
    people: int = 400
    sprites: int = 1500
    textures: int = 500
    steps: int = 24000
    batch: int = 24
    fresh: int = 8  # examples of a batch that are new; the others were seen a few times
    rate: float = 3e-3

    def __post_init__(self) -> None:
        if self.people <= HELD_OUT or min(self.sprites, self.textures, self.steps, self.batch) < 1:
            raise ConfigError(f"people is {self.people}; it must be over {HELD_OUT}, all others 1 or more")


def _recoloured(example: Example, rng: np.random.Generator) -> Example:
    """Mirrored or not, in other colours: a used example is not quite the same again."""
    gain = np.float32(rng.uniform(0.85, 1.1)) * rng.uniform(0.94, 1.06, 3).astype(np.float32)
    crop, clean = (np.minimum(picture * gain, 1) for picture in (example.crop, example.clean))
    known = example.known * np.float32(rng.random() > 0.08)
    if rng.random() < 0.5:
        return Example(crop, clean, known, example.cover, example.place)
    crop, clean, known, cover = (
        np.ascontiguousarray(part[:, ::-1]) for part in (crop, clean, known, example.cover)
    )
    place = np.stack([SIDE - example.place[:, 0], example.place[:, 1]], axis=1)
    return Example(crop, clean, known, cover, place)


class Batch:
    """Examples as tensors."""

    def __init__(self, examples: list[Example]) -> None:
        crop, clean, known, cover, _ = (np.stack(part) for part in zip(*examples, strict=True))
        self.crops, self.clean = (_channels(torch.from_numpy(part)) for part in (crop, clean))
        self.known, self.cover = (torch.from_numpy(part)[:, None] for part in (known, cover))
        self.weight = torch.from_numpy(np.stack([_weight(example) for example in examples]))[:, None]


def train_occlusion(out: Path, plan: OcclusionPlan, say: Say = to_log, jobs: int | None = None) -> Path:
    """Make the segmenter under ``out``; what is finished is not made again, training goes on where it was.

    Args:
        jobs: processes that draw; one for each core if None. They never change the result.
    Returns:
        ``out / "occlusion"``, a folder with ``model.json`` and the weights.
    """
    jobs = processes(jobs)
    with working_in(out, asdict(plan)):
        return _make(out, plan, say, jobs)


def _make(out: Path, plan: OcclusionPlan, say: Say, jobs: int) -> Path:
    """Draw, train, pack."""
    say(f"1/3 draw {plan.people} people")
    for count, _ in enumerate(make_faces(plan.people, plan.seed, out / "faces", jobs), start=1):
        if count % 50 == 0:
            say(f"    {count} of {plan.people} people")
    say(f"2/3 draw {plan.sprites} things")
    faces = load_faces(out / "faces")
    props = draw_props(plan.seed, plan.sprites, plan.textures)
    held_props = draw_props(plan.seed + 1, max(plan.sprites // 10, 1), max(plan.textures // 10, 1))
    mine, others = faces[: -HELD_OUT * SCENES], faces[-HELD_OUT * SCENES :]
    judge = Examples(others, held_props, np.random.default_rng([plan.seed, 14]))
    held = Batch([judge.draw(covered=float(k % 2)) for k in range(_JUDGED)])
    say(f"3/3 train: {plan.steps} steps of {plan.batch} examples")

    stock: list[Example] = []

    def batch(step: int) -> Batch:
        rng = np.random.default_rng([plan.seed, 15, step])
        examples = Examples(mine, props, rng)
        # An example costs as much to draw as to learn from, so each is learnt from a few times.
        for _ in range(plan.fresh if stock else _STOCK):
            stock.append(examples.draw())
        del stock[:-_STOCK]
        old = [stock[k] for k in rng.choice(len(stock) - plan.fresh, plan.batch - plan.fresh, replace=False)]
        return Batch([_recoloured(example, rng) for example in (*stock[-plan.fresh :], *old)])

    torch.manual_seed(plan.seed)
    average = _train(Segmenter(SegmenterConfig()), batch, held, out, plan, say)
    return pack(average, out / "occlusion")


def pack(network: Segmenter, folder: Path) -> Path:
    """Weights in half precision and their description."""
    path = folder / "segmenter.safetensors"
    save_half(network, path)
    description = {"network": asdict(network.config), "sha256": {path.name: hash_file(path)}}
    (folder / "model.json").write_text(json.dumps(description, indent=1) + "\n")
    return folder


def segmenter_loss(
    logits: Float[Tensor, "b 1 h w"], cover: Float[Tensor, "b 1 h w"], weight: Float[Tensor, "b 1 h w"]
) -> Tensor:
    """Cross-entropy, and for pictures with a cover one minus its soft intersection over union."""
    entropy = F.binary_cross_entropy_with_logits(logits, cover, weight=weight)
    share = logits.sigmoid()
    both = (share * cover * weight).sum(dim=(1, 2, 3))
    either = ((share + cover - share * cover) * weight).sum(dim=(1, 2, 3))
    present = (cover * weight).sum(dim=(1, 2, 3)) > 20
    overlap = (1 - both / either.clamp(min=1)) * present
    return entropy + 0.3 * overlap.sum() / present.sum().clamp(min=1)


@torch.no_grad()
def scores(network: Segmenter, batch: Batch) -> dict[str, float]:
    """Over held-out examples: mean IoU of covers, and the share of clean pixels called covered."""
    answers = torch.cat(
        [
            network(*parts)
            for parts in zip(
                *(torch.split(p, 32) for p in (batch.crops, batch.clean, batch.known)), strict=True
            )
        ]
    )
    said, truth, counts = answers > 0, batch.cover > 0.5, batch.weight > 0.5
    said, truth = said & counts, truth & counts
    present = truth.sum(dim=(1, 2, 3)) > 30
    iou = (said & truth).sum(dim=(1, 2, 3)) / (said | truth).sum(dim=(1, 2, 3)).clamp(min=1)
    recall = (said & truth).sum(dim=(1, 2, 3))[present] / truth.sum(dim=(1, 2, 3))[present]
    empty = batch.cover.sum(dim=(1, 2, 3)) == 0
    false = said[empty].sum() / counts[empty].sum()
    return {"iou": float(iou[present].mean()), "recall": float(recall.mean()), "false_alarm": float(false)}


def _train(
    network: Segmenter,
    draw: Callable[[int], Batch],
    held: Batch,
    out: Path,
    plan: OcclusionPlan,
    say: Say,
    judge_every: int = 100,
) -> Segmenter:
    """The running average of the network; resumes from ``out/checkpoint.pt``, writes ``out/curve.csv``."""
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = deepcopy(network).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.rate, weight_decay=0.01)
    checkpoint, curve = Checkpoint(out / "checkpoint.pt", network, average, optimiser), out / "curve.csv"
    step = checkpoint.load().get("step", 0)
    progress = Progress(say, "steps", step, plan.steps)
    begin, running = time.monotonic(), math.nan
    for batch in _ahead(draw, step, plan.steps):
        for group in optimiser.param_groups:
            group["lr"] = plan.rate * _schedule(step, plan.steps)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(batch.crops, batch.clean, batch.known)
        loss = segmenter_loss(logits.float(), batch.cover, batch.weight)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step += 1
        keep = min(0.995, step / (step + 10))
        with torch.no_grad():
            for kept, fresh in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
                kept.lerp_(fresh, 1 - keep) if kept.is_floating_point() else kept.copy_(fresh)
        now = float(loss.detach())
        running = now if math.isnan(running) else 0.98 * running + 0.02 * now
        if step % judge_every == 0 or step == plan.steps:
            found = scores(average, held)
            checkpoint.save(step)
            note(curve, step, time.monotonic() - begin, {"loss": running, **found})
            progress.tell(step, **found)
    return average


def _ahead(draw: Callable[[int], Batch], first: int, last: int) -> Iterator[Batch]:
    """Batches ``first`` to ``last - 1``; the next one is drawn while this one is learnt from."""
    with ThreadPoolExecutor(1) as beside:
        drawn = beside.submit(draw, first)
        for step in range(first, last):
            ready = drawn.result()
            if step + 1 < last:
                drawn = beside.submit(draw, step + 1)
            yield ready


def _schedule(step: int, steps: int) -> float:
    """Warm-up over 100 steps, then a cosine down to 2 %."""
    return min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _channels(pictures: Float[Tensor, "b h w 3"]) -> Float[Tensor, "b 3 h w"]:
    return pictures.permute(0, 3, 1, 2)  # channels stay last in memory, which is the faster way here


def _weight(example: Example) -> Float[np.ndarray, "h w"]:
    """1 where it may be repainted, a quarter elsewhere."""
    weight = np.full((SIDE, SIDE), 0.25, np.float32)
    left, right = np.clip(example.place[:, 0], 0, SIDE)[[0, 16]].round().astype(int)
    top = int(np.clip(example.place[_BELOW, 1], 0, SIDE))
    weight[top:, min(left, right) : max(left, right)] = 1
    return weight

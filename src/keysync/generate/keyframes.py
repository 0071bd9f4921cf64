"""Stage one: sparse frames that carry the lip shapes of the speech."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from keysync.diffusion.condition import Condition
from keysync.generate.stage import Prepared, Stage, draw_noise


def make_keyframes(
    prepared: Prepared, positions: list[int], identity: Prepared, stage: Stage, group: int, seed: int
) -> Float[Tensor, "k c h w"]:
    """Latents of the keyframes at ``positions`` (1 to ``group`` - 1 of them), sampled as one batch.

    The batch is the identity frame, the keyframes, then copies of the last one up to ``group``: the
    network was trained on whole groups. ``identity`` is the frame that shows who this is
    (``Run.portrait``); it also is the reference picture that the network sees.
    """
    entries = [identity.at([0]), prepared.at(positions)]
    missing = group - 1 - len(positions)
    if missing:
        entries.append(prepared.at([positions[-1]] * missing))
    told = Condition(
        audio=torch.cat([e.audio for e in entries])[None],
        reference=identity.latents[:1][None],
        kept=torch.cat([e.latents for e in entries])[None],
        mask=torch.cat([e.masks for e in entries])[None],
    )
    noise = draw_noise(told.kept.shape[1:], seed, "keyframes", prepared.first + positions[0])[None]
    latents = stage.sample(noise, told)
    return latents[0, 1 : 1 + len(positions)]

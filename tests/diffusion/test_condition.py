from __future__ import annotations

import torch

from keysync.diffusion.condition import Condition


def told(segments: int = 3) -> Condition:
    count = torch.arange(segments).float()[:, None, None, None, None]
    return Condition(
        audio=torch.zeros(segments, 5, 2, 7) + count[..., 0],
        reference=torch.zeros(segments, 1, 4, 8, 8) + count,
        kept=torch.zeros(segments, 5, 4, 8, 8) + count,
        mask=torch.ones(segments, 5, 1, 8, 8) * count,
    )


def test_switching_a_source_off_leaves_the_other_and_the_original_alone() -> None:
    whole = told()
    silent, blind = whole.without_audio(), whole.without_reference()
    assert (silent.hear, silent.look) == (False, True)
    assert (blind.hear, blind.look) == (True, False)
    assert whole.hear
    assert whole.look
    assert silent.audio is whole.audio


def test_selecting_takes_the_same_segments_of_everything_and_keeps_the_switches() -> None:
    part = told().without_audio().select(slice(1, 3))
    for field in (part.audio, part.reference, part.kept, part.mask):
        assert field.shape[0] == 2
        assert field.flatten(1)[:, 0].tolist() == [1, 2]
    assert not part.hear

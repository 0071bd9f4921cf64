from __future__ import annotations

import pytest
import torch
from torch import Tensor

from keysync.diffusion.condition import Condition
from keysync.diffusion.denoiser import Denoiser
from keysync.diffusion.guidance import SplitGuidance

X = torch.zeros(3, 2, 4, 8, 8)
SIGMA = torch.tensor(1.0)


class Told(Denoiser):
    """Answers with a number that says what it was told: nothing 1, the reference 10, all of it 100."""

    def __init__(self) -> None:
        self.calls: list[tuple[bool, bool, int]] = []

    def denoise(self, x: Tensor, _sigma: Tensor, told: Condition) -> Tensor:
        self.calls.append((told.hear, told.look, len(x)))
        return torch.full_like(x, 10.0 ** (told.hear + told.look)) + told.kept


def condition() -> Condition:
    kept = torch.arange(3.0)[:, None, None, None, None].expand_as(X)
    return Condition(torch.zeros(3, 2, 2, 7), kept[:, :1], kept, torch.ones(3, 2, 1, 8, 8))


def test_the_formula_holds_and_every_segment_gets_its_own() -> None:
    guided = SplitGuidance(audio=5.0, reference=2.0).wrap(Told(), condition())(X, SIGMA)
    expected = 1 + 2 * (10 - 1) + 5 * (100 - 10)
    assert guided[:, 0, 0, 0, 0].tolist() == [expected, expected + 1, expected + 2]


@pytest.mark.parametrize(
    ("audio", "reference", "parts"),
    [
        (5.0, 2.0, [(False, False), (False, True), (True, True)]),
        (2.0, 1.0, [(False, True), (True, True)]),
        (2.0, 2.0, [(False, False), (True, True)]),
        (1.0, 1.0, [(True, True)]),
    ],
)
def test_parts_without_weight_are_not_evaluated(
    audio: float, reference: float, parts: list[tuple[bool, bool]]
) -> None:
    network = Told()
    SplitGuidance(audio=audio, reference=reference).wrap(network, condition())(X, SIGMA)
    assert [call[:2] for call in network.calls] == parts


def test_rows_limit_the_segments_per_call_and_nothing_else() -> None:
    guidance, limited = SplitGuidance(audio=5.0, reference=2.0), Told()
    assert torch.equal(
        guidance.wrap(limited, condition(), rows=2)(X, SIGMA), guidance.wrap(Told(), condition())(X, SIGMA)
    )
    assert [call[2] for call in limited.calls] == [2, 2, 2, 1, 1, 1]

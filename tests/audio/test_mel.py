"""Frames lie where they are said to lie."""

from __future__ import annotations

import math

import pytest
import torch

from keysync.audio.mel import log_mel


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 16000])
def test_one_frame_per_10_ms_begun(samples: int) -> None:
    assert log_mel(torch.zeros(samples)).shape == (math.ceil(samples / 160), 80)


def test_a_click_is_loudest_in_the_frame_around_it() -> None:
    samples = torch.zeros(16000)
    samples[50 * 160 + 80] = 1.0  # the middle of frame 50
    energy = log_mel(samples).sum(1)
    assert int(energy.argmax()) == 50
    assert torch.allclose(energy[49], energy[51], atol=0.5)  # a frame's window is centred on it


def test_a_higher_tone_lies_in_a_higher_band() -> None:
    time_s = torch.arange(16000) / 16000
    bands = [int(log_mel(torch.sin(2 * math.pi * hz * time_s))[50].argmax()) for hz in (200, 500, 1000, 4000)]
    assert bands == sorted(set(bands))


def test_shifting_sound_by_a_frame_shifts_the_mel_by_one() -> None:
    samples = torch.randn(8000, generator=torch.Generator().manual_seed(0))
    whole, later = log_mel(samples), log_mel(samples[160:])
    torch.testing.assert_close(later[2:], whole[3:])


def test_batch_rows_are_independent() -> None:
    samples = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_mel(samples)[1], log_mel(samples[1]))


def test_silence_is_finite() -> None:
    assert log_mel(torch.zeros(1600)).isfinite().all()

"""Tokens: how many, where, and independent of the length of the file."""

from __future__ import annotations

import math

import pytest
import torch

from keysync.audio import compact
from keysync.audio.compact import CompactAudioConfig, CompactAudioEncoder
from keysync.errors import ConfigError


@pytest.fixture
def encoder() -> CompactAudioEncoder:
    torch.manual_seed(0)
    made = CompactAudioEncoder(CompactAudioConfig(width=16)).eval().requires_grad_(False)
    made.token_mean.normal_()
    made.token_std.uniform_(0.5, 2.0)
    return made


def _noise(samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("samples", [0, 1, 319, 320, 321, 639, 641, 16000, 40123])
def test_one_token_per_20_ms_begun(encoder: CompactAudioEncoder, samples: int) -> None:
    assert encoder(_noise(samples)).shape == (math.ceil(samples / 320), encoder.dim)


def test_a_piece_gives_the_tokens_of_the_whole_away_from_its_edges(encoder: CompactAudioEncoder) -> None:
    samples = _noise(5 * 16000)
    margin = math.ceil(encoder.context_s * 50)
    whole, piece = encoder(samples), encoder(samples[16000 : 4 * 16000])
    torch.testing.assert_close(piece[margin:-margin], whole[50:200][margin:-margin])


def test_beyond_the_receptive_field_nothing_is_heard(encoder: CompactAudioEncoder) -> None:
    samples = _noise(3 * 16000)
    changed = samples.clone()
    changed[24000] += 5.0
    moved_s = (torch.nonzero((encoder(samples) - encoder(changed)).abs().sum(1) > 0) + 0.5) * 0.02 - 1.5
    assert moved_s.abs().max() <= encoder.context_s
    assert moved_s.abs().max() > encoder.context_s - 0.05  # and the number promises no more than is true


def test_shifting_sound_by_320_samples_shifts_tokens_by_one(encoder: CompactAudioEncoder) -> None:
    samples = _noise(4 * 16000)
    margin = math.ceil(encoder.context_s * 50)
    whole, later = encoder(samples), encoder(samples[320:])
    torch.testing.assert_close(later[margin:-margin], whole[1:][margin:-margin])


def test_long_sound_is_cut_without_a_trace(
    encoder: CompactAudioEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = _noise(4 * 16000 + 7)
    whole = encoder(samples)
    monkeypatch.setattr(compact, "_CHUNK_TOKENS", 37)
    torch.testing.assert_close(encoder(samples), whole)


def test_tokens_are_what_the_heads_say_standardised(encoder: CompactAudioEncoder) -> None:
    samples = _noise(16000)
    tokens = encoder(samples)
    phones, curves = encoder.heads(samples[None])
    assert phones.shape == (1, 50, 41)
    assert curves.shape == (1, 50, 7)
    torch.testing.assert_close(encoder.told_curves(tokens), curves[0])
    probabilities = tokens * encoder.token_std + encoder.token_mean
    torch.testing.assert_close(probabilities[:, 7:], phones[0].softmax(dim=1))


def test_with_curves_changes_the_curves_and_nothing_else(encoder: CompactAudioEncoder) -> None:
    tokens = encoder(_noise(16000))
    other = torch.rand(len(tokens), 7)
    changed = encoder.with_curves(tokens, other)
    torch.testing.assert_close(encoder.told_curves(changed), other)
    torch.testing.assert_close(encoder.told_phones(changed), encoder.told_phones(tokens))


def test_half_tucked_halves_the_tuck_and_nothing_else(encoder: CompactAudioEncoder) -> None:
    tokens = encoder(_noise(16000))
    halved = encoder.half_tucked(tokens)
    told, asked = encoder.told_curves(tokens), encoder.told_curves(halved)
    torch.testing.assert_close(asked[:, 2], told[:, 2] / 2)
    others = [index for index in range(encoder.dim) if index != 2]
    torch.testing.assert_close(halved[:, others], tokens[:, others])


def test_default_size_is_the_one_documented() -> None:
    parameters = sum(weight.numel() for weight in CompactAudioEncoder().parameters())
    assert 2.2e6 < parameters < 2.4e6


@pytest.mark.parametrize("wrong", [{"width": 20}, {"width": 0}, {"blocks": 0}])
def test_impossible_sizes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        CompactAudioConfig(**wrong)

from __future__ import annotations

import torch
from torch import nn

from keysync.diffusion.layers import AudioAttention, Mixer, TransformerBlock, VideoResBlock, VideoTransformer


def test_silence_is_exactly_a_sound_of_zeros() -> None:
    torch.manual_seed(0)
    attention = AudioAttention(32, 24, heads=2)
    x = torch.randn(6, 5, 32)
    silent = attention(x, None)
    torch.testing.assert_close(attention(x, torch.zeros(2, 3, 24)), silent.expand_as(x))


def test_each_segment_hears_its_own_sound_in_every_frame() -> None:
    torch.manual_seed(0)
    attention = AudioAttention(32, 24, heads=2)
    x, heard = torch.randn(2 * 3, 5, 32), torch.randn(2, 3, 24)
    together = attention(x, heard)
    repeated = torch.cat([attention(x[i : i + 1], heard[i // 3][None]) for i in range(6)])
    torch.testing.assert_close(together, repeated)


def test_a_large_mix_factor_shows_pictures_only() -> None:
    mixer = Mixer()
    nn.init.constant_(mixer.mix_factor, 50)
    spatial, temporal = torch.randn(2, 4, 3)
    torch.testing.assert_close(mixer(spatial, temporal), spatial)


def test_without_time_frames_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    block, transformer = VideoResBlock(32, 64, 16), VideoTransformer(64, 24, 32)
    for mixer in (block.time_mixer, transformer.time_mixer):
        nn.init.constant_(mixer.mix_factor, 50)
    x, embedding, heard = torch.randn(4, 32, 4, 4), torch.randn(1, 4, 16), torch.randn(1, 4, 24)
    other = torch.cat([x[:1], torch.randn(3, 32, 4, 4)])
    first = transformer(block(x, embedding), heard, 4)[0]
    torch.testing.assert_close(transformer(block(other, embedding), heard, 4)[0], first)


def test_with_time_they_do() -> None:
    torch.manual_seed(0)
    block = VideoResBlock(32, 32, 16)
    x, embedding = torch.randn(4, 32, 4, 4), torch.randn(1, 4, 16)
    other = torch.cat([x[:1], torch.randn(3, 32, 4, 4)])
    assert not torch.allclose(block(x, embedding)[0], block(other, embedding)[0])


def test_a_block_keeps_the_shape_of_its_sequence() -> None:
    assert TransformerBlock(32, 24, 2)(torch.randn(6, 5, 32), torch.randn(2, 3, 24)).shape == (6, 5, 32)

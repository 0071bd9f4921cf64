from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from keysync.audio.window import CHUNKS_KEPT, AudioTokens, gather, token_indices
from keysync.errors import InputError

RATE = 16_000


class Counted:
    """Sound whose sample i is i + 1, so that every token tells where it came from."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.asked: list[tuple[int, int]] = []
        self.mean, self.variance = 0.0, 1.0

    def samples(self, start: int, stop: int) -> np.ndarray:
        self.asked.append((start, stop))
        return np.arange(start + 1, stop + 1, dtype=np.float32)

    def __len__(self) -> int:
        return self.length


class Ear:
    """Token k: the first sample of its 20 ms, and how far the chunk reaches to each side of it."""

    dim = 3
    context_s = 0.5

    def __call__(self, samples: Tensor) -> Tensor:
        first = samples[::320]
        return torch.stack([first, first - samples[0], samples[-1] - first], dim=1)


def exact(frames: int, fps: Fraction) -> list[Fraction]:
    return [Fraction(i) / fps for i in range(frames)]


def test_at_25_frames_per_second_frame_f_hears_tokens_2f_and_2f_plus_1() -> None:
    indices = token_indices(exact(100_000, Fraction(25)), 2)
    assert torch.equal(indices.flatten(), torch.arange(200_000))


def test_eight_tokens_reach_three_back_and_four_on() -> None:
    assert token_indices([Fraction(2)], 8).tolist() == [list(range(97, 105))]
    assert token_indices([Fraction(2)], 8, offset=-1).tolist() == [list(range(96, 104))]


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(30_000, 1001), Fraction(30), Fraction(60)])
def test_at_other_rates_the_tokens_lie_at_the_frames_true_time(fps: Fraction) -> None:
    times = exact(5000, fps)
    for time, (first, _) in zip(times, token_indices(times, 2).tolist(), strict=True):
        assert Fraction(first, 50) <= time < Fraction(first + 1, 50)


def test_before_the_start_the_first_token_after_the_end_zero_or_the_last() -> None:
    tokens = torch.tensor([[1.0], [2.0]])
    indices = torch.tensor([[-2, 0], [1, 2]])
    assert gather(tokens, indices, "zero")[..., 0].tolist() == [[1, 1], [2, 0]]
    assert gather(tokens, indices, "repeat")[..., 0].tolist() == [[1, 1], [2, 2]]


@pytest.mark.parametrize("seconds", [3.0, 19.99, 39.9, 40.0, 45.03, 104.0, 61.007])
def test_no_token_is_lost_or_moved_where_chunks_meet(seconds: float) -> None:
    length = int(seconds * RATE)
    tokens = AudioTokens(Ear(), Counted(length))
    assert len(tokens) == -(-length // 320)
    frames = len(tokens) // 2
    heard = tokens.at(exact(frames, Fraction(25)))
    assert torch.equal(heard[..., 0].flatten(), torch.arange(2 * frames) * 320 + 1.0)


def test_every_token_hears_its_context_on_both_sides() -> None:
    length = 70 * RATE
    heard = AudioTokens(Ear(), Counted(length), chunk_s=10).at(exact(70 * 25, Fraction(25))).flatten(0, 1)
    start = heard[:, 0] - 1
    wanted = Ear.context_s * RATE
    assert (heard[:, 1] >= start.clamp(max=wanted)).all()
    assert (heard[:, 2] >= (length - 1 - start).clamp(max=wanted)).all()


def test_nothing_is_encoded_before_it_is_asked_for_nor_twice() -> None:
    sound = Counted(100 * RATE)
    tokens = AudioTokens(Ear(), sound, chunk_s=10)
    assert sound.asked == []
    tokens.at([Fraction(5)])
    tokens.at([Fraction(6), Fraction(4)])
    assert len(sound.asked) == 1
    assert sound.asked[0][1] < 11 * RATE


def test_only_a_few_chunks_are_kept() -> None:
    sound = Counted(200 * RATE)
    tokens = AudioTokens(Ear(), sound, chunk_s=10)
    tokens.at(exact(25 * 200, Fraction(25)))
    assert len(sound.asked) == 20
    assert max(stop - start for start, stop in sound.asked) < 12 * RATE
    tokens.at([Fraction(200 - 10 * CHUNKS_KEPT)])
    assert len(sound.asked) == 20
    tokens.at([Fraction(0)])
    assert len(sound.asked) == 21


def test_past_the_end_of_the_speech_frames_hear_what_was_asked_for() -> None:
    tokens = AudioTokens(Ear(), Counted(RATE))
    late = [Fraction(49, 50), Fraction(30)]
    assert tokens.at(late)[..., 0].tolist() == [[49 * 320 + 1, 0], [0, 0]]
    assert (tokens.at(late, past_end="repeat")[..., 0] == 49 * 320 + 1).all()


def test_a_speech_without_samples_is_refused() -> None:
    with pytest.raises(InputError, match="no samples"):
        AudioTokens(Ear(), Counted(0))


def test_hubert_is_told_the_statistics_of_the_whole_clip() -> None:
    from transformers import HubertConfig, HubertModel

    from keysync.audio.encoder import HubertEncoder, standardise

    torch.manual_seed(0)
    config = HubertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=[8] * 7,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    encoder, sound = HubertEncoder(HubertModel(config)), Counted(3200)
    sound.mean, sound.variance = 1600.5, 853_600.0
    with torch.no_grad():
        wanted = encoder(standardise(torch.arange(1, 3201).float(), sound.mean, sound.variance))
    torch.testing.assert_close(AudioTokens(encoder, sound).at(exact(5, Fraction(25))).flatten(0, 1), wanted)

import torch

from keysync.audio.compact import CompactAudioConfig, CompactAudioEncoder
from keysync.train.dataset import Disguised


def test_a_disguise_changes_the_tokens_but_not_their_number_or_scale() -> None:
    torch.manual_seed(0)
    encoder = CompactAudioEncoder(CompactAudioConfig(width=16, blocks=2)).requires_grad_(False)
    samples = torch.randn(16000 + 100) * 0.1
    plain, first, second = encoder(samples), Disguised(encoder)(samples), Disguised(encoder)(samples)
    assert plain.shape == first.shape
    assert not torch.allclose(first, second)
    assert 0.5 < float(first.std() / plain.std()) < 2

import numpy as np
import pytest
import torch

from keysync.diffusion.compact_autoencoder import CompactAutoencoder, CompactAutoencoderConfig
from keysync.train.autoencoder import fit_components
from keysync.train.dataset import PreparedClip
from keysync.train.judge import train_judge


def _clip(seed: int, follows: bool) -> PreparedClip:
    """A dark mouth on grey skin whose height is the gap, if it ``follows``; the width shows nowhere."""
    rng = np.random.default_rng(seed)
    gap = rng.uniform(0, 2, 24).astype(np.float32)
    pictures = np.full((24, 64, 64, 3), 150 + 10 * seed, np.uint8)
    for picture, tall in zip(pictures, gap, strict=True):
        picture[44 : 44 + int(9 * tall), 20:44] = 30
    width = rng.uniform(5, 6, 24).astype(np.float32)
    lips = np.stack([gap if follows else rng.permutation(gap), width], axis=1)
    masks = np.ones((24, 4, 4), np.float32)
    return PreparedClip(pictures, masks, masks, lips, np.zeros((1, 24, 8, 3), np.float32))


@pytest.mark.parametrize("follows", [True, False])
def test_a_gap_that_shows_is_read_and_one_that_does_not_is_not(follows: bool) -> None:
    clips = [_clip(seed, follows) for seed in range(4)]
    torch.manual_seed(0)
    autoencoder = CompactAutoencoder(CompactAutoencoderConfig(channels=8, patch=16, shrink=1, widths=(8, 8)))
    fit_components(autoencoder, clips, seed=0)
    judge, (r, r_width) = train_judge(autoencoder, clips, steps=200, seed=0)
    assert (r > 0.9) == follows
    assert r_width < 0.8  # learnt by heart at most
    assert not any(weight.requires_grad for weight in judge.parameters())

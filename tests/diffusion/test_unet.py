from __future__ import annotations

import pytest
import torch

from keysync.diffusion.autoencoder import LATENT_SCALE
from keysync.diffusion.condition import Condition
from keysync.diffusion.denoiser import Denoiser, VideoNetwork
from keysync.diffusion.unet import InterpolationNetwork, KeyframeNetwork, VideoUNetConfig
from keysync.errors import ConfigError

TINY = VideoUNetConfig(
    width=32,
    multipliers=(1, 2),
    blocks=1,
    attention_at=(1,),
    head_width=16,
    audio_width=6,
    heard_width=12,
    latent_size=8,
)


def told(k: int) -> Condition:
    generator = torch.Generator().manual_seed(0)
    return Condition(
        audio=torch.randn(2, 3, 2, 6, generator=generator),
        reference=torch.randn(2, k, 4, 8, 8, generator=generator),
        kept=torch.randn(2, 3, 4, 8, 8, generator=generator),
        mask=torch.ones(2, 3, 1, 8, 8),
    )


@pytest.fixture(params=[KeyframeNetwork, InterpolationNetwork])
def network(request: pytest.FixtureRequest) -> KeyframeNetwork | InterpolationNetwork:
    torch.manual_seed(0)
    built: KeyframeNetwork | InterpolationNetwork = request.param(TINY)
    if isinstance(built, InterpolationNetwork):
        torch.nn.init.normal_(built.learned_mask)
    return built.eval().requires_grad_(False)


def condition_for(network: KeyframeNetwork | InterpolationNetwork) -> Condition:
    return told(1 if isinstance(network, KeyframeNetwork) else 2)


def test_keyframes_see_the_identity_frame_in_every_frame() -> None:
    x, condition = torch.randn(2, 3, 4, 8, 8), told(1)
    network = KeyframeNetwork(TINY)
    seen = network.inputs(x, condition)
    assert torch.equal(seen[:, :, :4], x)
    for frame in range(3):
        torch.testing.assert_close(seen[:, frame, 4:], condition.reference[:, 0] / LATENT_SCALE)
    assert not network.inputs(x, condition.without_reference())[:, :, 4:].any()


def test_interpolation_marks_its_ends_and_fills_the_middle() -> None:
    x, condition = torch.randn(2, 3, 4, 8, 8), told(2)
    network = InterpolationNetwork(TINY)
    torch.nn.init.normal_(network.learned_mask)
    seen = network.inputs(x, condition)
    torch.testing.assert_close(seen[:, [0, 2], 4:8], condition.reference / LATENT_SCALE)
    assert torch.equal(seen[:, 1, 4:8], network.learned_mask.expand(2, -1, -1, -1))
    blind = network.inputs(x, condition.without_reference())
    assert not blind[:, [0, 2], 4:8].any()
    for inputs in (seen, blind):
        assert inputs[:, :, 8].amax(dim=(2, 3)).tolist() == [[1, 0, 1]] * 2


def test_segments_do_not_mix(network: KeyframeNetwork | InterpolationNetwork) -> None:
    x, condition, level = torch.randn(2, 3, 4, 8, 8), condition_for(network), torch.randn(2, 3)
    both = network(x, level, condition)
    alone = network(x[1:], level[1:], condition.select(slice(1, 2)))
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-5)


def test_unheard_sound_changes_nothing_and_heard_sound_does(
    network: KeyframeNetwork | InterpolationNetwork,
) -> None:
    x, level = torch.randn(2, 3, 4, 8, 8), torch.randn(2, 3)
    condition = condition_for(network)
    other = Condition(condition.audio + 1, condition.reference, condition.kept, condition.mask)
    silent = network(x, level, condition.without_audio())
    assert torch.equal(silent, network(x, level, other.without_audio()))
    assert not torch.allclose(network(x, level, condition), network(x, level, other))
    assert not torch.allclose(network(x, level, condition), silent)


def test_networks_do_what_the_denoiser_asks(network: KeyframeNetwork | InterpolationNetwork) -> None:
    assert isinstance(network, VideoNetwork)
    condition = condition_for(network)
    x = torch.randn(2, 3, 4, 8, 8)
    assert Denoiser(network).denoise(x, torch.tensor(2.0), condition).shape == x.shape
    assert network.base(condition) == 0


def test_half_precision_weights_give_full_precision_results(
    network: KeyframeNetwork | InterpolationNetwork,
) -> None:
    x, level = torch.randn(2, 3, 4, 8, 8), torch.randn(2, 3)
    full = network(x, level, condition_for(network))
    half = network.bfloat16()(x, level, condition_for(network))
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, rtol=0.1, atol=0.1)


def test_widths_that_cannot_be_grouped_are_refused() -> None:
    with pytest.raises(ConfigError, match="width is 40"):
        VideoUNetConfig(width=40)

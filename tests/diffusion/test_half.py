import torch
from torch import nn

from keysync.diffusion.half import halve_convolutions


def test_halved_convolutions_stay_near_and_in_float32() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 4, 2, stride=2))
    picture = torch.randn(2, 8, 12, 12)
    whole = network(picture)
    halve_convolutions(network)
    halved = network(picture)
    assert halved.dtype == torch.float32
    assert not torch.equal(halved, whole)
    torch.testing.assert_close(halved, whole, rtol=0, atol=0.02 * float(whole.detach().abs().max()))


def test_a_frame_does_not_depend_on_those_beside_it() -> None:
    torch.manual_seed(0)
    network = nn.Conv2d(8, 16, 3, padding=1)
    halve_convolutions(network)
    pictures = torch.randn(3, 8, 12, 12)
    alone = torch.cat([network(picture[None]) for picture in pictures])
    torch.testing.assert_close(network(pictures), alone, rtol=1e-2, atol=1e-3)

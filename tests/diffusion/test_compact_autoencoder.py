import pytest
import torch

from keysync.diffusion.autoencoder import Surroundings
from keysync.diffusion.compact_autoencoder import CompactAutoencoder, CompactAutoencoderConfig


@pytest.fixture
def model() -> CompactAutoencoder:
    torch.manual_seed(0)
    made = CompactAutoencoder(CompactAutoencoderConfig(channels=8, patch=8, shrink=2, widths=(8, 8)))
    torch.nn.init.normal_(made.components, std=0.1)
    torch.nn.init.normal_(made.paint.weight, std=0.3)
    return made.eval().requires_grad_(False)


def surroundings(side: int = 128) -> Surroundings:
    mask = torch.zeros(1, 1, side, side)
    mask[..., 64:96, 32:96] = 1
    pictures = torch.rand(2, 1, 3, side, side) * 2 - 1
    return Surroundings(pictures[0], pictures[1] * (1 - mask), mask)


def test_only_the_repainted_part_and_a_cell_around_it_are_painted(model: CompactAutoencoder) -> None:
    around = surroundings()
    changed = (model.decode(torch.randn(1, 8, 8, 8), around) != around.kept).any(dim=1)[0]
    assert changed[64:96, 32:96].float().mean() > 0.99
    changed[48:112, 16:112] = False
    assert not changed.any()


def test_growing_is_that_of_pytorch(model: CompactAutoencoder) -> None:
    latents = torch.randn(2, 8, 8, 8)
    small = model.decode_linear(latents)
    known = torch.nn.functional.interpolate(small, scale_factor=2, mode="bicubic", align_corners=False)
    torch.testing.assert_close(model.decode(latents), known, rtol=1e-4, atol=1e-5)


def test_with_nothing_to_repaint_the_components_decide(model: CompactAutoencoder) -> None:
    around = surroundings()
    nothing = Surroundings(around.reference, around.kept, torch.zeros_like(around.mask))
    latents = torch.randn(1, 8, 8, 8)
    assert torch.equal(model.decode(latents, nothing), model.decode(latents))


def test_a_reference_can_be_copied_to_the_last_pixel(model: CompactAutoencoder) -> None:
    torch.nn.init.zeros_(model.paint.weight)
    model.paint.bias[48:] = 50  # copy everything
    around = surroundings()
    decoded = model.decode(torch.randn(1, 8, 8, 8), around)
    torch.testing.assert_close(decoded[..., 64:96, 32:96], around.reference[..., 64:96, 32:96])


def test_a_reference_can_be_moved_by_a_share_of_the_crop(model: CompactAutoencoder) -> None:
    torch.nn.init.zeros_(model.paint.weight)
    model.paint.bias[48:] = 50
    model.move.bias[:] = torch.tensor([0.5, -0.25])  # sixteenths of 128 pixels: from 4 right and 2 above
    around = surroundings()
    decoded = model.decode(torch.randn(1, 8, 8, 8), around)
    torch.testing.assert_close(
        decoded[..., 64:96, 40:88], around.reference[..., 62:94, 44:92], rtol=0, atol=1e-4
    )


def test_frames_decode_alike_alone_and_together(model: CompactAutoencoder) -> None:
    latents, one = torch.randn(3, 8, 8, 8), surroundings()
    around = Surroundings(*(part.expand(3, -1, -1, -1) for part in (one.reference, one.kept, one.mask)))
    alone = torch.cat([model.decode(part[None], one) for part in latents])
    torch.testing.assert_close(model.decode(latents, around), alone, rtol=1e-4, atol=1e-5)

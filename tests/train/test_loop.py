import csv
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from keysync.diffusion.autoencoder import Surroundings
from keysync.diffusion.compact_autoencoder import CompactAutoencoder, CompactAutoencoderConfig, lay_over
from keysync.diffusion.compact_unet import CompactUNet, CompactUNetConfig
from keysync.diffusion.denoiser import Denoiser
from keysync.train.autoencoder import fit_components, psnr, train_decoder
from keysync.train.dataset import Batches, PreparedClip
from keysync.train.judge import Judge, train_judge
from keysync.train.loop import TrainConfig, stage_loss, train_stage

PARTS = CompactAutoencoderConfig(channels=4, patch=16, shrink=1, widths=(8, 8))
NETWORK = CompactUNetConfig(
    latent_channels=4, cells=4, widths=(8, 16, 16), embedding=16, audio_dim=3, audio_width=8, heads=2
)


def _clip(seed: int) -> PreparedClip:
    """A grey face whose mouth is as dark as its sound is loud."""
    rng = np.random.default_rng(seed)
    loud = rng.uniform(0, 1, 16).astype(np.float32)
    y, x = np.mgrid[0:64, 0:64]
    pictures = np.repeat((120 + 40 * np.sin(x / 9 + seed) + 0 * y)[None], 16, axis=0)
    pictures[:, 36:56, 20:44] = (200 - 150 * loud)[:, None, None]
    masks = np.zeros((16, 4, 4), np.float32)
    masks[:, 2:] = 1
    tokens = np.repeat(loud[:, None, None], 8, axis=1).repeat(3, axis=2)
    colour = np.repeat(pictures[..., None], 3, axis=3).clip(0, 255).astype(np.uint8)
    lips = np.stack([0.3 * loud, 1 - 0.2 * loud], axis=1)
    return PreparedClip(colour, masks, masks.copy(), lips, tokens[None])


@pytest.fixture
def clips() -> list[PreparedClip]:
    return [_clip(seed) for seed in range(4)]


@pytest.fixture
def autoencoder(clips: list[PreparedClip]) -> CompactAutoencoder:
    torch.manual_seed(0)
    made = CompactAutoencoder(PARTS)
    fit_components(made, clips, seed=0)
    return made


def test_components_alone_give_standard_latents_and_a_likeness(
    autoencoder: CompactAutoencoder, clips: list[PreparedClip]
) -> None:
    whole, mouth, _ = psnr(autoencoder, clips, linear=True)
    assert whole > 20
    assert mouth > 20


def test_the_decoder_gets_better_than_components_alone(
    autoencoder: CompactAutoencoder, clips: list[PreparedClip], tmp_path: Path
) -> None:
    before = psnr(autoencoder, clips, linear=True)[0]
    trained = train_decoder(
        autoencoder, clips, clips[:1], tmp_path, steps=200, seed=0, side=32, rate=5e-3, noise=0.0
    )
    assert psnr(trained, clips)[0] > before + 0.3


def test_the_decoder_learns_what_a_painting_stands_for(
    autoencoder: CompactAutoencoder, clips: list[PreparedClip], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    painter = CompactUNet(NETWORK).eval()
    torch.nn.init.ones_(painter.leave[-1].bias)  # paints everything with the wrong light
    before = psnr(autoencoder, clips, painter=painter)[0]
    alone = psnr(autoencoder, clips[:1], linear=True, painter=painter)
    trained = train_decoder(
        autoencoder, clips, clips[:1], tmp_path, steps=60, seed=0, side=32, rate=5e-3, painter=painter
    )
    assert psnr(trained, clips, painter=painter)[0] > before + 1
    with (tmp_path / "curve.csv").open() as file:
        components, came, last = csv.DictReader(file)
    assert [float(components[f"painted_{name}"]) for name in ("psnr", "mouth_psnr", "sharpness")] == (
        pytest.approx(alone, abs=1e-3)
    )
    assert float(last["painted_psnr"]) > float(came["painted_psnr"])
    assert (tmp_path / "curve.png").exists()


def test_the_decoder_finds_in_the_reference_what_the_latents_ask_for(tmp_path: Path) -> None:
    def barred(seed: int) -> PreparedClip:
        clip = _clip(seed)
        pictures = clip.pictures.copy()
        pictures[:, 32:] = 160
        for picture, opening in zip(pictures, clip.lips[:, 0], strict=True):
            top = 36 + round(40 * float(opening))
            picture[top : top + 8] = 60
        return replace(clip, pictures=pictures)

    clips = [barred(seed) for seed in range(4)]
    torch.manual_seed(0)
    autoencoder = CompactAutoencoder(PARTS)
    fit_components(autoencoder, clips, seed=0)
    trained = train_decoder(autoencoder, clips, clips[:1], tmp_path, steps=200, seed=0, side=32, rate=5e-3)

    true = torch.from_numpy(barred(9).pictures).permute(0, 3, 1, 2) / 127.5 - 1
    reference, mask = true[:1].expand_as(true), torch.zeros(16, 1, 64, 64)
    mask[:, :, 32:] = 1
    with torch.no_grad():
        around = Surroundings(reference, true * (1 - mask), mask)
        paint, cover, way = trained.decode_working(trained.encode_working(true), around)
        moved = lay_over(torch.zeros_like(paint), torch.ones_like(cover), way, reference, 64)
    assert ((moved - true).abs() * mask).mean() < 0.5 * ((reference - true).abs() * mask).mean()


def test_the_decoder_keeps_the_lips_as_a_judge_reads_them(
    autoencoder: CompactAutoencoder, clips: list[PreparedClip], tmp_path: Path
) -> None:
    judge = Judge(4, 4)
    judge.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    nn.init.normal_(judge.layers[1].weight, std=2.0)  # sees what the other losses hardly do
    judge.requires_grad_(False)
    seen = Batches(clips, autoencoder, np.random.default_rng(0)).draw(12, 1, windows=False)
    true, mask = seen.pictures[:, 0], nn.functional.interpolate(seen.told.mask[:, 0], size=(64, 64))
    around = Surroundings(seen.portrait, true * (1 - mask), mask)

    def missed(reader: Judge | None) -> float:
        trained = train_decoder(
            deepcopy(autoencoder), clips, clips[:1], tmp_path / str(reader is None), steps=60, seed=0,
            side=32, rate=5e-3, judge=reader,
        )  # fmt: skip
        with torch.no_grad():
            decoded = lay_over(*trained.decode_working(seen.target[:, 0], around), seen.portrait, 64)
            read = judge(trained.encode_working(torch.lerp(true, decoded, mask)))
            return float(nn.functional.mse_loss(read, judge(seen.target[:, 0])))

    assert missed(judge) < 0.5 * missed(None)


@pytest.mark.parametrize(("stage", "offset_counts"), [("keyframes", False), ("interpolation", True)])
def test_how_wide_a_keyframes_mouth_is_at_rest_is_not_asked_of_the_sound(
    stage: str, offset_counts: bool, autoencoder: CompactAutoencoder, clips: list[PreparedClip]
) -> None:
    config = TrainConfig(stage=stage, steps=1)  # type: ignore[arg-type]
    judge, _ = train_judge(autoencoder, clips, steps=5, seed=0)
    judge.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))  # so that an offset is read as one
    batch = Batches(clips, autoencoder, np.random.default_rng(0)).draw(2, 4, windows=stage == "interpolation")

    class Wrong(Denoiser):
        """Estimates that are off: all alike, or each by more than the one before."""

        def __init__(self, grows: bool) -> None:
            self.off = torch.arange(4.0)[:, None, None, None] if grows else torch.tensor(1.0)

        def denoise(self, *_: object) -> torch.Tensor:  # type: ignore[override]
            return batch.target + self.off

    def lips(grows: bool) -> float:
        noise, sigma = torch.zeros_like(batch.target), torch.ones(2)
        loss = stage_loss(Wrong(grows), batch, sigma, noise, autoencoder, config, 0, judge)
        return loss[2].item()

    assert (lips(grows=False) > 1e-3) == offset_counts
    assert lips(grows=True) > 1e-2


@pytest.mark.parametrize("stage", ["keyframes", "interpolation"])
def test_loss_falls_and_a_broken_run_goes_on_to_the_same_weights(
    stage: str, autoencoder: CompactAutoencoder, clips: list[PreparedClip], tmp_path: Path
) -> None:
    config = TrainConfig(stage=stage, steps=80, window=5, warm_up=5)  # type: ignore[arg-type]
    judge, _ = train_judge(autoencoder, clips, steps=20, seed=0)

    def train(folder: Path, stop: int | None = None) -> CompactUNet:
        torch.manual_seed(1)
        network = CompactUNet(NETWORK)
        return train_stage(network, autoencoder, clips, clips[:1], folder, config, judge, stop=stop)

    whole = train(tmp_path / "whole")
    train(tmp_path / "broken", stop=1)
    train(tmp_path / "broken", stop=17)
    resumed = train(tmp_path / "broken")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    assert {path.name for path in (tmp_path / "whole").glob("*.png")} == {"curve.png", "strip.png"}
    rows = [line.split(",") for line in (tmp_path / "broken" / "curve.csv").read_text().split()[1:]]
    losses = [float(row[5]) for row in rows]
    assert losses[-1] < 0.9 * losses[0]

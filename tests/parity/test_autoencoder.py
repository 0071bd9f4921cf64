"""The autoencoder against the reference, both directions."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn

from keysync.convert import autoencoder_name, renamed
from keysync.diffusion.autoencoder import LATENT_SCALE, TemporalAutoencoder

Load = Callable[[str], dict[str, Tensor]]


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-4) -> None:
    assert ours.shape == theirs.shape
    error = float((ours - theirs).abs().max() / theirs.abs().max())
    assert error < tolerance, f"largest error {error:.2e} of the largest value"


def test_encoder(numbers: Load, autoencoder: TemporalAutoencoder) -> None:
    known = numbers("vae")
    model = deepcopy(autoencoder)
    halves = nn.ModuleDict({"encoder": model.vae.encoder, "quant_conv": model.vae.quant_conv})
    weights = renamed(known, halves, lambda name: "enc." + autoencoder_name(name, 4), Path("vae"))
    assert len(weights) == sum(name.startswith("enc.") for name in known)
    halves.load_state_dict(weights)
    with torch.inference_mode():
        features = model.vae.encoder(known["image"])
        close(features, known["encoder_out"])
        close(model.vae.quant_conv(features), known["quant_out"])
        latents = model.encode(known["image"])
    close(latents / LATENT_SCALE, known["latent_mode"])
    assert model.factor == known["image"].shape[-1] // latents.shape[-1]


def test_decoder(numbers: Load, autoencoder: TemporalAutoencoder) -> None:
    known = numbers("vae")
    with torch.inference_mode():
        close(autoencoder.decode(known["z"] * LATENT_SCALE), known["decoded_per_frame"])
        # Our pipeline decodes frame by frame; together they prove that the weights sit where they belong.
        close(autoencoder.vae.decode(known["z"], num_frames=5).sample, known["decoded_temporal"])
        close(autoencoder.vae.decode(known["z_two_clips"], num_frames=5).sample, known["decoded_two_clips"])
        pairs = [
            autoencoder.vae.decode(part / LATENT_SCALE, num_frames=len(part)).sample
            for part in known["z"].split(2)
        ]
    close(torch.cat(pairs), known["engine_decode_chunks_of_2"])

"""Our sound framing against that of the published research code."""

import json
import os
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from keysync.audio.encoder import standardise
from keysync.audio.window import AudioTokens, gather, token_indices

FOLDER = Path(os.environ.get("KEYSYNC_PARITY", Path(__file__).parents[2] / ".." / "shared" / "parity"))
SINGLE_CHUNK = [14, 25, 50, 501]


@pytest.fixture(scope="module")
def stored() -> tuple[Mapping[str, Tensor], dict]:
    path = FOLDER / "audio_framing.safetensors"
    if not path.exists():
        pytest.skip(f"no parity fixtures in {FOLDER}; set KEYSYNC_PARITY")
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["tables"])  # noqa: SIM118


def times(frames: int) -> list[Fraction]:
    return [Fraction(frame, 25) for frame in range(frames)]


@pytest.mark.parametrize("frames", [14, 25])
def test_the_clip_is_standardised_alike(stored, frames: int) -> None:
    raw = stored[0][f"f{frames}.raw"].flatten()
    ours = standardise(raw, float(raw.mean()), float(raw.var()))
    torch.testing.assert_close(ours, stored[0][f"f{frames}.normalized"][0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("frames", SINGLE_CHUNK)
def test_hubert_frames_match(stored, frames: int) -> None:
    tokens = stored[0][f"f{frames}.hubert_tokens0"][0]
    ours = gather(tokens, token_indices(times(frames), 2), past_end="zero")
    assert torch.equal(ours, stored[0][f"f{frames}.hubert_frames"])


@pytest.mark.parametrize("frames", SINGLE_CHUNK)
def test_wavlm_frames_match(stored, frames: int) -> None:
    tokens = stored[0][f"f{frames}.wavlm_tokens0"][0]
    wanted = stored[0][f"f{frames}.wavlm_frames"]
    ours = gather(tokens, token_indices(times(len(wanted)), 2, offset=-1), past_end="repeat")
    assert torch.equal(ours, wanted)


class Ramp:
    """Sound whose samples count up, in steps of 20 ms."""

    mean, variance = 0.0, 1.0

    def __init__(self, frames: int) -> None:
        self.length = frames * 640

    def samples(self, start: int, stop: int) -> np.ndarray:
        return (np.arange(start, stop) // 320).astype(np.float32)

    def __len__(self) -> int:
        return self.length


class Ear:
    """Each token is the number of its 20 ms."""

    dim = 1
    context_s = 2.0

    def __call__(self, samples: Tensor) -> Tensor:
        return samples[::320, None]


@pytest.mark.parametrize("frames", [500, 501, 1125, 1132, 2600])
def test_long_speech_keeps_every_token_in_its_place(stored, frames: int) -> None:
    """The published code loses a token at every chunk border; the sound runs ahead by as much."""
    ours = AudioTokens(Ear(), Ramp(frames)).at(times(frames))
    assert torch.equal(ours.flatten(), torch.arange(2 * frames).float())
    theirs = stored[1]["hubert"][str(frames)]
    chunks = len(theirs["tokens"])
    assert sum(theirs["tokens"]) == 2 * frames - chunks
    assert theirs["out"][0] == frames - chunks // 2  # an odd count is filled up with one zero token

from pathlib import Path

import pytest
import torch
from transformers import HubertConfig, HubertModel, WavLMConfig, WavLMModel

from keysync.audio.encoder import HubertEncoder, WavLMEncoder, standardise
from keysync.errors import CheckpointError

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}


@pytest.fixture(scope="module")
def hubert() -> HubertModel:
    torch.manual_seed(0)
    return HubertModel(HubertConfig(**TINY))


@pytest.fixture(scope="module")
def wavlm() -> WavLMModel:
    torch.manual_seed(0)
    return WavLMModel(WavLMConfig(**TINY))


@pytest.mark.parametrize("samples", [1, 319, 320, 321, 400, 16_000, 16_123])
def test_there_is_a_token_for_every_20_ms_begun(hubert, wavlm, samples: int) -> None:
    sound = torch.randn(samples)
    for encoder in (HubertEncoder(hubert), WavLMEncoder(wavlm)):
        with torch.no_grad():
            assert encoder(sound).shape == (-(-samples // 320), encoder.dim)


def test_token_k_hears_samples_from_320_k_on(wavlm) -> None:
    """A click moves the convolutions' output only where its 20 ms are."""
    quiet = torch.zeros(3200)
    click = quiet.clone()
    click[320 * 6 + 160] = 1
    padded = [torch.nn.functional.pad(x, (0, 80))[None] for x in (quiet, click)]
    with torch.no_grad():
        before, after = (wavlm.feature_extractor.conv_layers[0].conv(x[:, None]) for x in padded)
    touched = (before != after).any(dim=1)[0].nonzero()[:, 0] * 5  # samples at which the windows begin
    assert touched.min() // 320 == 6
    assert touched.max() // 320 == 6


def test_hubert_hears_the_clip_standardised(hubert) -> None:
    encoder, sound = HubertEncoder(hubert), torch.randn(1600) * 3 + 2
    with torch.no_grad():
        wanted = encoder(standardise(sound, 2.0, 9.0))
        torch.testing.assert_close(encoder(sound, 2.0, 9.0), wanted)


def test_standardised_sound_has_mean_0_and_variance_1() -> None:
    sound = torch.randn(5000) * 3 + 2
    out = standardise(sound, float(sound.mean()), float(sound.var()))
    assert float(out.mean()) == pytest.approx(0, abs=1e-5)
    assert float(out.var()) == pytest.approx(1, abs=1e-5)
    assert standardise(torch.zeros(5), 0.0, 0.0).abs().max() == 0


def test_a_saved_folder_opens_to_the_same_network(hubert, wavlm, tmp_path: Path) -> None:
    sound = torch.randn(1600)
    for kind, model in ((HubertEncoder, hubert), (WavLMEncoder, wavlm)):
        folder = tmp_path / kind.__name__
        model.save_pretrained(folder)
        with torch.no_grad():
            torch.testing.assert_close(kind.from_folder(folder)(sound), kind(model)(sound))


def test_a_missing_folder_is_never_looked_up_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        HubertEncoder.from_folder(tmp_path / "some" / "model")


def test_pickled_weights_are_refused(hubert, tmp_path: Path) -> None:
    hubert.config.save_pretrained(tmp_path)
    torch.save(hubert.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="keysync models convert"):
        HubertEncoder.from_folder(tmp_path)


def test_missing_weights_are_named(hubert, tmp_path: Path) -> None:
    state = {k: v for k, v in hubert.state_dict().items() if k != "encoder.layer_norm.bias"}
    hubert.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(CheckpointError, match=r"1 weights .* missing \(encoder\.layer_norm\.bias\)"):
        HubertEncoder.from_folder(tmp_path)

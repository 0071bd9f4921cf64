from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def sam2_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as SAM 2's, of a network with random weights that sees 128 pixels a side."""
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VideoModel, Sam2VisionConfig
    from transformers.utils import logging

    backbone = Sam2HieraDetConfig(
        hidden_size=16, image_size=[128, 128], blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[16, 32, 64, 128], num_attention_heads_per_stage=[1, 1, 2, 4],
        window_size_per_stage=[8, 4, 4, 2], global_attention_blocks=[3],
    )  # fmt: skip
    vision = Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[128, 64, 32, 16], fpn_hidden_size=128,
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
    )  # fmt: skip
    config = Sam2VideoConfig(
        vision_config=vision, image_size=128,
        prompt_encoder_config={"image_size": 128, "hidden_size": 128},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 64, "iou_head_hidden_dim": 64},
        memory_attention_hidden_size=128, memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=64, memory_attention_rope_feat_sizes=[8, 8],
        memory_encoder_hidden_size=128, mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128, memory_fuser_intermediate_dim=64,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("sam2")
    torch.manual_seed(0)
    logging.disable_progress_bar()
    Sam2VideoModel(config).save_pretrained(folder)
    return folder

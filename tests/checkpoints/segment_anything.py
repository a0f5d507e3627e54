"""Tiny networks of every family that cuts out boxes, untrained but outspoken.

Made from the real config classes; weights are scaled so that masks have edges and depend on the
box. The processors of SAM 2 and 3 need torchvision.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForMaskGeneration, PreTrainedConfig
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

SIDE = 128
"""Pixels of the side of the image that a network sees."""
_WIDTH = 32


def options(folder: Path) -> dict[str, Any]:
    """Options with which the stage runs, one image at a time.

    In a batch the last digits of a float differ, and with them single pixels of a mask.
    """
    return {"model": str(write_sam(folder)), "batch_size": 1}


def write_sam(folder: Path, seed: int = 0) -> Path:
    """Write a SAM."""
    config = transformers.SamConfig(
        vision_config=_vision(),
        prompt_encoder_config=_prompts(),
        mask_decoder_config=_decoder(),
    )
    transformers.SamProcessor(_image_processor()).save_pretrained(folder)
    return _write(config, folder, seed)


def write_sam_hq(folder: Path, seed: int = 0) -> Path:
    """Write a SAM-HQ."""
    config = transformers.SamHQConfig(
        vision_config=_vision(),
        prompt_encoder_config=_prompts(),
        mask_decoder_config=_decoder() | {"vit_dim": _WIDTH},
    )
    transformers.SamHQProcessor(_image_processor()).save_pretrained(folder)
    return _write(config, folder, seed)


def write_sam2(folder: Path, seed: int = 0) -> Path:
    """Write a SAM 2."""
    config = transformers.Sam2Config(
        vision_config=_hiera(),
        prompt_encoder_config=_prompts(),
        mask_decoder_config=_decoder(),
    )
    transformers.Sam2Processor(_square(transformers.Sam2ImageProcessor)).save_pretrained(folder)
    return _write(config, folder, seed)


def write_sam2_video(folder: Path, seed: int = 0) -> Path:
    """Write a SAM 2 as the hub has it: with a memory of what videos showed before."""
    config = transformers.Sam2VideoConfig(
        vision_config=_hiera(),
        prompt_encoder_config=_prompts(),
        mask_decoder_config=_decoder(),
        image_size=SIDE,
        memory_attention_hidden_size=_WIDTH,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=_WIDTH,
        memory_attention_rope_feat_sizes=[SIDE // 16] * 2,
        memory_encoder_hidden_size=_WIDTH,
        memory_encoder_output_channels=_WIDTH // 4,
        mask_downsampler_embed_dim=_WIDTH,
        memory_fuser_embed_dim=_WIDTH,
        memory_fuser_intermediate_dim=_WIDTH,
    )
    transformers.Sam2VideoProcessor(
        _square(transformers.Sam2ImageProcessor), transformers.Sam2VideoVideoProcessor()
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    return _saved(transformers.Sam2VideoModel(config), folder)


def write_sam3_tracker(folder: Path, seed: int = 0) -> Path:
    """Write the tracker of a SAM 3."""
    config = transformers.Sam3TrackerConfig(
        vision_config={
            "model_type": "sam3_vision_model",
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": _WIDTH,
                "intermediate_size": _WIDTH,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": SIDE,
                "pretrain_image_size": SIDE,
                "patch_size": 16,
                "window_size": 4,
                "global_attn_indexes": [1],
            },
            "backbone_feature_sizes": [[SIDE // each] * 2 for each in (4, 8, 16)],
            "fpn_hidden_size": _WIDTH,
        },
        prompt_encoder_config=_prompts() | {"patch_size": 16},
        mask_decoder_config=_decoder(),
    )
    processor = transformers.Sam3TrackerProcessor(_square(transformers.Sam3ImageProcessor))
    processor.save_pretrained(folder)
    return _write(config, folder, seed)


def _write(config: PreTrainedConfig, folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    return _saved(AutoModelForMaskGeneration.from_config(config), folder)


def _saved(model: Any, folder: Path) -> Path:
    """Have masks depend on boxes and have edges, and predicted IoUs differ within 0..1."""
    decoder = model.mask_decoder
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and "positional_embedding" not in name:
            torch.nn.init.normal_(weight, std=0.2)
    for network in decoder.output_hypernetworks_mlps:
        torch.nn.init.normal_(network.proj_out.weight, std=1.0)
    torch.nn.init.normal_(decoder.iou_prediction_head.proj_out.weight, std=0.05)
    torch.nn.init.constant_(decoder.iou_prediction_head.proj_out.bias, 0.7)
    model.save_pretrained(folder)
    return folder


def _square(image_processor: Any) -> Any:
    size = {"height": SIDE, "width": SIDE}
    return image_processor(size=size, mask_size=size)


def _hiera() -> dict[str, Any]:
    """The vision tower of SAM 2."""
    return {
        "model_type": "sam2_vision_model",
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": 8,
            "image_size": [SIDE, SIDE],
            "window_positional_embedding_background_size": [2, 2],
            "blocks_per_stage": [1, 1, 2, 1],
            "embed_dim_per_stage": [8, 16, 24, 32],
            "num_attention_heads_per_stage": [1, 1, 1, 1],
            "window_size_per_stage": [4, 4, 4, 4],
            "global_attention_blocks": [3],
        },
        "backbone_channel_list": [32, 24, 16, 8],
        "backbone_feature_sizes": [[SIDE // each] * 2 for each in (4, 8, 16)],
        "fpn_hidden_size": _WIDTH,
    }


def _image_processor() -> SamImageProcessorPil:
    return SamImageProcessorPil(
        size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE}
    )


def _vision() -> dict[str, Any]:
    return {
        "hidden_size": _WIDTH,
        "output_channels": _WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "window_size": 4,
        "global_attn_indexes": [1],
        "num_pos_feats": _WIDTH // 2,
        "mlp_dim": _WIDTH,
    }


def _prompts() -> dict[str, Any]:
    return {"hidden_size": _WIDTH, "image_size": SIDE, "mask_input_channels": 4}


def _decoder() -> dict[str, Any]:
    return {
        "hidden_size": _WIDTH,
        "mlp_dim": _WIDTH,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 16,
    }

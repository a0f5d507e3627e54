"""Tiny OWL-ViTs, OWLv2s and OmDet-Turbos, untrained but outspoken.

Made from the real config classes; their heads are scaled so that boxes differ and pass a score.
Their tokenizer knows letters only. Grounding DINOs are those of `grounding`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoModelForZeroShotObjectDetection, CLIPTokenizer

from tests.checkpoints.grounding import MODEL_TYPES, tiny_swin, write_grounding_dino

SIDE = 64
"""Pixels of the side of the image that a detector sees."""
_LETTERS = (*sorted(ByteLevel.alphabet()), *(f"{one}</w>" for one in sorted(ByteLevel.alphabet())))
_MARKS = ("<|startoftext|>", "<|endoftext|>")
_VOCABULARY = {one: number for number, one in enumerate((*_LETTERS, *_MARKS))}
_TEXT = {
    "vocab_size": len(_VOCABULARY),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "bos_token_id": len(_VOCABULARY) - 2,
    "eos_token_id": len(_VOCABULARY) - 1,
    "pad_token_id": 0,
}


def options(folder: Path) -> dict[str, Any]:
    """Options with which the stage runs."""
    return {"model": str(WRITERS["owlv2"](folder)), "classes": ["cat", "cup"]}


def write_owl(folder: Path, model_type: str = "owlv2", seed: int = 0) -> Path:
    """Write an OWL-ViT or an OWLv2."""
    torch.manual_seed(seed)
    vision = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.AutoConfig.for_model(
        model_type,
        text_config={**_TEXT, "max_position_embeddings": 16},
        vision_config={**vision, "intermediate_size": 32, "image_size": SIDE, "patch_size": 16},
        projection_dim=16,
    )
    model = AutoModelForZeroShotObjectDetection.from_config(config)
    for name, weight in model.named_parameters():
        if name.startswith("box_head") and weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.15)
        elif name.startswith("class_head") and weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.3)
        elif "embedding" in name:
            torch.nn.init.normal_(weight, std=0.7)
        elif "projection" in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    name = {"owlvit": "OwlViT", "owlv2": "Owlv2"}[model_type]
    size = {"height": SIDE, "width": SIDE}
    image_processor = getattr(transformers, f"{name}ImageProcessorPil")(size=size)
    tokenizer = _tokenizer(longest=16)
    getattr(transformers, f"{name}Processor")(image_processor, tokenizer).save_pretrained(folder)
    return folder


def write_omdet_turbo(folder: Path, model_type: str = "omdet-turbo", seed: int = 0) -> Path:
    """Write an OmDet-Turbo with a backbone of `transformers`; released ones have timm's."""
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(
        model_type,
        backbone_config=tiny_swin(),
        text_config=transformers.CLIPTextConfig(**_TEXT, max_position_embeddings=77),
        use_timm_backbone=False,
        apply_layernorm_after_vision_backbone=False,
        image_size=SIDE,
        text_projection_in_dim=16,
        text_projection_out_dim=16,
        class_embed_dim=16,
        task_encoder_hidden_dim=32,
        encoder_hidden_dim=32,
        decoder_hidden_dim=32,
        vision_features_channels=[32, 32, 32],
        encoder_in_channels=[16, 32, 64],
        encoder_dim_feedforward=32,
        decoder_dim_feedforward=32,
        encoder_attention_heads=2,
        decoder_num_heads=2,
        decoder_num_layers=2,
        decoder_num_points=2,
        num_queries=20,
        disable_custom_kernels=True,
    )
    model = AutoModelForZeroShotObjectDetection.from_config(config)
    for name, weight in model.named_parameters():
        if "class_head" in name and weight.ndim == 1:
            torch.nn.init.zeros_(weight)
        elif "language" in name and weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.5)
        elif name.startswith(("decoder", "encoder")) and weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.15 if "bbox" in name else 0.3)
    model.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    transformers.DetrImageProcessorPil(size=size).save_pretrained(folder)
    _tokenizer(longest=77).save_pretrained(folder)
    return folder


def _tokenizer(*, longest: int) -> CLIPTokenizer:
    return CLIPTokenizer(
        vocab=_VOCABULARY, merges=[], pad_token=_LETTERS[0], model_max_length=longest
    )


def _writer(write: Callable[..., Path], model_type: str) -> Callable[..., Path]:
    return lambda folder, seed=0: write(folder, model_type, seed)


WRITERS: dict[str, Callable[..., Path]] = {
    "owlv2": _writer(write_owl, "owlv2"),
    "owlvit": _writer(write_owl, "owlvit"),
    "omdet-turbo": _writer(write_omdet_turbo, "omdet-turbo"),
    **{name: _writer(write_grounding_dino, name) for name in MODEL_TYPES},
}
"""What writes a checkpoint of each model type."""

"""Tiny Grounding DINOs and MM-Grounding-DINOs, untrained but outspoken.

Made from the real config classes; their heads are scaled so that boxes differ and pass a score.
The tokenizer knows letters and a few words, with the marks at the ids that the models expect.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForZeroShotObjectDetection, BertTokenizer

MODEL_TYPES = ("grounding-dino", "mm-grounding-dino")
LONGEST = 48
"""Tokens of a text."""
_MARKS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
_STOPS = {".": 1012, "?": 1029}
_WORDS = (
    "a",
    "an",
    "the",
    "and",
    "of",
    "on",
    "in",
    "with",
    "is",
    "cat",
    "dog",
    "cup",
    "man",
    "red",
)


def options(folder: Path) -> dict[str, Any]:
    """Options with which the stage runs."""
    return {"model": str(write_grounding_dino(folder))}


def write_grounding_dino(
    folder: Path, model_type: str = "grounding-dino", seed: int = 0, **more: Any
) -> Path:
    """Write a checkpoint of one of the model types; `more` goes into its config."""
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(
        model_type,
        backbone_config=tiny_swin(),
        text_config=transformers.BertConfig(
            vocab_size=1100,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
        ),
        **(
            dict.fromkeys(("encoder_layers", "decoder_layers"), 2)
            | dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "d_model"), 64)
            | dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
            | dict.fromkeys(("encoder_n_points", "decoder_n_points"), 2)
            | {"num_queries": 20, "num_feature_levels": 4, "max_text_len": LONGEST}
            | {"disable_custom_kernels": True}
            | more
        ),
    )
    model = AutoModelForZeroShotObjectDetection.from_config(config)
    _speak_up(model)
    model.save_pretrained(folder)
    image_processor = transformers.GroundingDinoImageProcessorPil(
        size={"shortest_edge": 48, "longest_edge": 96}
    )
    tokenizer = BertTokenizer(vocab=_vocabulary())
    transformers.GroundingDinoProcessor(image_processor, tokenizer).save_pretrained(folder)
    return folder


def tiny_swin() -> transformers.PreTrainedConfig:
    """A backbone for detectors: the last three of its four levels."""
    return transformers.SwinConfig(
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        image_size=64,
        out_indices=[2, 3, 4],
    )


def _speak_up(model: torch.nn.Module) -> None:
    """Scale what places boxes and what tells words apart, so that queries differ in both."""
    for name, weight in model.named_parameters():
        if weight.ndim == 2 and any(word in name for word in ("bbox", "query_position")):
            torch.nn.init.normal_(weight, std=0.1)
        elif weight.ndim == 2 and "text_projection" in name:
            torch.nn.init.normal_(weight, std=0.5)
        elif name.startswith("class_embed") and weight.ndim == 0:  # MM-Grounding-DINO
            torch.nn.init.constant_(weight, -0.5)
        elif name == "model.decoder.layer_norm.weight":
            is_scaled = model.config.model_type == "mm-grounding-dino"
            torch.nn.init.constant_(weight, 2.0 if is_scaled else 0.25)


def _vocabulary() -> dict[str, int]:
    return {**_MARKS, **_STOPS, **dict(zip(_pieces(), range(104, 1012), strict=False))}


def _pieces() -> Iterator[str]:
    yield from _WORDS
    for letter in string.ascii_lowercase + string.digits + ",'-\"":
        yield letter
        yield f"##{letter}"

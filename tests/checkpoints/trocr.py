"""A tiny TrOCR: a vision transformer and a decoder that spells, untrained but not silent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SIDE = 32
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def options(folder: Path) -> dict[str, Any]:
    """Return the options of `trocr`."""
    return {"model": str(write_trocr(folder)), "max_new_tokens": 12, "least_score": 0}


def write_trocr(folder: Path, seed: int = 0) -> Path:
    """Write an encoder, a decoder and the real processor, whose tokens are letters."""
    import torch
    from transformers import (
        AutoModelForImageTextToText,
        TrOCRConfig,
        VisionEncoderDecoderConfig,
        ViTConfig,
    )

    vocabulary = [*_SPECIAL, *_LETTERS, *(f"Ġ{letter}" for letter in _LETTERS)]
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 16, "decoder_ffn_dim": 16}
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(
            image_size=SIDE, patch_size=8, hidden_size=24, intermediate_size=24,
            num_hidden_layers=1, num_attention_heads=2,
        ),
        TrOCRConfig(
            vocab_size=len(vocabulary), decoder_attention_heads=2, max_position_embeddings=40,
            cross_attention_hidden_size=24, tie_word_embeddings=False, **sizes,
        ),
        decoder_start_token_id=2, pad_token_id=1, eos_token_id=2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config)
        for name, weight in model.named_parameters():
            if weight.ndim > 1:  # the image has to outweigh the decoder's own tokens
                torch.nn.init.normal_(weight, std=1.5 if "encoder_attn" in name else 0.5)
    model.save_pretrained(folder)
    _processor(folder, vocabulary).save_pretrained(folder)
    return folder


def _processor(folder: Path, vocabulary: list[str]) -> Any:
    from transformers import RobertaTokenizer, TrOCRProcessor
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    ids = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = RobertaTokenizer(vocab=ids, merges=[])
    size = {"height": SIDE, "width": SIDE}
    return TrOCRProcessor(ViTImageProcessorPil(size=size), tokenizer)

"""Tiny image-text models of each family: real classes, some thousand untrained weights.

Untrained, the towers give all images, and all texts, nearly one vector; larger weights keep them
apart, and a scale and bias of a trained model's kind give scores that differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

_TOWER = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def options(folder: Path) -> dict[str, Any]:
    """Options of the filter `image_text`."""
    return {"model": str(write_clip(folder))}


def write_clip(folder: Path, seed: int = 0, **config: Any) -> Path:
    """Write a CLIP that looks at 24 pixels and reads bytes, 77 at most."""
    from transformers import CLIPConfig, CLIPModel

    return _clip_like(folder, CLIPConfig, CLIPModel, clip_tokenizer(), seed, **config)


def write_metaclip2(folder: Path, seed: int = 0) -> Path:
    """Write a MetaCLIP 2: the network of CLIP with a tokenizer of many languages."""
    from transformers import MetaClip2Config, MetaClip2Model, XLMRobertaTokenizer

    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz.,", "<mask>"]
    tokenizer = XLMRobertaTokenizer(vocab=[(piece, -float(n)) for n, piece in enumerate(pieces)])
    return _clip_like(folder, MetaClip2Config, MetaClip2Model, tokenizer, seed)


def _clip_like(
    folder: Path, config_class: Any, model_class: Any, tokenizer: Any, seed: int, **more: Any
) -> Path:
    from transformers import CLIPImageProcessorPil, CLIPProcessor

    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 77, **_ends(tokenizer)}
    config = config_class(
        text_config=_TOWER | text,
        vision_config=_TOWER | {"image_size": 24, "patch_size": 8},
        projection_dim=12,
        **more,
    )
    size = {"height": 24, "width": 24}
    image_processor = CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size=size)
    processor = CLIPProcessor(image_processor=image_processor, tokenizer=tokenizer)
    return _written(folder, model_class, config, processor, seed)


def write_siglip(folder: Path, seed: int = 0, tokenizer: Any = None) -> Path:
    """Write a SigLIP, as fixed-size SigLIP 2 is one too: 24 pixels squeezed, 64 tokens padded."""
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel, SiglipProcessor

    tokenizer = tokenizer or siglip2_tokenizer()
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 64, "projection_size": 16}
    config = SiglipConfig(
        text_config=_TOWER | text | _ends(tokenizer),
        vision_config=_TOWER | {"image_size": 24, "patch_size": 8},
    )
    image_processor = SiglipImageProcessorPil(size={"height": 24, "width": 24})
    processor = SiglipProcessor(image_processor=image_processor, tokenizer=tokenizer)
    return _written(folder, SiglipModel, config, processor, seed)


def write_naflex(folder: Path, seed: int = 0) -> Path:
    """Write a SigLIP 2 that keeps the aspect of an image: 16 patches of 8 pixels at most."""
    from transformers import (
        Siglip2Config,
        Siglip2ImageProcessorPil,
        Siglip2Model,
        Siglip2Processor,
    )

    tokenizer = siglip2_tokenizer()
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 64, "projection_size": 16}
    config = Siglip2Config(
        text_config=_TOWER | text | _ends(tokenizer),
        vision_config=_TOWER | {"patch_size": 8, "num_patches": 16},
    )
    image_processor = Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    processor = Siglip2Processor(image_processor=image_processor, tokenizer=tokenizer)
    return _written(folder, Siglip2Model, config, processor, seed)


def clip_tokenizer() -> Any:
    """Return a CLIP tokenizer without merges: a token a byte."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    ends = [f"{letter}</w>" for letter in letters]
    words = [*letters, *ends, "<|startoftext|>", "<|endoftext|>"]
    vocab = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)


def siglip2_tokenizer() -> Any:
    """Return a SigLIP 2 tokenizer without merges: a token a byte, padded on the right."""
    from transformers import Siglip2Tokenizer

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁"]
    words = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    vocab = {word: number for number, word in enumerate(words)}
    return Siglip2Tokenizer(
        vocab=vocab, merges=[], padding_side="right", model_input_names=["input_ids"]
    )


def _ends(tokenizer: Any) -> dict[str, int]:
    return {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _written(folder: Path, model_class: Any, config: Any, processor: Any, seed: int) -> Path:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim > 1:
                    torch.nn.init.normal_(weight, std=1.5 * weight[0].numel() ** -0.5)
            model.logit_scale.fill_(2.0)
            if hasattr(model, "logit_bias"):
                model.logit_bias.fill_(-1.0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder

"""A Florence-2 with about a million parameters: its config and its initial weights.

The architecture is that of Florence-2 (DaViT tower, projector, BART) with small dimensions;
`build_tiny` returns a `Florence2ForConditionalGeneration` that works with any code for the released
weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florilegium.pipelines.shape_world.pretrain.vocabulary import make_processor, train_tokenizer
from florilegium.specialists.florence2.format import LOCATION_TOKENS


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """The dimensions of the model.

    The tuples have an entry per stage of the tower; `px` over the product of `patch_stride` is
    the side of the grid of image tokens. `positions` is the maximum length of a text, `entries`
    the size of the vocabulary before special tokens.
    """

    px: int = 128
    patch_stride: tuple[int, ...] = (4, 2, 2)
    embed_dim: tuple[int, ...] = (24, 48, 96)
    depths: tuple[int, ...] = (0, 1, 2)
    heads: tuple[int, ...] = (1, 1, 3)
    window: int = 8
    d_model: int = 96
    layers: int = 2
    text_heads: int = 4
    ffn: int = 256
    positions: int = 256
    entries: int = 1024

    @property
    def grid(self) -> int:
        """Image tokens along a side."""
        return self.px // math.prod(self.patch_stride)


TINY = ModelSize()
"""The shipped student: about a million parameters, 4 MB."""

TINIEST = ModelSize(
    px=32, embed_dim=(8, 8, 16), depths=(0, 0, 1), heads=(1, 1, 1), window=4, d_model=16,
    layers=1, text_heads=2, ffn=32,
)  # fmt: skip
"""For tests: built in under two seconds."""


def build_tiny(
    texts: Iterable[str] = (), *, size: ModelSize = TINY, seed: int = 0
) -> tuple[Any, Any]:
    """Build an untrained model and its processor.

    The tokenizer is trained on the prompts and on `texts`: labels, captions, words. The weights
    depend on `seed` only; the global random state is restored.

    Returns (`Florence2ForConditionalGeneration` in eval mode, `Florence2Processor`).
    """
    import torch
    from transformers import Florence2ForConditionalGeneration

    tokenizer = train_tokenizer(texts, entries=size.entries)
    processor = make_processor(tokenizer, px=size.px, image_tokens=size.grid**2 + 1)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = Florence2ForConditionalGeneration(_config(size, tokenizer))
        _start_weights(model, tokenizer)
    model.generation_config = _generation_config(size)
    model.train(False)
    return model, processor


def save_tiny(folder: str | Path, model: Any, processor: Any) -> None:
    """Write a folder that `AutoModelForImageTextToText` and `AutoProcessor` load offline."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _config(size: ModelSize, tokenizer: Any) -> Any:
    from transformers import BartConfig, Florence2Config
    from transformers.models.florence2.configuration_florence2 import Florence2VisionConfig

    vision = Florence2VisionConfig(
        depths=size.depths,
        patch_size=(7, *[3] * (len(size.depths) - 1)),
        patch_stride=size.patch_stride,
        patch_padding=(3, *[1] * (len(size.depths) - 1)),
        patch_prenorm=(False, *[True] * (len(size.depths) - 1)),
        embed_dim=size.embed_dim,
        num_heads=size.heads,
        num_groups=size.heads,
        window_size=size.window,
        drop_path_rate=0.0,
        activation_function="relu",
        projection_dim=size.d_model,
        max_position_embeddings=max(size.grid, 1),
    )
    text = BartConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=size.positions,
        d_model=size.d_model,
        encoder_layers=size.layers,
        decoder_layers=size.layers,
        encoder_attention_heads=size.text_heads,
        decoder_attention_heads=size.text_heads,
        encoder_ffn_dim=size.ffn,
        decoder_ffn_dim=size.ffn,
        activation_function="relu",
        dropout=0.0,
        attention_dropout=0.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=None,
    )
    options: dict[str, Any] = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    return Florence2Config(
        vision_config=vision.to_dict(),
        text_config=text.to_dict(),
        image_token_id=tokenizer.image_token_id,
        **options,
    )


def _generation_config(size: ModelSize) -> Any:
    """Greedy search without a ban on repeated n-grams: aligned boxes share coordinates."""
    from transformers import GenerationConfig

    options: dict[str, Any] = {
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
        "forced_bos_token_id": 0,
        "num_beams": 1,
        "do_sample": False,
        "max_new_tokens": size.positions - 1,
    }
    return GenerationConfig.from_dict(options)


def _start_weights(model: Any, tokenizer: Any) -> None:
    """Initialise matrices by Xavier, ordered embeddings by sinusoids.

    From BART's normal noise (0.02) a tiny model does not learn order within minutes: embeddings of
    rows, columns, text positions and location tokens start as sinusoids, so that near positions
    have near vectors. Amplitudes and wavelengths were chosen by hand.
    """
    import torch
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.Linear) and module is not model.lm_head:
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.Conv2d) and module.groups == 1:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    scale_positions(model, 1.0)
    for half in (model.model.language_model.encoder, model.model.language_model.decoder):
        positions = half.embed_positions.weight.detach()
        positions.copy_(0.1 * sinusoids(*positions.shape, shortest=4.0, longest=1000.0))
    words = model.get_input_embeddings().weight
    first, last = tokenizer.convert_tokens_to_ids([LOCATION_TOKENS[0], LOCATION_TOKENS[-1]])
    with torch.no_grad():
        nn.init.normal_(words)
        words[first : last + 1] = sinusoids(
            len(LOCATION_TOKENS), words.shape[1], shortest=24.0, longest=2000.0
        )
        words *= words.shape[1] ** -0.5
    model.tie_weights()


def scale_positions(model: Any, amplitude: float) -> None:
    """Set the row and column embeddings of image tokens to sinusoids of root mean square
    `amplitude`.

    It must be close to that of the tower's features, or the position is lost in them.
    """
    import torch

    position = model.model.multi_modal_projector.image_position_embed
    with torch.no_grad():
        for embedding in (position.row_embeddings, position.column_embeddings):
            count, dim = embedding.weight.shape
            embedding.weight.copy_(
                amplitude * sinusoids(count, dim, shortest=4.0, longest=4.0 * count)
            )


def sinusoids(count: int, dim: int, *, shortest: float, longest: float) -> Any:
    """Return `count` rows of sines and cosines of mean square 1; wavelengths are in rows."""
    import torch

    half = (dim + 1) // 2
    frequencies = 2 * math.pi / torch.logspace(math.log10(longest), math.log10(shortest), half)
    angles = torch.arange(count)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :dim] * math.sqrt(2)

"""The tokenizer and the processor of a tiny Florence-2, from a list of texts.

A byte-level BPE like BART's, trained on the prompts of Florence-2 and the given texts only; any
other text is tokenised byte by byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from florilegium.specialists.florence2.format import (
    DEFAULT_TASKS,
    FLORENCE2_TASKS,
    LOCATION_TOKENS,
    STRUCTURE_TOKENS,
)

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""Ids 0 to 4, in BART's order."""

POST_PROCESSING: dict[str, dict[str, Any]] = {
    "ocr": {"PATTERN": "(.+?)" + r"<loc_(\d+)>" * 8, "AREA_THRESHOLD": 0.0},
    "phrase_grounding": {"banned_grounding_tokens": []},
    "pure_text": {},
    "description_with_bboxes": {},
    "description_with_polygons": {},
    "polygons": {},
    "bboxes": {},
    "description_with_bboxes_or_polygons": {},
}
"""Rules of the processor's parser, which it requires for every task."""


def train_tokenizer(texts: Iterable[str], *, entries: int) -> Any:
    """Train a `BartTokenizer` of at most `entries` byte pairs, then add Florence-2's tokens.

    Every word is learnt with and without a leading space: a label may start a target or follow a
    word.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import BartTokenizer

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=entries,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(_words(texts), trainer)
    learnt: dict[str, Any] = json.loads(bpe.to_str())["model"]
    merges: Any = [tuple(pair) for pair in learnt["merges"]]
    tokenizer = BartTokenizer(
        vocab=learnt["vocab"],
        merges=merges,
        extra_special_tokens={"image_token": "<image>"},
    )
    tokenizer.add_tokens([*LOCATION_TOKENS, *STRUCTURE_TOKENS], special_tokens=True)
    return tokenizer


def make_processor(tokenizer: Any, *, px: int, image_tokens: int) -> Any:
    """Combine the tokenizer with a PIL image processor for `px` x `px` pixels.

    `image_tokens` is the number that the model's projector outputs: g * g + 1 for a grid of side g.
    """
    from transformers import Florence2Processor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    pixels = CLIPImageProcessorPil(
        size={"height": px, "width": px}, do_center_crop=False,
        image_mean=[0.5, 0.5, 0.5], image_std=[0.25, 0.25, 0.25],
    )  # fmt: skip
    # Not an option of the class, but the processor reads it and it is saved with the rest.
    setattr(pixels, "image_seq_length", image_tokens)  # noqa: B010
    return Florence2Processor(
        image_processor=pixels, tokenizer=tokenizer, post_processor_config=POST_PROCESSING
    )


def _words(texts: Iterable[str]) -> list[str]:
    prompts = (
        task.prompt.replace("{input}", "")
        for task in map(FLORENCE2_TASKS.__getitem__, DEFAULT_TASKS)
    )
    words = {word for text in (*prompts, *texts) for word in text.split()}
    return [space + word for word in sorted(words) for space in ("", " ")]

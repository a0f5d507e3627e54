"""Florence-2 checkpoints: released weights, and students of the refinement loop.

The processor must be Florence-2's own: with its parser of answers, and with a tokenizer that has
all location tokens.
"""

from __future__ import annotations

from typing import Any

from florilegium.engine.core.errors import ConfigError
from florilegium.specialists.florence2.format import LOCATION_TOKENS
from florilegium.specialists.pretrained.checkpoint import Checkpoint, Family, resolve
from florilegium.specialists.pretrained.loading import load_pretrained

NATIVE = "florence-community/Florence-2-base"
"""The released weights, in the format of the class in `transformers`."""
FLORENCE2 = Family(
    title="a Florence-2",
    example=NATIVE,
    model_class="AutoModelForImageTextToText",
    model_types=("florence2",),
)


def resolve_florence2(model: str, revision: str = "", *, is_random: bool = False) -> Checkpoint:
    """Find a Florence-2 checkpoint (`checkpoint.resolve`)."""
    return resolve(model, FLORENCE2, revision, is_random=is_random)


def load_florence2(checkpoint: Checkpoint, **options: Any) -> tuple[Any, Any]:
    """Load (`Florence2ForConditionalGeneration` in eval mode, `Florence2Processor`).

    `options` are those of `load_pretrained`.

    Raises:
        ConfigError: the weights do not match the config, are damaged or not finite, or the
            processor is not that of Florence-2.
    """
    model, processor = load_pretrained(checkpoint, **options)
    if not hasattr(processor, "post_process_generation") or not processor.post_processor_config:
        raise ConfigError(
            f"model {checkpoint.model!r}: its processor is a {type(processor).__name__} without "
            f"the parser of Florence-2's answers; use the processor files of {NATIVE!r}"
        )
    entries = processor.tokenizer.get_vocab()
    missing = [token for token in LOCATION_TOKENS if token not in entries]
    if missing:
        raise ConfigError(
            f"model {checkpoint.model!r}: its tokenizer lacks {len(missing)} of "
            f"{len(LOCATION_TOKENS)} location tokens, {missing[0]} first; use the tokenizer that "
            "came with the weights"
        )
    return model, processor

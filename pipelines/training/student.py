"""The Florence-2 that is trained: loading, freezing, adapters, parameter groups, saving.

`specialists.florence2.checkpoint` finds and checks its files.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from florilegium.engine.core.errors import ConfigError
from florilegium.pipelines.training.config import LoraConfig, TrainConfig
from florilegium.pipelines.training.files import make_durable
from florilegium.specialists.florence2.checkpoint import load_florence2
from florilegium.specialists.florence2.format import STRUCTURE_TOKENS
from florilegium.specialists.pretrained.checkpoint import Checkpoint

WEIGHTS = "model.safetensors"
TOWER = "vision_tower"
"""Part of the names of all parameters of the vision tower."""


def open_student(checkpoint: Checkpoint) -> tuple[Any, Any]:
    """Load Florence-2 in float32, and its processor.

    Raises:
        ConfigError: it is damaged or another model, or its tokenizer lacks tokens.
    """
    model, processor = load_florence2(checkpoint)
    _check_tokens(checkpoint.model, processor.tokenizer)
    return model, processor


def _check_tokens(model: str, tokenizer: Any) -> None:
    known = tokenizer.get_vocab()
    missing = [token for token in STRUCTURE_TOKENS if token not in known]
    if missing:
        raise ConfigError(
            f"model {model!r}: its tokenizer lacks {', '.join(missing)}, which separate polygons "
            f"and queries; use the tokenizer that came with the weights"
        )


def prepare(model: Any, config: TrainConfig) -> Any:
    """Freeze the vision tower and add adapters, as the config says."""
    if config.lora:
        model = _with_adapters(model, config.lora)
    if config.freeze_vision:
        for name, parameter in model.named_parameters():
            if TOWER in name:
                parameter.requires_grad = False
    return model


def _with_adapters(model: Any, lora: LoraConfig) -> Any:
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model

    try:
        return get_peft_model(
            model,
            PeftConfig(
                r=lora.r,
                lora_alpha=lora.alpha,
                lora_dropout=lora.dropout,
                target_modules=list(lora.target_modules),
            ),
        )
    except ValueError as error:
        raise ConfigError(
            f"lora.target_modules = {lora.target_modules} match no layer: {error}"
        ) from error


def parameter_groups(model: Any, config: TrainConfig) -> list[dict[str, Any]]:
    """Return the optimiser's groups: by vision tower or not, by matrix (with decay) or not."""
    tower_rate = config.tower_learning_rate or config.learning_rate
    groups: dict[tuple[bool, bool], list[Any]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((TOWER in name, parameter.ndim >= 2), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": tower_rate if is_tower else config.learning_rate,
            "weight_decay": config.weight_decay if is_matrix else 0.0,
        }
        for (is_tower, is_matrix), parameters in sorted(groups.items())
    ]


def save_student(model: Any, processor: Any, output: Path) -> None:
    """Save a folder for `from_pretrained`; adapters are merged into the weights."""
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    saving = output / ".saving"
    shutil.rmtree(saving, ignore_errors=True)
    model.save_pretrained(saving)
    processor.save_pretrained(saving)
    make_durable(saving)
    for path in sorted(saving.iterdir()):
        os.replace(path, output / path.name)
    saving.rmdir()

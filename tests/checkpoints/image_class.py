"""Options of the sample filter `image_class` with a tiny image classifier, untrained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

LABELS = ("drawings", "neutral", "nsfw", "violence")


def options(folder: Path) -> dict[str, Any]:
    """Options of the sample filter `image_class`."""
    return {"model": str(write_classifier(folder))}


def write_classifier(folder: Path, problem_type: str = "single_label_classification") -> Path:
    """Write a ViT that looks at 32 pixels and has four classes."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        image_size=32,
        patch_size=8,
        id2label=dict(enumerate(LABELS)),
        label2id={name: number for number, name in enumerate(LABELS)},
        problem_type=problem_type,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ViTForImageClassification(config)
        torch.nn.init.normal_(model.classifier.weight, std=1.0)
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder

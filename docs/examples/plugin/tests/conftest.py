"""A tiny Table Transformer with random weights, so that tests need no network and no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    DetrImageProcessorPil,
    ResNetConfig,
    TableTransformerConfig,
    TableTransformerForObjectDetection,
)


def write_checkpoint(folder: Path) -> Path:
    """Write a checkpoint that finds tables anywhere, and return its folder."""
    torch.manual_seed(0)
    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage4"],
    )  # fmt: skip
    config = TableTransformerConfig(
        backbone_config=backbone, d_model=32, num_queries=12, encoder_layers=1, decoder_layers=1,
        encoder_ffn_dim=32, decoder_ffn_dim=32, encoder_attention_heads=2,
        decoder_attention_heads=2, id2label={0: "table", 1: "table rotated"},
    )  # fmt: skip
    model = TableTransformerForObjectDetection(config)
    torch.nn.init.normal_(model.model.query_position_embeddings.weight, std=3)
    torch.nn.init.normal_(model.class_labels_classifier.weight, std=0.4)
    model.save_pretrained(folder)
    size = {"shortest_edge": 48, "longest_edge": 96}
    DetrImageProcessorPil(size=size).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a checkpoint."""
    return write_checkpoint(tmp_path_factory.mktemp("tables"))

"""Opening, preparing and saving a model to train."""

from __future__ import annotations

import json
import shutil

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.pipelines.training.config import TrainConfig
from florilegium.pipelines.training.student import (
    open_student,
    parameter_groups,
    prepare,
    save_student,
)
from florilegium.specialists.florence2.checkpoint import resolve_florence2

pytestmark = pytest.mark.filterwarnings(  # peft asks for old names
    "ignore:`is_gradient_checkpointing`:FutureWarning"
)


def opened(folder):
    return open_student(resolve_florence2(str(folder)))


@pytest.fixture
def copied(untrained, tmp_path):
    return shutil.copytree(untrained, tmp_path / "model")


def test_a_frozen_tower_needs_no_gradient_and_the_rest_does(untrained):
    model, _ = opened(untrained)
    prepare(model, TrainConfig(model="here", freeze_vision=True))
    needs = {name: weight.requires_grad for name, weight in model.named_parameters()}
    assert any("vision_tower" in name for name in needs)
    assert all(need != ("vision_tower" in name) for name, need in needs.items())


def test_tower_and_text_have_their_own_rates_and_only_matrices_decay(untrained):
    model, _ = opened(untrained)
    config = TrainConfig(
        model="here", learning_rate=1e-3, tower_learning_rate=1e-4, weight_decay=0.1
    )
    groups = parameter_groups(model, config)
    found = {
        id(weight): (group["lr"], group["weight_decay"])
        for group in groups
        for weight in group["params"]
    }
    for name, weight in model.named_parameters():
        rate = 1e-4 if "vision_tower" in name else 1e-3
        assert found[id(weight)] == (rate, 0.1 if weight.ndim >= 2 else 0.0)


def test_adapters_alone_are_trained_and_merged_when_saved(untrained, tmp_path):
    import torch

    model, processor = opened(untrained)
    before = model.state_dict()["model.language_model.decoder.layers.0.fc1.weight"].clone()
    adapted = prepare(model, TrainConfig(model="here", lora={"r": 2}))
    trained = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.1)
    save_student(adapted, processor, tmp_path)
    again, _ = opened(tmp_path)
    after = again.state_dict()["model.language_model.decoder.layers.0.fc1.weight"]
    assert not torch.equal(before, after)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}


def test_adapters_for_missing_layers_are_refused(untrained):
    model, _ = opened(untrained)
    with pytest.raises(ConfigError, match="no_such_layer"):
        prepare(model, TrainConfig(model="here", lora={"target_modules": ["no_such_layer"]}))


def test_a_tokenizer_without_location_tokens_is_refused(copied):
    path = copied / "tokenizer.json"
    path.write_text(path.read_text("utf-8").replace("<loc_", "<place_"), "utf-8")
    with pytest.raises(ConfigError, match=r"lacks 1000 of 1000 location tokens"):
        opened(copied)


def test_a_tokenizer_without_polygon_tokens_is_refused(copied):
    path = copied / "tokenizer.json"
    path.write_text(path.read_text("utf-8").replace("<poly>", "<polygon>"), "utf-8")
    with pytest.raises(ConfigError, match=r"lacks <poly>"):
        opened(copied)


def test_weights_of_another_size_are_refused(copied):
    path = copied / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config["text_config"]["decoder_ffn_dim"] = 40
    path.write_text(json.dumps(config), "utf-8")
    with pytest.raises(ConfigError, match="weights"):
        opened(copied)

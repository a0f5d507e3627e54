"""An untrained tiny Florence-2 is a Florence-2 like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from florilegium.pipelines.shape_world.pretrain.architecture import (
    TINIEST,
    TINY,
    build_tiny,
    save_tiny,
)
from florilegium.specialists.florence2.format import (
    DEFAULT_TASKS,
    FLORENCE2_TASKS,
    LOCATION_TOKENS,
    STRUCTURE_TOKENS,
    detection_target,
)
from tests.pipelines.shape_world.pretrain.conftest import KNOWN

Tiny = tuple[Any, Any]


@pytest.fixture
def image() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def _given(task: str) -> str:
    wanted = {"nothing": "", "text": "a red circle", "region": "".join(LOCATION_TOKENS[3:7])}
    return wanted[FLORENCE2_TASKS[task].takes]


def test_save_and_load_give_the_same_answer_to_the_last_bit(
    tiniest: Tiny, image: Image.Image, tmp_path: Path
) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    save_tiny(tmp_path, *tiniest)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path, local_files_only=True).eval()
    processor = AutoProcessor.from_pretrained(tmp_path, local_files_only=True)
    assert type(model).__name__ == "Florence2ForConditionalGeneration"
    saved, loaded = (
        own(text="<OD>", images=image, return_tensors="pt") for own in (tiniest[1], processor)
    )
    assert {name: torch.equal(saved[name], loaded[name]) for name in saved} == {
        "input_ids": True, "attention_mask": True, "pixel_values": True,
    }  # fmt: skip
    labels = torch.tensor([[0, 20, 300, 2]])
    with torch.no_grad():
        before = tiniest[0](**saved, labels=labels)
        after = model(**loaded, labels=labels)
    assert torch.equal(before.logits, after.logits)
    assert model.generation_config.to_dict() == tiniest[0].generation_config.to_dict()


@pytest.mark.parametrize("task", DEFAULT_TASKS)
def test_every_task_is_prompted_and_parsed(tiniest: Tiny, image: Image.Image, task: str) -> None:
    model, processor = tiniest
    marker = FLORENCE2_TASKS[task].marker
    asked = processor(text=marker + _given(task), images=image, return_tensors="pt")
    assert (asked.input_ids == processor.image_token_id).sum() == TINIEST.grid**2 + 1
    tokens = model.generate(**asked, max_new_tokens=12)
    text = processor.batch_decode(tokens, skip_special_tokens=False)[0]
    assert set(processor.post_process_generation(text, task=marker, image_size=(40, 50))) == {
        marker
    }


@pytest.mark.parametrize("task", FLORENCE2_TASKS)
def test_prompts_survive_the_tokenizer(tiniest: Tiny, task: str) -> None:
    tokenizer = tiniest[1].tokenizer
    prompt = FLORENCE2_TASKS[task].prompt.replace("{input}", _given(task))
    assert tokenizer.decode(tokenizer(prompt, add_special_tokens=False).input_ids) == prompt
    assert tokenizer.unk_token_id not in tokenizer(prompt).input_ids


@pytest.mark.parametrize("word", ["striped", " striped", "circle", " circle"])
def test_a_known_word_is_one_token(tiniest: Tiny, word: str) -> None:
    assert len(tiniest[1].tokenizer(word, add_special_tokens=False).input_ids) == 1


def test_an_unknown_word_tokenises_by_its_bytes(tiniest: Tiny) -> None:
    tokenizer = tiniest[1].tokenizer
    ids = tokenizer("Größe 猫", add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == "Größe 猫"
    assert tokenizer.unk_token_id not in ids


def test_every_location_and_mark_is_one_token_and_locations_follow_each_other(
    tiniest: Tiny,
) -> None:
    tokenizer = tiniest[1].tokenizer
    ids = tokenizer("".join(LOCATION_TOKENS), add_special_tokens=False).input_ids
    assert ids == list(range(ids[0], ids[0] + 1000))
    marks = tokenizer("".join(STRUCTURE_TOKENS), add_special_tokens=False).input_ids
    assert len(marks) == len(STRUCTURE_TOKENS)
    assert tokenizer.convert_tokens_to_ids("<loc_1000>") == tokenizer.unk_token_id


def test_the_processor_parses_the_written_targets(tiniest: Tiny) -> None:
    processor = tiniest[1]
    boxes = [(1.0, 2.0, 60.0, 70.0), (100.0, 30.0, 127.9, 127.9), (5.0, 5.0, 20.0, 20.0)]
    text = detection_target(["star", "circle", "star"], boxes, (128, 128))
    ids = processor.tokenizer(text).input_ids
    read = processor.post_process_generation(
        processor.decode(ids, skip_special_tokens=False), task="<OD>", image_size=(12800, 12800)
    )["<OD>"]
    assert read["labels"] == ["circle", "star", "star"]
    expected = np.array([boxes[1], boxes[0], boxes[2]])
    np.testing.assert_allclose(np.array(read["bboxes"]) / 100, expected, atol=0.074)


def test_weights_depend_on_the_seed_alone(tiniest: Tiny) -> None:
    before = torch.random.get_rng_state()
    same, _ = build_tiny(KNOWN, size=TINIEST, seed=3)
    other, _ = build_tiny(KNOWN, size=TINIEST, seed=4)
    assert torch.equal(before, torch.random.get_rng_state())
    weights = [each.model.vision_tower.convs[0].conv.weight for each in (tiniest[0], same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_near_locations_have_near_initial_vectors(tiniest: Tiny) -> None:
    model, processor = tiniest
    first = processor.tokenizer.convert_tokens_to_ids(LOCATION_TOKENS[0])
    places = model.get_input_embeddings().weight[first : first + 1000].detach()
    alike = places @ places[500]
    assert alike.argmax() == 500
    assert alike[498] > alike[450] > alike[100]


def test_the_shipped_size_is_small() -> None:
    model, _ = build_tiny(size=TINY)
    assert 0.9e6 < sum(weight.numel() for weight in model.parameters()) < 1.4e6

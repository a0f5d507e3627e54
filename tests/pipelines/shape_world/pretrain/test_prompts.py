"""Every task is asked in the grammar of Florence-2, with an answer that is true."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from florilegium.pipelines.shape_world.pretrain.prompts import SECOND_TASKS, PromptTarget, make_pair
from florilegium.pipelines.shape_world.pretrain.scenes import Drawing
from florilegium.specialists.florence2.format import dequantise


@pytest.fixture
def drawing() -> Drawing:
    return Drawing(
        pixels=np.zeros((100, 100, 3), dtype=np.uint8),
        owners=np.zeros((100, 100), dtype=np.uint8),
        boxes_xyxy=np.float32([(10, 10, 20, 20), (50, 50, 90, 90), (30, 10, 50, 30)]),
        kinds=np.array([(3, 0, 0), (0, 4, 1), (3, 7, 0)]),
        captions={"caption": "A blue striped circle below a black star."},
    )


def _pair(task: str, drawing: Drawing, seed: int = 0) -> PromptTarget:
    question = make_pair(task, drawing, np.random.default_rng(seed))
    assert question is not None
    return question


def test_detection_lists_classes_alphabetically_and_boxes_by_size(
    drawing: Drawing,
) -> None:
    target = _pair("object_detection", drawing).target
    assert re.findall(r"[a-z]+(?=<)", target) == ["circle", "star"]
    bins = np.array(re.findall(r"<loc_(\d+)>", target), dtype=int).reshape(-1, 4)
    found = dequantise(bins, (100, 100))
    np.testing.assert_allclose(found, drawing.boxes_xyxy[[1, 2, 0]], atol=0.051)


def test_captions_are_prompted_only_for_drawings_with_captions(drawing: Drawing) -> None:
    assert _pair("caption", drawing).target.startswith("A blue striped circle")
    assert make_pair("detailed_caption", drawing, np.random.default_rng(0)) is None


@pytest.mark.parametrize("seed", range(8))
def test_grounded_phrases_follow_the_order_of_the_caption(drawing: Drawing, seed: int) -> None:
    prompt, target = _pair("phrase_grounding", drawing, seed)
    phrases = re.findall(r"[a-z ]+(?=<)", target)
    places = [prompt.lower().find(phrase) for phrase in phrases]
    assert phrases
    assert min(places) >= 0
    assert places == sorted(places)


@pytest.mark.parametrize("seed", range(8))
def test_two_things_of_one_name_are_two_phrases_with_a_box_each(
    drawing: Drawing, seed: int
) -> None:
    texts = {"caption": "A red star and a red star.", "detailed_caption": "A red star."}
    alike = replace(drawing, kinds=drawing.kinds[[0, 0, 0]], captions=texts)
    prompt, target = _pair("phrase_grounding", alike, seed)
    assert prompt.count("a red star") == target.count("a red star") == target.count("<") / 4


def test_a_query_for_an_absent_thing_has_an_empty_target(drawing: Drawing) -> None:
    empty = 0
    for seed in range(40):
        prompt, target = _pair("open_vocabulary_detection", drawing, seed)
        wanted = prompt.removeprefix("Locate ").removesuffix(" in the image.")
        called = zip(drawing.names, drawing.phrases, strict=True)
        present = sum(wanted in names for names in called)
        assert target.count(wanted) == present == target.count("<loc_") / 4
        empty += not target
    assert 0 < empty < 25


def test_a_region_prompt_is_answered_by_the_thing_in_it(drawing: Drawing) -> None:
    named = {
        _pair("region_category", drawing, seed).prompt: _pair(
            "region_category", drawing, seed
        ).target
        for seed in range(12)
    }
    assert named == {
        "What is the region <loc_100><loc_100><loc_200><loc_200>?": "star",
        "What is the region <loc_500><loc_500><loc_900><loc_900>?": "circle",
        "What is the region <loc_300><loc_100><loc_500><loc_300>?": "star",
    }
    described = _pair("region_description", replace(drawing, kinds=drawing.kinds[1:2]))
    assert described.target == "blue striped circle"


@pytest.mark.parametrize("task", SECOND_TASKS)
def test_every_second_task_has_prompts(task: str, drawing: Drawing) -> None:
    full = replace(drawing, captions=dict.fromkeys(SECOND_TASKS, "A star."))
    assert _pair(task, full).prompt

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from florilegium import specialists
from florilegium.engine.core.errors import ConfigError
from florilegium.pipelines.shape_world.drawing import draw
from florilegium.pipelines.shape_world.scene import WorldConfig
from florilegium.specialists.florence2.checkpoint import resolve_florence2
from florilegium.specialists.florence2.config import Florence2Config
from florilegium.specialists.florence2.format import BINS, FLORENCE2_TASKS, prompt_of
from florilegium.specialists.florence2.generation import Florence2Network
from florilegium.specialists.florence2.scores import NEAR_BINS, token_probabilities
from florilegium.specialists.pretrained.views import Given

Tiny = Callable[[int], Path]

IMAGES = [
    (np.random.default_rng(seed).random((40, 60, 3)) * tint).astype(np.uint8)
    for seed, tint in enumerate([(255, 0, 0), (0, 255, 40), (0, 80, 255), (255, 255, 255)])
]
VIEWS = [Given(image) for image in IMAGES]
PROMPTS = [
    prompt_of("caption"),
    prompt_of("object_detection"),
    prompt_of("phrase_grounding", "a long caption about a red circle and a blue square " * 3),
    prompt_of("region_category", "<loc_1><loc_20><loc_300><loc_999>"),
]


def network(folder: Path, **changes: Any) -> Florence2Network:
    config = Florence2Config(**{"max_new_tokens": 12, **changes})
    return Florence2Network(resolve_florence2(str(folder)), config)


@pytest.fixture(scope="module")
def tiny(tiny_florence2: Tiny) -> Florence2Network:
    return network(tiny_florence2(0))


def stock(tiny: Florence2Network, image: np.ndarray, prompt: str, **search: Any) -> Any:
    """Ask model and processor as their documentation does."""
    search = {"max_new_tokens": 12, "output_logits": True, **search}
    inputs = stock_inputs(tiny, image, prompt)
    return tiny._model.generate(**inputs, return_dict_in_generate=True, **search)


def stock_inputs(tiny: Florence2Network, image: np.ndarray, prompt: str) -> Any:
    [marker] = [task.marker for task in FLORENCE2_TASKS.values() if task.prompt == prompt]
    return tiny.processor(text=marker, images=image, return_tensors="pt")


@pytest.mark.parametrize("beams", [1, 3])
def test_answers_are_those_of_the_stock_model_and_processor(
    tiny_florence2: Tiny, beams: int
) -> None:
    ours = network(tiny_florence2(0), beams=beams)
    seen = ours.look(VIEWS)
    for prompt in PROMPTS[:2]:
        predicted = ours.answer(seen, range(len(IMAGES)), [prompt] * len(IMAGES), repeats=True)
        assert len({tuple(one.ids) for one in predicted}) > 1, "the images should matter"
        for image, one in zip(IMAGES, predicted, strict=True):
            theirs = stock(ours, image, prompt, num_beams=beams, early_stopping=False)
            assert (
                ours.tokens.until_end(theirs.sequences[0, 2:].numpy()).tolist() == one.ids.tolist()
            )


def test_three_beams_answer_as_the_model_card_asks_scored_by_their_own_tokens() -> None:
    """On a scene for which a search that stops early would find another caption."""
    import torch

    scene = draw(WorldConfig(count=4, seed=5, px=128), 3).pixels
    ours = network(Path(specialists.__file__).parent / "tiny_florence2", beams=3, max_new_tokens=60)
    prompt = prompt_of("detailed_caption")
    card = {"num_beams": 3, "do_sample": False, "max_new_tokens": 60}
    [one] = ours.answer(ours.look([Given(scene)]), [0], [prompt], repeats=False)
    theirs, early = (
        stock(ours, scene, prompt, early_stopping=early, **card).sequences
        for early in (False, True)
    )
    assert one.ids.tolist() == ours.tokens.until_end(theirs[0, 2:].numpy()).tolist()
    assert one.ids.tolist() != ours.tokens.until_end(early[0, 2:].numpy()).tolist()
    with torch.no_grad():
        inputs = stock_inputs(ours, scene, prompt)
        logits = ours._model(**inputs, decoder_input_ids=theirs[:, :-1]).logits[0, 1:]
    expected = [
        near(ours, step.softmax(dim=-1).numpy(), int(token))
        for step, token in zip(logits, one.ids, strict=False)
    ]
    assert one.probabilities == pytest.approx(expected, rel=1e-4)


def test_chances_are_the_probabilities_of_the_search(tiny: Florence2Network) -> None:
    predicted = tiny.answer(tiny.look(VIEWS), range(4), PROMPTS[:1] * 4, repeats=True)
    are_places = np.concatenate([tiny.tokens.bins(one.ids) >= 0 for one in predicted])
    assert are_places.any(), "nothing to see"
    assert not are_places.all(), "nothing to see"
    for image, one in zip(IMAGES, predicted, strict=True):
        logits = stock(tiny, image, PROMPTS[0]).logits[1:]  # the first token is forced
        for step, token, chance in zip(logits, one.ids, one.probabilities, strict=True):
            expected = near(tiny, step[0].softmax(dim=-1).numpy(), int(token))
            assert chance == pytest.approx(expected, rel=1e-4)


def near(tiny: Florence2Network, probabilities: np.ndarray, token: int) -> float:
    """Return the probability of a token or, for a place, of all places within 15 bins."""
    place = int(tiny.tokens.bins(np.array(token)))
    if place < 0:
        return float(probabilities[token])
    places = range(max(0, place - 15), min(1000, place + 16))
    return float(sum(probabilities[tiny.tokens.location_ids[one]] for one in places))


def test_chances_of_places_gather_what_lies_near(tiny: Florence2Network) -> None:
    first = int(tiny.tokens.location_ids[0])
    bins = tiny.tokens.bins(np.array([first + 500, first, first + BINS - 1, 7]))
    near = np.zeros((3, BINS), np.float32)
    near[0, 500 - NEAR_BINS - 1 : 500 + NEAR_BINS + 2] = 1 / 33
    near[1, :100] = 1 / 100
    near[2, -50:] = 1 / 50
    chosen = np.array([1 / 33, 1 / 100, 1 / 50, 1 / 4], np.float32)
    found = token_probabilities(chosen, near, bins)
    assert found == pytest.approx([31 / 33, 16 / 100, 16 / 50, 1 / 4])


@pytest.mark.parametrize(("beams", "batch_size"), [(1, 16), (1, 3), (2, 16), (1, 1)])
def test_a_prompt_of_a_batch_is_answered_as_it_is_alone(
    tiny_florence2: Tiny, beams: int, batch_size: int
) -> None:
    """Each prompt about each image, long and short ones mixed, so that the order shows."""
    ours = network(tiny_florence2(0), beams=beams, batch_size=batch_size)
    seen = ours.look(VIEWS)
    asked = [(row, prompt) for prompt in (*PROMPTS[2:], *PROMPTS[:2]) for row in (3, 0, 2, 1)]
    rows, prompts = zip(*asked, strict=True)
    lengths = [len(prompt) for prompt in prompts]
    assert lengths != sorted(lengths) != lengths[::-1]
    alone = [ours.answer(seen, [row], [prompt], repeats=True)[0] for row, prompt in asked]
    sure = {tuple(one.probabilities.round(6)) for one in alone}
    assert len(sure) == len(asked), "each answer should be known by its chances"
    together = ours.answer(seen, rows, prompts, repeats=True)
    for one, other in zip(together, alone, strict=True):
        assert one.ids.tolist() == other.ids.tolist()
        assert one.probabilities == pytest.approx(other.probabilities, rel=1e-4)


def test_nothing_asked_is_nothing_said(tiny: Florence2Network) -> None:
    assert tiny.answer(tiny.look(VIEWS), [], [], repeats=True) == []


def test_an_answer_ends_with_its_end_token(tiny: Florence2Network) -> None:
    end, start, pad = tiny.tokens.end, tiny.tokens.start, tiny.tokens.pad
    assert tiny.tokens.until_end(np.array([7, 8, end, pad, pad])).tolist() == [7, 8, end]
    assert tiny.tokens.until_end(np.array([7, 8, 9])).tolist() == [7, 8, 9]
    assert tiny.tokens.prompt("")[0] == start
    assert tiny.tokens.prompt("")[-1] == end


def test_prompts_are_those_of_the_processor(tiny: Florence2Network) -> None:
    for task in FLORENCE2_TASKS.values():
        given = {"nothing": "", "text": "a red circle", "region": "<loc_1><loc_2><loc_3><loc_4>"}
        text = task.marker + given[task.takes]
        inputs = tiny.processor(text=text, images=IMAGES[0], return_tensors="pt")
        image_tokens = tiny.processor.num_image_tokens
        ours = tiny.tokens.prompt(prompt_of(task.name, given[task.takes]))
        assert inputs.input_ids[0, image_tokens:].tolist() == ours


@pytest.mark.parametrize("spare", [-1, 0, 1])
def test_a_prompt_that_is_too_long_loses_its_middle(
    tiny: Florence2Network, monkeypatch: pytest.MonkeyPatch, spare: int
) -> None:
    seen_prompts: list[list[int]] = []
    encode = tiny._encode

    def listening(seen: Any, prompts: Sequence[Sequence[int]]) -> Any:
        seen_prompts.extend(map(list, prompts))
        return encode(seen, prompts)

    prompt = prompt_of("phrase_grounding", "red circle, blue square " * 20)
    whole = tiny.tokens.prompt(prompt)
    seen = tiny.look(VIEWS[:1])
    room = len(whole) + spare
    monkeypatch.setattr(tiny, "_encode", listening)
    monkeypatch.setattr(tiny, "_positions", seen.shape[1] + room)
    tiny.answer(seen, [0], [prompt], repeats=True)
    (cut,) = seen_prompts
    if spare >= 0:
        assert cut == whole
        return
    assert len(cut) == room
    assert cut[-1] == tiny.tokens.end
    assert cut == whole[: room - 16] + whole[-16:], "the beginning and the end of the question"


def test_a_prompt_of_any_length_is_answered(tiny: Florence2Network) -> None:
    caption = "red circle, blue square " * 500
    [predicted] = tiny.answer(tiny.look(VIEWS[:1]), [0], [prompt_of("phrase_grounding", caption)],
                         repeats=True)  # fmt: skip
    assert len(predicted.ids)


def test_answers_are_no_longer_than_the_model_has_positions(tiny_florence2: Tiny) -> None:
    ours = network(tiny_florence2(0), max_new_tokens=5000)
    ours._positions = 40
    predicted = ours.answer(ours.look(VIEWS), range(4), PROMPTS[:1] * 4, repeats=True)
    assert max(len(one.ids) for one in predicted) == 38


def test_the_ban_on_repetition_holds_for_texts_only(tiny_florence2: Tiny, tmp_path: Path) -> None:
    ours = network(tiny_florence2(1), max_new_tokens=20)
    ours._model.generation_config.no_repeat_ngram_size = 3
    seen = ours.look(VIEWS)

    def has_repeats(repeats: bool) -> list[bool]:
        predicted = ours.answer(seen, range(4), PROMPTS[:1] * 4, repeats=repeats)
        triples = [
            [tuple(one.ids[n : n + 3]) for n in range(len(one.ids) - 2)] for one in predicted
        ]
        return [len(set(each)) < len(each) for each in triples]

    assert any(has_repeats(True))
    assert not any(has_repeats(False))


def test_the_model_can_look_at_another_size(tiny_florence2: Tiny) -> None:
    small = network(tiny_florence2(0), image_size=16)
    assert small.look(VIEWS).shape[1] == 2
    assert network(tiny_florence2(0)).look(VIEWS).shape[1] == 5


def test_an_image_size_that_the_model_cannot_take_is_an_error(tiny_florence2: Tiny) -> None:
    with pytest.raises(ConfigError, match=r"cannot take images of 64 px.*smaller"):
        network(tiny_florence2(0), image_size=64)


def test_images_of_any_shape_can_be_looked_at(tiny: Florence2Network) -> None:
    shapes = [(1, 1), (3, 2000), (2000, 3), (32, 32)]
    images = [np.zeros((*shape, 3), np.uint8) for shape in shapes]
    assert tiny.look([*map(Given, images)]).shape[0] == len(shapes)


def test_bfloat16_answers_too(tiny_florence2: Tiny) -> None:
    ours = network(tiny_florence2(0), dtype="bfloat16")
    for one in ours.answer(ours.look(VIEWS), range(4), PROMPTS, repeats=True):
        assert np.isfinite(one.probabilities).all()

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from florilegium.specialists.pretrained.greedy_search import GreedySearch
from tests.checkpoints.chat_caption import WRITERS


@pytest.fixture(scope="module")
def blip2(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder = WRITERS["blip-2"](tmp_path_factory.mktemp("blip-2"))
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    return model, AutoProcessor.from_pretrained(folder)


@pytest.fixture(scope="module")
def inputs(blip2: tuple[Any, Any]) -> dict[str, torch.Tensor]:
    _, processor = blip2
    noise = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    images = [Image.fromarray(pixels) for pixels in noise]
    return dict(processor(images=images, text=["a photo of"] * 5, return_tensors="pt"))


def test_each_token_has_the_probability_that_a_second_pass_gives_it(
    blip2: tuple[Any, Any], inputs: dict[str, torch.Tensor]
) -> None:
    model, processor = blip2
    answers = GreedySearch(model, processor.tokenizer).generate(inputs, 16)
    for row, one in enumerate(answers):
        answer = torch.from_numpy(one.ids)[None]
        whole = torch.cat([inputs["input_ids"][row : row + 1], answer], dim=1)
        logits = model(
            pixel_values=inputs["pixel_values"][row : row + 1],
            input_ids=whole,
            attention_mask=torch.ones_like(whole),
        ).logits
        chances = logits.softmax(-1)[0, -len(one.ids) - 1 : -1].gather(1, answer.T)[:, 0]
        np.testing.assert_allclose(one.probabilities, chances.detach(), atol=1e-4)


def test_an_answer_ends_with_its_end_token_or_at_the_limit(
    blip2: tuple[Any, Any], inputs: dict[str, torch.Tensor]
) -> None:
    model, processor = blip2
    ends = model.config.text_config.eos_token_id
    answers = GreedySearch(model, processor.tokenizer).generate(inputs, 16)
    assert len({len(one.ids) for one in answers}) > 1
    for one in answers:
        assert one.is_finished == (one.ids[-1] in ends)
        assert one.is_finished or len(one.ids) == 16
        assert not np.isin(one.ids[:-1], ends).any()
        assert one.ids.shape == one.probabilities.shape


def test_what_a_row_is_filled_with_after_its_end_is_no_part_of_its_answer(
    blip2: tuple[Any, Any],
) -> None:
    """Where a checkpoint has no token for padding, it is the end token again and again."""
    model, processor = blip2
    search = GreedySearch(model, processor.tokenizer)
    end, chances = search._ends[0], np.array([0.9, 0.8, 0.7, 0.6])
    answers = search._until_end(np.array([7, end, end, end]), chances)
    assert (answers.ids.tolist(), answers.probabilities.tolist()) == ([7, end], [0.9, 0.8])
    assert answers.is_finished
    cut = search._until_end(np.array([7, 8, 9, 7]), chances)
    assert (cut.ids.tolist(), cut.is_finished) == ([7, 8, 9, 7], False)


def test_no_chance_is_left_to_a_checkpoint_that_samples(
    blip2: tuple[Any, Any],
    inputs: dict[str, torch.Tensor],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, processor = blip2
    settings = model.language_model.generation_config
    settings.update(do_sample=True, temperature=9.0, top_k=3, top_p=0.5, max_length=4)
    search = GreedySearch(model, processor.tokenizer)
    chosen: list[torch.Tensor] = []
    generate = model.generate

    def recorded(**options: Any) -> Any:
        chosen.append(generate(**options))
        return chosen[-1]

    monkeypatch.setattr(model, "generate", recorded)
    answers = search.generate(inputs, 8)
    for one, sequence in zip(answers, chosen[0][:, inputs["input_ids"].shape[1] :], strict=True):
        assert one.ids.tolist() == sequence[: len(one.ids)].tolist()
    assert not caplog.records

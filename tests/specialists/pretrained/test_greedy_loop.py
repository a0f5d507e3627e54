from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    GenerationMixin,
    Lfm2Config,
    LogitsProcessor,
    StoppingCriteria,
)

from florilegium import specialists
from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.sample import Sample
from florilegium.pipelines.shape_world.drawing import draw
from florilegium.pipelines.shape_world.scene import WorldConfig
from florilegium.specialists.captions.chat_caption import ChatCaption
from florilegium.specialists.florence2.specialist import Florence2
from florilegium.specialists.ocr.trocr import TrOcr
from florilegium.specialists.pretrained import greedy_loop
from florilegium.specialists.pretrained.greedy_loop import GreedyLoop
from florilegium.specialists.pretrained.greedy_search import GreedySearch
from tests.checkpoints import written_once
from tests.checkpoints.chat_caption import WRITERS
from tests.checkpoints.trocr import write_trocr

Written = Callable[[str], Path]
FAMILIES = ("blip", "blip-2", "blip-2 of t5", "gemma3", "idefics3", "llava")
ROWS, FEW, TOKENS = 16, 8, 24
_random = np.random.default_rng(0)
IMAGES = (_random.random((ROWS, 32, 32, 3)) * 255 * _random.random((ROWS, 1, 1, 3)) ** 2).astype(
    np.uint8
)
"""Noise, each in a colour of its own."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Write a tiny model of a family, once."""
    return written_once(lambda name, folder: WRITERS[name](folder), tmp_path_factory)


class Numbered(LogitsProcessor):
    """Lets each row begin with a token of its own; notes how many rows each step computes."""

    FIRST = 100

    def __init__(self) -> None:
        self.counts: list[int] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if not self.counts:
            rows = torch.arange(len(scores))
            scores = torch.full_like(scores, -100.0)
            scores[rows, self.FIRST + rows] = 0
        self.counts.append(len(input_ids))
        return scores


class Lengths(StoppingCriteria):
    """Ends a row, by the token that it begins with, after 2 to 20 tokens."""

    LENGTHS = tuple(2 + 11 * row % 19 for row in range(ROWS))

    def __init__(self, start: int) -> None:
        self._start = start

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        length = input_ids.shape[1] - self._start
        rows = (input_ids[:, self._start] - Numbered.FIRST).tolist()
        return torch.tensor([length >= self.LENGTHS[row] for row in rows])


def loaded(folder: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    """Return a model and the inputs of all images."""
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    prompt = "a photo of"
    if getattr(processor, "chat_template", None):
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        prompt = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
    images = [[Image.fromarray(pixels)] for pixels in IMAGES]
    inputs = processor(images=images, text=[prompt] * ROWS, return_tensors="pt")
    GreedySearch(model, processor.tokenizer)  # sets what a checkpoint leaves open
    for generator in model.modules():
        if isinstance(generator, GenerationMixin):
            generator.generation_config.eos_token_id = None
    return model, dict(inputs)


def generated(model: Any, inputs: dict[str, torch.Tensor], **options: Any) -> Any:
    """Return the sequences of all rows and how many rows each step computed."""
    rows = Numbered()
    start = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
    start -= model.config.model_type == "blip"  # it leaves the last token of the prompt out
    found = model.generate(
        **inputs, do_sample=False, num_beams=1, max_new_tokens=TOKENS, logits_processor=[rows],
        stopping_criteria=[Lengths(start)], **options,
    )  # fmt: skip
    return found, rows.counts


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_the_tokens_are_those_of_the_search_of_transformers_and_fewer_are_computed(
    family: str, written: Written
) -> None:
    model, inputs = loaded(written(family))
    loop = GreedyLoop()
    theirs = {"output_scores": True, "return_dict_in_generate": True}
    expected, whole = generated(model, inputs, **theirs)
    found, computed = generated(model, inputs, custom_generate=loop)
    assert found.shape == expected.sequences.shape
    start = found.shape[1] - len(whole)
    for row, (ids, probabilities) in enumerate(loop.answers()):
        stop = Lengths.LENGTHS[row]
        answer = expected.sequences[row, start:][:stop]
        assert ids[:stop].tolist() == answer.tolist() == found[row, start:][:stop].tolist()
        chances = [
            scores[row].softmax(-1)[token].item()
            for scores, token in zip(expected.scores, answer, strict=False)
        ]
        np.testing.assert_allclose(probabilities[:stop], chances, rtol=1e-4)
    assert whole == [ROWS] * max(Lengths.LENGTHS)
    assert len(computed) == len(whole)
    assert sum(computed) < 1.1 * sum(Lengths.LENGTHS) < 0.7 * sum(whole)


@pytest.mark.parametrize("share", [0.01, 1 / 8, 1])
@torch.inference_mode()
def test_rows_leave_when_a_share_has_ended(
    share: float, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(greedy_loop, "LEAVING_SHARE", share)
    model, inputs = loaded(written("idefics3"))
    _, computed = generated(model, inputs, custom_generate=GreedyLoop())
    expected, live = [ROWS], ROWS
    for step in range(1, max(Lengths.LENGTHS)):
        unfinished = sum(length > step for length in Lengths.LENGTHS)
        if live - unfinished >= share * live:
            live = unfinished
        expected.append(live)
    assert computed == expected


@pytest.mark.parametrize("family", ["gemma3", "llava"])
@torch.inference_mode()
def test_rows_leave_a_cache_of_fixed_size(family: str, written: Written) -> None:
    model, inputs = loaded(written(family))
    static = {"cache_implementation": "static"}
    expected, _ = generated(model, inputs, **static)
    found, computed = generated(model, inputs, custom_generate=GreedyLoop(), **static)
    start = found.shape[1] - len(computed)
    for row, stop in enumerate(Lengths.LENGTHS):
        assert found[row, start:][:stop].tolist() == expected[row, start:][:stop].tolist()
    assert computed[-1] < ROWS


@torch.inference_mode()
def test_rows_leave_a_cache_with_the_states_of_convolutions() -> None:
    torch.manual_seed(0)
    config = Lfm2Config(
        vocab_size=200, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, layer_types=["conv", "full_attention"],
        initializer_range=0.5, pad_token_id=0, bos_token_id=1, eos_token_id=None,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    inputs = {"input_ids": torch.randint(2, 99, (ROWS, 6))}
    expected, _ = generated(model, inputs)
    found, computed = generated(model, inputs, custom_generate=GreedyLoop())
    for row, stop in enumerate(Lengths.LENGTHS):
        assert found[row, 6:][:stop].tolist() == expected[row, 6:][:stop].tolist()
    assert computed[-1] < ROWS


@torch.inference_mode()
def test_a_model_without_a_token_for_padding_answers(written: Written) -> None:
    model, inputs = loaded(written("llava"))
    model.generation_config.pad_token_id = None
    loop = GreedyLoop()
    model.generate(**inputs, do_sample=False, max_new_tokens=3, custom_generate=loop)
    assert [len(ids) for ids, _ in loop.answers()] == [3] * ROWS


@torch.inference_mode()
def test_nan_logits_are_an_error(written: Written) -> None:
    model, inputs = loaded(written("blip-2"))
    head = model.get_output_embeddings().weight
    head[-1] = torch.nan
    loop = GreedyLoop()
    model.generate(**inputs, do_sample=False, max_new_tokens=4, custom_generate=loop)
    with pytest.raises(SampleError, match="NaN"):
        loop.answers()


class Refused(RuntimeError):
    """An error in the middle of an answer."""


@contextmanager
def troubled(model: Any, *, no_memory_at: int, error_at: int) -> Iterator[None]:
    """Let one step of a model end with too little memory, and a later one with another error."""
    steps = itertools.count(1)

    def fail(_: Any, __: Any) -> None:
        step = next(steps)
        if step == no_memory_at:
            raise torch.OutOfMemoryError("too little memory, as the test wants it")
        if step == error_at:
            raise Refused

    hook = model.register_forward_pre_hook(fail)
    yield
    hook.remove()


def known_by(predicted: Any) -> Any:
    """Return what identifies an answer, with scores in steps that no batch reaches."""
    if isinstance(predicted, SampleError):
        return predicted.reason, predicted.message
    return [(one.text, one.label, one.box_xyxy, round(one.score or 0, 3)) for one in predicted]


def florence2(_: Path) -> dict[str, Any]:
    model = str(Path(specialists.__file__).parent / "tiny_florence2")
    return {"model": model, "tasks": ("detailed_caption",), "max_new_tokens": 24}


def trocr(folder: Path) -> dict[str, Any]:
    return {"model": str(write_trocr(folder)), "max_new_tokens": 12, "least_score": 0}


def chat_caption(folder: Path) -> dict[str, Any]:
    prompts = {"prompts": {"caption": "a red cat"}, "max_new_tokens": {"caption": TOKENS}}
    return {"model": str(WRITERS["idefics3"](folder)), **prompts}


@pytest.mark.parametrize(
    ("family", "options"),
    [(Florence2, florence2), (TrOcr, trocr), (ChatCaption, chat_caption)],
    ids=lambda one: one.__name__,
)
def test_no_answer_reaches_another_image(
    family: Any, options: Callable[[Path], Any], tmp_path: Path, drawing: Callable[..., Sample]
) -> None:
    """Random images, orders and sizes of batches, steps without memory, errors in the middle."""
    line = Annotation(kind="region", task="ocr", text="?", box_xyxy=(0, 0, 32, 32))
    world = WorldConfig(count=FEW, seed=5, px=96)
    samples = [drawing(draw(world, number).pixels, line) for number in range(FEW)]
    stage = family(family.Config(**options(tmp_path)))
    stage.load()
    network = stage._networks[0].network if family is Florence2 else stage.network
    alone = [known_by(stage.predict([sample])[0]) for sample in samples]
    assert len(set(map(str, alone))) > FEW // 2, "an image should be known by its answer"
    chance = random.Random(0)
    for size in (3, FEW):
        order = chance.sample(range(FEW), FEW - 1)
        asked = [samples[number] for number in order]
        network._batch_size = size
        no_memory_at = chance.randint(2, 8)
        with troubled(
            network.model, no_memory_at=no_memory_at, error_at=no_memory_at + chance.randint(1, 8)
        ):
            with pytest.raises(Refused):
                stage.predict(asked)
            predicted = stage.predict(asked)
        assert [known_by(one) for one in predicted] == [alone[number] for number in order]
        assert network._batch_size < size

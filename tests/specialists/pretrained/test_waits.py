"""No stage waits for its device once per answer."""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from florilegium.engine.core.annotation import Annotation, Provenance, stamp
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.planning.registry import find_stage
from florilegium.specialists.pretrained.config import LoadingConfig
from florilegium.specialists.pretrained.network import Network
from tests.checkpoints.detector import WRITERS as DETECTORS
from tests.checkpoints.open_vocabulary import WRITERS as FINDERS
from tests.checkpoints.segment_anything import write_sam_hq
from tests.specialists.pretrained.test_network import CHECKPOINT
from tests.specialists.pretrained.waiting import DEVICE, counted

IMAGES, BOXES, TEXTS = 6, 5, 4
"""An image has boxes, and lines and captions: more answers than any limit below."""
TOKENS = 3
"""Maximum tokens of a generated answer."""
OUTPUTS = 1
"""The wait for the outputs of a batch; everything else is within a model of `transformers`."""
SEARCH = 12
"""Waits for the first and the last token of a generated answer."""
PLACES = 3
"""Waits for where the images of a conversation are among its tokens."""
STEP = 3
"""Waits for each token: whether all rows have ended, and for masks of attention."""


def _folder(write: Callable[..., Path], **options: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda folder: {"model": str(write(folder)), **options}


def _options(name: str, **options: Any) -> Callable[[Path], dict[str, Any]]:
    module = import_module(f"tests.checkpoints.{name}")
    return lambda folder: {**module.options(folder), **options}


_NAMES = {"classes": ["cat", "cup"], "least_score": 0.0}
STAGES: dict[str, tuple[str, Callable[[Path], dict[str, Any]], int]] = {
    "rt_detr": ("detector", _folder(DETECTORS["rt_detr"]), OUTPUTS),
    "sam": ("segment_anything", _options("segment_anything"), OUTPUTS),
    "sam_hq": ("segment_anything", _folder(write_sam_hq), OUTPUTS),
    "owlv2": ("open_vocabulary", _folder(FINDERS["owlv2"], **_NAMES), OUTPUTS),
    "omdet-turbo": ("open_vocabulary", _folder(FINDERS["omdet-turbo"], **_NAMES), OUTPUTS + 7),
    "grounding": ("grounding", _options("grounding"), OUTPUTS + 5),
    "image_tags": ("image_tags", _options("image_tags"), OUTPUTS),
    "image_text": ("image_text", _options("image_text"), OUTPUTS + 1),
    "region_label": ("region_label", _options("region_label"), OUTPUTS + 1),
    "trocr": ("trocr", _options("trocr", max_new_tokens=TOKENS), SEARCH + STEP * TOKENS),
    "chat_caption": (
        "chat_caption",
        _options("chat_caption", prompts={"caption": "Say."}, max_new_tokens={"caption": TOKENS}),
        SEARCH + PLACES + STEP * TOKENS,
    ),
}
"""The stage of a checkpoint, its options, and the limit on its waits for a batch."""


def _sample(number: int) -> Sample:
    """Return an image of noise, with boxes, lines of text and captions."""
    random = np.random.default_rng(number)
    file = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (80, 120, 3), np.uint8)).save(file, format="PNG")
    boxes = [
        Annotation(
            kind="region", task=task, label="cat", text=text, score=0.9,
            box_xyxy=(5.0 + row, 10.0 * row, 80.0 + row, 10.0 * row + 30),
        )
        for task, text, count in (("object_detection", "", BOXES), ("ocr", "line", TEXTS))
        for row in range(count)
    ]  # fmt: skip
    captions = [
        Annotation(kind="text", task=task, text="a cat and a red cup.", language="en", score=0.9)
        for task in ("caption", "detailed_caption", "more_detailed_caption")
    ]
    return Sample(
        key=str(number),
        width=120,
        height=80,
        picture=Picture(file.getvalue()),
        annotations=tuple(stamp([*boxes, *captions], Provenance(stage="earlier"), str(number))),
    )


SAMPLES = [_sample(number) for number in range(IMAGES)]


@pytest.mark.parametrize("name", STAGES)
def test_waits_for_a_batch_do_not_grow_with_its_answers(name: str, tmp_path: Path) -> None:
    use, options, limit = STAGES[name]
    stage_class = find_stage(use)
    stage = stage_class(stage_class.Config(**{**options(tmp_path), "batch_size": 64}))
    stage.load()
    ask = getattr(stage, "predict", None) or stage.measure
    with counted(stage.network) as waits:
        ask(SAMPLES[:1])  # some models remember texts
        waits.clear()
        answers = ask(SAMPLES)
    assert all(answers)
    assert waits.total <= limit * max(1, waits.batches), dict(waits.by_line)


CALLS: dict[str, tuple[Callable[[Any], Any], int]] = {
    "a value": (lambda pixels: pixels.sum().item(), 1),
    "a condition": (lambda pixels: bool((pixels > 0).all()), 1),
    "all values": (lambda pixels: pixels[0, 0].tolist(), 1),
    "a copy": (lambda pixels: pixels.cpu(), 1),
    "an index by a mask": (lambda pixels: pixels[pixels > 0], 1),
    "an index from the host": (lambda pixels: pixels[[0, 1]], 1),
    "positions": (lambda pixels: pixels.nonzero(), 1),
    "numbers from the host": (lambda pixels: torch.tensor([1.0], device=pixels.device), 1),
    "a copy of each answer": (lambda pixels: [one.cpu() for one in pixels], 2),
    "a copy that is not awaited": (lambda pixels: torch.ones(3).to(DEVICE, non_blocking=True), 0),
    "computing": (lambda pixels: pixels.flatten(1).softmax(dim=1).argmax(dim=1), 0),
    "an index": (lambda pixels: pixels[pixels.flatten(1).argmax(dim=1) * 0], 0),
}


@pytest.mark.parametrize("what", CALLS)
def test_what_a_gpu_would_be_waited_for_is_counted(what: str) -> None:
    call, expected = CALLS[what]
    model = torch.nn.Linear(4, 2)
    network = Network(CHECKPOINT, LoadingConfig(), load=lambda *_, **__: (model, None))

    def forward(batch: dict[str, torch.Tensor], _: object) -> torch.Tensor:
        call(batch["pixel_values"])
        result: torch.Tensor = model(batch["pixel_values"])
        return result

    inputs = [{"pixel_values": torch.randn(3, 4)} for _ in range(2)]
    expected_answers = network.run(inputs, forward, lambda output, _: output.sum((1, 2)).tolist())
    with counted(network) as waits:
        answers = network.run(inputs, forward, lambda output, _: output.sum((1, 2)).tolist())
    assert (waits.in_turn, waits.total, waits.batches) == (expected, expected + 1, 1)
    assert answers == pytest.approx(expected_answers)

"""Published answers of the released weights, read as labels and written again as targets.

`released_answers.json` holds facts only: images by name and size, prompts and answers, with the
name of the publication of each. No answer to `<REGION_TO_OCR>` is known to us; it has the form of
the other texts about a region.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import Annotation, MaskRLE, Provenance, stamp
from florilegium.engine.core.validity import problem_of
from florilegium.specialists.florence2.answer import AnswerParser
from florilegium.specialists.florence2.format import (
    DEFAULT_TASKS,
    FLORENCE2_TASKS,
    SizeWH,
    dequantise,
)
from florilegium.specialists.florence2.prompts import FilledPrompt
from florilegium.specialists.florence2.scores import GeneratedAnswer
from florilegium.specialists.florence2.tokens import Tokens
from tests.pipelines.training.labels import examples, sample

_FACTS = json.loads((Path(__file__).parent / "released_answers.json").read_text("utf-8"))
_TASK_OF = {task.marker: task for task in FLORENCE2_TASKS.values()}
_START, _END = "</s><s>", "</s>"

OTHER_ORDER = {
    ("transformers large", "<OCR_WITH_REGION>", "street"): "of signs at about the same height, the "
    "model reads now the higher one first, now the left one",
    ("notebook", "<DENSE_REGION_CAPTION>", "two_cars"): "of two wheels of 2531 and 2633 square "
    "pixels, the model names the smaller one first",
}
"""Answers that do not keep to the order of the others, and how; their labels are the same."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published answer; `answer` is without the start tokens and the end token."""

    source: str
    image: str
    marker: str
    input: str
    answer: str

    @property
    def key(self) -> tuple[str, str, str]:
        """Its name in `OTHER_ORDER`."""
        return self.source, self.marker, self.image

    @property
    def size_wh(self) -> SizeWH:
        """Width and height of the image."""
        width, height = _FACTS["images"][self.image]["size_wh"]
        return width, height

    @property
    def task(self) -> str:
        """Our name of the task."""
        return _TASK_OF[self.marker].name

    @property
    def is_mask(self) -> bool:
        """Whether the answer consists of polygons."""
        return _TASK_OF[self.marker].answers == "polygons"


def _published() -> list[Published]:
    found = [Published(**fact) for fact in _FACTS["answers"]]
    for one in found:
        assert one.source in _FACTS["sources"]
        assert one.answer.startswith(_START)
        assert one.answer.endswith(_END)
    return [
        replace(one, answer=re.sub(r"^(<s>)*", "", one.answer[len(_START) : -len(_END)]))
        for one in found
    ]


PUBLISHED = _published()
MASKS = [one for one in PUBLISHED if one.is_mask]
REORDERED = [one for one in PUBLISHED if one.key in OTHER_ORDER]
EXACT = [one for one in PUBLISHED if one not in MASKS and one not in REORDERED]
"""All others: our target has the same words and the same location tokens."""


def each(of: list[Published]) -> Any:
    return pytest.mark.parametrize(
        "one", of, ids=["-".join(one.key).replace(" ", "_") for one in of]
    )


@pytest.fixture(scope="module")
def processor(untrained: Path) -> Any:
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(untrained)


def subject_of(one: Published) -> Annotation | None:
    """Return the caption, phrase or region that a prompt is about."""
    task = _TASK_OF[one.marker]
    if task.takes == "region":
        box = dequantise(bins_of(one.input).ravel(), one.size_wh)
        return Annotation(
            kind="region", task="object_detection", label="thing", box_xyxy=tuple(box), id="asked"
        )
    if task.takes == "text" and one.task != "open_vocabulary_detection":
        return Annotation(kind="text", task="caption", text=one.input, language="en", id="asked")
    return None


def labels_of(one: Published, processor: Any) -> list[Annotation]:
    """Read a published answer as the specialist does, with the precision of stored labels."""
    ids = np.array([*processor.tokenizer(one.answer, add_special_tokens=False).input_ids, 2])
    tokens = Tokens(processor.tokenizer, size=len(processor.tokenizer))
    subject = subject_of(one)
    prompt = FilledPrompt(
        task=_TASK_OF[one.marker],
        prompt="",
        size_wh=one.size_wh,
        subject=subject,
        label=one.input if one.task == "referring_segmentation" else "",
        queries=(one.input,),
    )
    answer = GeneratedAnswer(ids=ids, probabilities=np.full(len(ids), 0.9))
    read = AnswerParser(processor, tokens, language="en").annotations(prompt, answer)
    about = [subject] if subject else []
    labels = stamp([*about, *read], Provenance(stage="released"), one.image)
    for label in labels[len(about) :]:
        assert label.task == one.task
        assert not problem_of(label, width=one.size_wh[0], height=one.size_wh[1])
    return labels


def target_of(one: Published, labels: list[Annotation], **options: Any) -> str:
    """Write the target of a training on labels."""
    of = sample(*labels, key=one.image, size_wh=one.size_wh)
    made = examples(of, one.task, **options)[one.task]
    assert made.prefix == one.marker + one.input
    return made.target


def bins_of(text: str) -> np.ndarray:
    """Return the location tokens of a text, (n, 2)."""
    return np.array([int(bin) for bin in re.findall(r"<loc_(\d+)>", text)]).reshape(-1, 2)


def items_of(text: str, corners: int) -> list[str]:
    """Return each region of a text with its label, sorted."""
    items = []
    for words, region in re.findall(r"([^<]+)((?:<loc_\d+>)+)", text):
        tokens = re.findall(r"<loc_\d+>", region)
        size = 2 * corners
        items += [words + "".join(tokens[k : k + size]) for k in range(0, len(tokens), size)]
    return sorted(items)


def stock(one: Published, answer: str, processor: Any) -> Any:
    """Return what the post-processor of `transformers` reads, whole pixels."""
    marked = _START + answer + _END
    return processor.post_process_generation(marked, task=one.marker, image_size=one.size_wh)


def test_all_tasks_but_reading_in_a_region_have_a_published_answer() -> None:
    assert {one.task for one in PUBLISHED} == set(DEFAULT_TASKS) - {"region_ocr"}
    assert {one.key for one in REORDERED} == set(OTHER_ORDER)


@each(EXACT)
def test_a_published_answer_is_the_target_of_its_labels(one: Published, processor: Any) -> None:
    target = target_of(one, labels_of(one, processor))
    assert target == one.answer
    assert stock(one, target, processor) == stock(one, one.answer, processor)


@each(REORDERED)
def test_in_another_order_the_regions_and_their_words_are_the_same(
    one: Published, processor: Any
) -> None:
    target = target_of(one, labels_of(one, processor))
    assert target != one.answer, "it keeps to the order: take it out of OTHER_ORDER"
    corners = 4 if one.task == "ocr" else 2
    assert items_of(target, corners) == items_of(one.answer, corners)


@pytest.mark.parametrize("task", ["region_category", "region_description", "region_ocr"])
def test_texts_about_a_region_have_the_form_of_the_published_ones(task: str) -> None:
    """The region of a label instead of that of the prompt: the same tokens."""
    one = next(one for one in PUBLISHED if one.task == "region_category")
    box = tuple(dequantise(bins_of(one.input).ravel(), one.size_wh))
    label = Annotation(kind="region", task=task, label="car", text="car", box_xyxy=box, id="1")
    made = examples(sample(label, size_wh=one.size_wh), task)[task]
    assert made.target == one.answer


def test_the_lines_of_a_published_answer_give_the_published_transcript(processor: Any) -> None:
    lines, transcript = (
        next(one for one in PUBLISHED if (one.marker, one.image) == (marker, "book_cover"))
        for marker in ("<OCR_WITH_REGION>", "<OCR>")
    )
    assert target_of(transcript, labels_of(lines, processor)) == transcript.answer


def signed_area(corners: np.ndarray) -> float:
    """Return an area that is positive if corners run clockwise as seen in an image."""
    x, y = corners.T.astype(float)
    return float(x @ np.roll(y, -1) - np.roll(x, -1) @ y) / 2


@each(MASKS)
def test_a_published_polygon_is_clockwise_from_its_corner_nearest_the_top_left(
    one: Published,
) -> None:
    """What our outlines follow: the nearest corner is the first one or the one before it."""
    corners = bins_of(one.answer)
    assert signed_area(corners) > 0
    nearest = int(np.hypot(*(corners + 0.5).T).argmin())
    assert nearest in (0, len(corners) - 1)


@each(MASKS)
def test_the_mask_of_a_published_polygon_is_written_as_a_polygon_like_it(
    one: Published, processor: Any
) -> None:
    labels = labels_of(one, processor)
    target = target_of(one, labels)
    ours, theirs = bins_of(target), bins_of(one.answer)
    assert re.fullmatch(r"(<loc_\d+>)+", target), "one polygon without brackets"
    assert signed_area(ours) > 0
    assert np.hypot(*(ours[0] - theirs[0])) < 25, "they begin at the same place"
    assert 8 <= len(ours) <= len(theirs)
    again = labels_of(replace(one, answer=target), processor)[-1]
    assert overlap(again.mask_rle, labels[-1].mask_rle) >= 0.95


def overlap(mask: MaskRLE | None, other: MaskRLE | None) -> float:
    assert mask
    assert other
    written = [{"size": list(each.size), "counts": each.counts} for each in (mask, other)]
    return float(coco_mask.iou(written[:1], written[1:], [0])[0, 0])

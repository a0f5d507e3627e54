"""The text format of Florence-2: its tasks, their prompts, and labels and regions as text.

From the Florence-2 paper (section 3.1), the published processor and published outputs. Knows no
weights, no tokenizer and no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from florilegium.engine.core.task import Florence2Prompt, Words
from florilegium.engine.core.tasks import TABLE

BINS = 1000
"""Location tokens per axis: `<loc_0>` to `<loc_999>`."""

AND, SEP, POLY, END_POLY = "<and>", "<sep>", "<poly>", "</poly>"
STRUCTURE_TOKENS = (AND, SEP, POLY, END_POLY)
LOCATION_TOKENS = tuple(f"<loc_{number}>" for number in range(BINS))

SizeWH = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Florence2Task(Florence2Prompt):
    """The prompt of a task, with its name and what its words are."""

    name: str
    words: Words


FLORENCE2_TASKS: Mapping[str, Florence2Task] = MappingProxyType(
    {
        name: Florence2Task(name=name, words=task.words, **asdict(task.florence2))
        for name, task in TABLE.items()
        if task.florence2
    }
)
"""The 15 tasks of the released weights, by our names, questions, and the tasks of plugins."""
QUESTION_TASKS = tuple(
    name for name, task in FLORENCE2_TASKS.items() if (task.takes, task.answers) == ("text", "text")
)
"""Tasks whose annotations are a question, their `text`, and its answer, their `label`. The released
weights know none of them, so they are trained only where a config names them."""
DEFAULT_TASKS = tuple(name for name in FLORENCE2_TASKS if name not in QUESTION_TASKS)
"""The tasks that are trained unless a config names others."""


def prompt_of(task: str, task_input: str = "") -> str:
    """Return the English prompt of a task.

    `task_input` is the text of the task (queries joined by `<and>`), or its region as location
    tokens.
    """
    one = FLORENCE2_TASKS[task]
    if one.takes == "text":
        task_input = joined(task_input.split(AND))
    return one.prompt.replace("{input}", task_input)


def joined(queries: Iterable[str]) -> str:
    """Join several queries into one input of open-vocabulary detection."""
    return AND.join(map(clean, queries))


def clean(text: str) -> str:
    """Return a text that cannot be confused with tokens: no `<`, single spaces."""
    return " ".join(re.sub(r"<[/\w]*>|<", " ", text).split())


# --- coordinates ------------------------------------------------------------------------------


def quantise(coordinates: ArrayLike, size_wh: SizeWH) -> np.ndarray:
    """Return the bins, 0..999, of pixel coordinates x, y, x, y, ... along the last axis, any
    shape."""
    pixels = np.asarray(coordinates, dtype=np.float64)
    return np.clip(np.floor(pixels / _bin_sizes(pixels, size_wh)), 0, BINS - 1).astype(np.int64)


def dequantise(bins: ArrayLike, size_wh: SizeWH) -> np.ndarray:
    """Return the pixel coordinates, floats, at the centres of bins; the shape is kept."""
    numbers = np.asarray(bins, dtype=np.float64)
    return (numbers + 0.5) * _bin_sizes(numbers, size_wh)


def _bin_sizes(values: np.ndarray, size_wh: SizeWH) -> np.ndarray:
    return np.resize(np.asarray(size_wh, dtype=np.float64) / BINS, values.shape[-1:])


def locations(coordinates: ArrayLike, size_wh: SizeWH) -> str:
    """Return one box, quad or polygon in pixels, any shape, as location tokens."""
    flat = np.asarray(coordinates, dtype=np.float64).reshape(-1)
    return "".join(map(LOCATION_TOKENS.__getitem__, quantise(flat, size_wh).tolist()))


# --- targets ----------------------------------------------------------------------------------
# From labels and boxes (n, 4), quads (n, 8) or polygons (n, 2), in pixels, to the target of a task.
# Regions whose label is empty after cleaning are left out.


def detection_target(labels: Sequence[str], boxes_xyxy: ArrayLike, size_wh: SizeWH) -> str:
    """OD: each class once, alphabetically, then its boxes by descending area."""
    words, regions = _as_tokens(labels, boxes_xyxy, size_wh, largest_first=True)
    return _grouped(sorted(zip(words, regions, strict=True), key=itemgetter(0)))


def description_target(labels: Sequence[str], boxes_xyxy: ArrayLike, size_wh: SizeWH) -> str:
    """DRC: descriptions by descending area of their boxes."""
    words, regions = _as_tokens(labels, boxes_xyxy, size_wh, largest_first=True)
    return _grouped(zip(words, regions, strict=True))


def proposal_target(boxes_xyxy: ArrayLike, size_wh: SizeWH) -> str:
    """RP: boxes by descending area, no words."""
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    return "".join(locations(box, size_wh) for box in boxes[_largest_first(boxes)])


def query_target(queries: Sequence[str], boxes_xyxy: ArrayLike, size_wh: SizeWH) -> str:
    """OVD: the query repeated for each of its boxes, in the order given."""
    words, regions = _as_tokens(queries, boxes_xyxy, size_wh)
    return "".join(word + region for word, region in zip(words, regions, strict=True))


def grounding_target(phrases: Sequence[str], boxes_xyxy: ArrayLike, size_wh: SizeWH) -> str:
    """PG: phrases in the order given (that of mention), each with all its boxes."""
    words, regions = _as_tokens(phrases, boxes_xyxy, size_wh)
    return _grouped(zip(words, regions, strict=True))


def reading_target(texts: Sequence[str], quads: ArrayLike, size_wh: SizeWH) -> str:
    """OCR with regions: texts with their quads, in reading order."""
    words, regions = _as_tokens(texts, quads, size_wh, order=order_by_first_quad(quads), corners=4)
    return "".join(word + region for word, region in zip(words, regions, strict=True))


def region_text_target(words: str, box_xyxy: ArrayLike, size_wh: SizeWH) -> str:
    """The text of a region, then the region of the prompt again, as the released weights answer.

    Empty if nothing of the text remains after cleaning.
    """
    cleaned = clean(words)
    return cleaned + locations(box_xyxy, size_wh) if cleaned else ""


def polygon_target(instances: Sequence[Sequence[ArrayLike]], size_wh: SizeWH) -> str:
    """RES and R2SEG: the polygons of one instance, or of several within `<poly>` brackets."""
    written = [SEP.join(locations(each, size_wh) for each in one) for one in instances if len(one)]
    if len(written) == 1:
        return written[0]
    return "".join(f"{POLY}{one}{END_POLY}" for one in written)


Target = Callable[[Sequence[str], ArrayLike, SizeWH], str]
_OF_BOXES: Mapping[Words, Target] = MappingProxyType(
    {
        "name": detection_target,
        "sentence": description_target,
        "": lambda labels, boxes, size_wh: proposal_target(boxes, size_wh),
    }
)
_OF_QUERIES: Mapping[str, Target] = MappingProxyType(
    {"open_vocabulary_detection": query_target, "phrase_grounding": grounding_target}
)
TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        name: reading_target
        if task.answers == "quads"
        else _OF_QUERIES.get(name, _OF_BOXES[task.words])
        for name, task in FLORENCE2_TASKS.items()
        if task.answers in ("boxes", "quads")
    }
)
"""Targets of tasks with boxes or quads: (labels, coordinates, size) -> target."""


def order_by_first_quad(quads: ArrayLike) -> list[int]:
    """Return the reading order of quads (n, 8): lines from top to bottom, each from left to right.

    A quad belongs to a line if its centre lies within the height of the line's first quad.
    """
    corners = np.asarray(quads, dtype=np.float64).reshape(-1, 4, 2)
    left, top = corners.min(axis=1).T if len(corners) else np.empty((2, 0))
    middle, bottom = corners[:, :, 1].mean(axis=1), corners[:, :, 1].max(axis=1)
    order: list[int] = []
    waiting = np.lexsort((left, top)).tolist()
    while waiting:
        first = waiting[0]
        line = [one for one in waiting if one == first or middle[one] < bottom[first]]
        order += sorted(line, key=left.__getitem__)
        waiting = [one for one in waiting if one not in line]
    return order


def _as_tokens(
    labels: Sequence[str],
    coordinates: ArrayLike,
    size_wh: SizeWH,
    *,
    largest_first: bool = False,
    order: Sequence[int] | None = None,
    corners: int = 2,
) -> tuple[list[str], list[str]]:
    """Return cleaned labels and regions as location tokens, in order, without empty labels."""
    regions = np.asarray(coordinates, dtype=np.float64).reshape(-1, 2 * corners)
    if largest_first:
        order = _largest_first(regions).tolist()
    words = [clean(label) for label in labels]
    chosen = [one for one in (range(len(words)) if order is None else order) if words[one]]
    return [words[one] for one in chosen], [locations(regions[one], size_wh) for one in chosen]


def _largest_first(boxes: np.ndarray) -> np.ndarray:
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return np.argsort(-area, kind="stable")


def _grouped(pairs: Iterable[tuple[str, str]]) -> str:
    """Write a label once before consecutive regions of that label."""
    return "".join(
        word + "".join(region for _, region in group)
        for word, group in groupby(pairs, key=itemgetter(0))
    )

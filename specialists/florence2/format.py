"""The language of Florence-2: its tasks, their prompts, and how labels are written as text.

Facts from the Florence-2 paper (section 3.1), the published processor and published outputs.
This module turns labels and regions into words and back to pixels; it knows no weights, no
tokenizer and no torch.
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

from engine.core.task import Florence2Prompt, Words
from engine.core.tasks import TABLE

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
"""The 15 tasks by our name, and those of plugins."""


def prompt_of(task: str, given: str = "") -> str:
    """Return the English prompt of a task.

    `given` is the text that the task takes (queries joined by `<and>`), or its region as
    location tokens.
    """
    asked = FLORENCE2_TASKS[task]
    if asked.takes == "text":
        given = joined(given.split(AND))
    return asked.prompt.replace("{input}", given)


def joined(queries: Iterable[str]) -> str:
    """Join several things to look for into one input of open-vocabulary detection."""
    return AND.join(map(clean, queries))


def clean(text: str) -> str:
    """Return text that cannot be mistaken for a token: no `<`, single spaces."""
    return " ".join(re.sub(r"<[/\w]*>|<", " ", text).split())


# --- where things are -------------------------------------------------------------------------


def quantise(coordinates: ArrayLike, size_wh: SizeWH) -> np.ndarray:
    """Return bins, 0..999, of pixel coordinates x, y, x, y, ... along the last axis, any shape."""
    pixels = np.asarray(coordinates, dtype=np.float64)
    return np.clip(np.floor(pixels / _bin_sizes(pixels, size_wh)), 0, BINS - 1).astype(np.int64)


def dequantise(bins: ArrayLike, size_wh: SizeWH) -> np.ndarray:
    """Return the pixel coordinates, floats, at the centres of bins; the shape is kept."""
    places = np.asarray(bins, dtype=np.float64)
    return (places + 0.5) * _bin_sizes(places, size_wh)


def _bin_sizes(values: np.ndarray, size_wh: SizeWH) -> np.ndarray:
    return np.resize(np.asarray(size_wh, dtype=np.float64) / BINS, values.shape[-1:])


def locations(coordinates: ArrayLike, size_wh: SizeWH) -> str:
    """Write one box, quad or polygon as location tokens; pixel coordinates, any shape."""
    flat = np.asarray(coordinates, dtype=np.float64).reshape(-1)
    return "".join(map(LOCATION_TOKENS.__getitem__, quantise(flat, size_wh).tolist()))


# --- what is there ----------------------------------------------------------------------------
# Labels and boxes (n, 4), quads (n, 8), polygons (n, 2), in pixels, become the target of a task.
# What has no label after cleaning is left out.


def detection_target(labels: Sequence[str], boxes_xyxy: ArrayLike, size_wh: SizeWH) -> str:
    """OD: each class once, alphabetically, then its boxes by descending area."""
    words, places = _written(labels, boxes_xyxy, size_wh, largest_first=True)
    return _grouped(sorted(zip(words, places, strict=True), key=itemgetter(0)))


def description_target(labels: Sequence[str], boxes_xyxy: ArrayLike, size_wh: SizeWH) -> str:
    """DRC: descriptions by descending area of their boxes."""
    words, places = _written(labels, boxes_xyxy, size_wh, largest_first=True)
    return _grouped(zip(words, places, strict=True))


def proposal_target(boxes_xyxy: ArrayLike, size_wh: SizeWH) -> str:
    """RP: boxes by descending area, no words."""
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    return "".join(locations(box, size_wh) for box in boxes[_largest_first(boxes)])


def query_target(queries: Sequence[str], boxes_xyxy: ArrayLike, size_wh: SizeWH) -> str:
    """OVD: the query repeated for each of its boxes, in the order given."""
    words, places = _written(queries, boxes_xyxy, size_wh)
    return "".join(word + place for word, place in zip(words, places, strict=True))


def grounding_target(phrases: Sequence[str], boxes_xyxy: ArrayLike, size_wh: SizeWH) -> str:
    """PG: phrases in the order given (that of mention), each with all its boxes."""
    words, places = _written(phrases, boxes_xyxy, size_wh)
    return _grouped(zip(words, places, strict=True))


def reading_target(texts: Sequence[str], quads: ArrayLike, size_wh: SizeWH) -> str:
    """OCR with regions: texts with their quads, in reading order."""
    words, places = _written(texts, quads, size_wh, order=reading_order(quads), corners=4)
    return "".join(word + place for word, place in zip(words, places, strict=True))


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
"""For tasks that answer with boxes or quads: (labels, coordinates, size) -> target."""


def reading_order(quads: ArrayLike) -> list[int]:
    """Return the order in which quads (n, 8) are read: lines from the top, each from the left.

    A quad belongs to a line when its middle lies within the height of the line's first quad.
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


def _written(
    labels: Sequence[str],
    coordinates: ArrayLike,
    size_wh: SizeWH,
    *,
    largest_first: bool = False,
    order: Sequence[int] | None = None,
    corners: int = 2,
) -> tuple[list[str], list[str]]:
    """Return cleaned labels and written places, in order, without those that have no label."""
    places = np.asarray(coordinates, dtype=np.float64).reshape(-1, 2 * corners)
    if largest_first:
        order = _largest_first(places).tolist()
    words = [clean(label) for label in labels]
    chosen = [one for one in (range(len(words)) if order is None else order) if words[one]]
    return [words[one] for one in chosen], [locations(places[one], size_wh) for one in chosen]


def _largest_first(boxes: np.ndarray) -> np.ndarray:
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return np.argsort(-area, kind="stable")


def _grouped(said: Iterable[tuple[str, str]]) -> str:
    """Write a word once before all places that follow each other under it."""
    return "".join(
        word + "".join(place for _, place in group)
        for word, group in groupby(said, key=itemgetter(0))
    )

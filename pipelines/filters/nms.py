"""Non-maximum suppression: of overlapping regions, the one that is first in rank stays.

Three rules, each with its own reason: overlap with the same label, containment in a better region
with the same label, and overlap whatever the label. The best region of each other specialist with
the same label becomes part of the one that stays (`merged_from`). `engine.core.rank` has the order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.rank import order
from florilegium.engine.core.stage import THRESHOLD, Filter, StageConfig, one_of
from florilegium.engine.core.tasks import PHRASE_TASKS, REGION_TASKS
from florilegium.pipelines.filters.per_task import over_defaults
from florilegium.pipelines.filters.regions import Regions
from florilegium.specialists.regions.crops import WORDS_OF_BOXES

NMS_MERGED = "nms_merged"
"""Same label, and the best of its specialist: it is in `merged_from` of the one that stays."""
NMS_DUPLICATE = "nms_duplicate"
"""Same label."""
NMS_CONTAINED = "nms_contained"
"""Same label, and nearly all of it lies inside the one that stays."""
NMS_OVERLAP = "nms_overlap"
"""Another label or phrase for nearly the same region."""

MEASURED = ("iou", "containment", "agnostic_iou")
REASONS = ("", NMS_OVERLAP, NMS_CONTAINED, NMS_DUPLICATE, NMS_MERGED)
"""The reasons by their numbers; where several rules apply, the highest number is the reason."""
KEPT, OVERLAP, CONTAINED, DUPLICATE, MERGED = range(len(REASONS))

BLOCK = 256
"""Rows compared with all others at once; bounds the memory for images with many regions."""

Overlap = Annotated[float, Field(gt=0, le=1)]
"""Above 0: at 0, regions that do not touch would exclude each other."""


class NmsOptions(BaseModel):
    """Overlaps from which two regions of one task exclude each other; `None`: never."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    iou: Overlap | None = 0.6
    """Intersection over union of two regions with the same label, 0..1."""
    containment: Overlap | None = 0.95
    """Share of a region inside a better one with the same label, 0..1. A region without a score is
    not known to be better, except a label of the source."""
    agnostic_iou: Overlap | None = None
    """Intersection over union of two regions whatever their labels, 0..1; of phrases: of two
    different phrases of one caption."""


DEFAULT_OPTIONS = {task: NmsOptions() for task in (*REGION_TASKS, *PHRASE_TASKS)} | {
    # Two names for one box: the better scored one stays.
    "object_detection": NmsOptions(agnostic_iou=0.9),
    # A proposal may be inside another: a wheel in a car.
    "region_proposal": NmsOptions(iou=0.7, containment=None),
    # A text of a box inside another, "a man" of a face in a man, falls only with its box.
    **dict.fromkeys(WORDS_OF_BOXES, NmsOptions(containment=None)),
    # The label of a text region is its text; of two texts for one region, one is wrong.
    "ocr": NmsOptions(iou=0.5, containment=None, agnostic_iou=0.8),
    # GrIT removes boxes "that have high overlap with others, even if they are not for the same
    # noun chunk" (Kosmos-2, arXiv 2306.14824, section 2.1), and publishes no threshold: as for two
    # names of one box.
    "phrase_grounding": NmsOptions(agnostic_iou=0.9),
}
"""Options of each task that the filter judges."""


class NmsConfig(StageConfig):
    """Options of `Nms`."""

    tasks: Annotated[dict[str, NmsOptions], THRESHOLD, NamesAmong(DEFAULT_OPTIONS)] = (
        DEFAULT_OPTIONS
    )
    """Options per task; those that a config omits keep the task's default."""
    source_first: Annotated[bool, THRESHOLD] = True
    """Whether labels of the source stay whatever the scores of machine labels for the same thing;
    otherwise scores decide, and labels without a score are last."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _over_defaults(cls, given: Any) -> Any:
        return over_defaults(given, DEFAULT_OPTIONS)


class Nms(Filter[NmsConfig]):
    """Judge the regions of each image, task by task, the first in rank first.

    Phrases compete with those of the same caption, of equal rank the longer first; two that are the
    same span count as the same label. Masks of phrases compete for the same span only.
    """

    Config = NmsConfig
    version = 2
    judges_by = "task"
    reads = (one_of(*DEFAULT_OPTIONS),)

    def judge(self, statements: Statements) -> Verdicts:
        """Judge the rows that have a region.

        `iou` and `containment` (same label) and `agnostic_iou` are measured as the largest
        overlap of a row with a row that was kept before it.
        """
        suppression = _Suppression(statements, self.config.source_first)
        for rivals in _rivals(statements, suppression.is_judged):
            suppression.run(rivals, self.config.tasks[statements.task[rivals[0]]])
        return suppression.verdicts()


class _Suppression:
    """The regions of one shard, while the better ones drop others; arrays have a value per row.

    `reason` is the index in `REASONS` of why a row was dropped, 0 while it is kept; `measured` has
    the largest overlaps with a better kept row, in the order of `MEASURED`; `merged` the pairs of
    a kept row and a dropped one of another specialist that confirms it.
    """

    def __init__(self, statements: Statements, source_first: bool) -> None:
        self.regions = Regions(statements)
        has_region = ~np.isnan(self.regions.box_xyxy[:, 0])
        self.is_judged = has_region & statements.of_tasks(tuple(DEFAULT_OPTIONS))
        self.score = statements.score
        self.is_of_source = statements.is_of_source & source_first
        self.length = _lengths(statements)
        self.label = _codes(_labels(statements))
        self.specialist = _codes(statements.texts("specialist"))
        self.reason = np.zeros(len(statements), dtype=np.int8)
        self.measured = np.zeros((len(MEASURED), len(statements)))
        self.merged: list[tuple[int, int]] = []

    def run(self, rivals: np.ndarray, options: NmsOptions) -> None:
        """Visit the rows from the best to the worst; each that is still kept drops worse ones.

        A block of rows is compared at once with those that remain.
        """
        longest_first = rivals[np.argsort(-self.length[rivals], kind="stable")]
        by_rank = order(self.is_of_source[longest_first], self.score[longest_first])
        remaining = longest_first[by_rank]
        while len(remaining) > 1:
            block, rest = remaining[:BLOCK], remaining[BLOCK:]
            overlaps = self._overlaps(block, remaining)
            exclusions = self._exclusions(block, remaining, overlaps, options)
            for index in np.flatnonzero(exclusions.any(axis=1)):
                if self.reason[block[index]] == KEPT:
                    self._drop(int(block[index]), remaining, exclusions[index])
            largest = overlaps[:, self.reason[block] == KEPT].max(axis=1)
            self.measured[:, remaining] = np.maximum(self.measured[:, remaining], largest)
            remaining = rest[self.reason[rest] == KEPT]

    def _overlaps(self, block: np.ndarray, remaining: np.ndarray) -> np.ndarray:
        """Return `MEASURED` of each block row with each row after it, (3, block, remaining)."""
        iou, inside = self.regions.overlap(block, remaining)
        is_same = self.label[block][:, None] == self.label[remaining]
        overlaps = np.stack([iou * is_same, inside * is_same, iou])
        # The block comes first in `remaining`: there, only rows further on are after a row.
        overlaps[:, :, : len(block)] = np.triu(overlaps[:, :, : len(block)], k=1)
        return overlaps

    def _exclusions(
        self, block: np.ndarray, remaining: np.ndarray, overlaps: np.ndarray, options: NmsOptions
    ) -> np.ndarray:
        """Return the index in `REASONS` by which each block row excludes each remaining row."""
        iou, inside, agnostic_iou = overlaps
        has_score = ~np.isnan(self.score[block])[:, None]
        outranks = self.is_of_source[block][:, None] & ~self.is_of_source[remaining]
        exclusions = np.full(iou.shape, KEPT, dtype=np.int8)
        exclusions[_reaches(agnostic_iou, options.agnostic_iou)] = OVERLAP
        is_contained = _reaches(inside, options.containment) & (has_score | outranks)
        exclusions[is_contained] = CONTAINED
        exclusions[_reaches(iou, options.iou)] = DUPLICATE
        return exclusions

    def _drop(self, better: int, remaining: np.ndarray, exclusions: np.ndarray) -> None:
        """Drop the rows that a better one excludes.

        Of its duplicates, the best of each other specialist is merged into it.
        """
        is_hit = (exclusions != KEPT) & (self.reason[remaining] == KEPT)
        self.reason[remaining[is_hit]] = exclusions[is_hit]
        duplicates = remaining[is_hit & (exclusions == DUPLICATE)]
        others = duplicates[self.specialist[duplicates] != self.specialist[better]]
        _, first = np.unique(self.specialist[others], return_index=True)
        for row in others[np.sort(first)].tolist():
            self.reason[row] = MERGED
            self.merged.append((better, row))

    def verdicts(self) -> Verdicts:
        """Return the verdicts."""
        verdicts = Verdicts(len(self.reason))
        for name, values in zip(MEASURED, self.measured, strict=True):
            verdicts.measure(name, values, self.is_judged)
        for code, reason in enumerate(REASONS[1:], start=1):
            verdicts.drop(self.reason == code, reason)
        for kept, merged in self.merged:
            verdicts.merge(kept, merged)
        return verdicts


def _rivals(statements: Statements, where: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows that compete with each other, ascending: same image, task and group."""
    rows = np.flatnonzero(where)
    made_from = _made_from(statements, rows)
    keys = zip(statements.sample[rows].tolist(), statements.task[rows], made_from, strict=True)
    group = _codes(keys)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order])) + 1
    yield from (rivals for rivals in np.split(rows[order], starts) if len(rivals) > 1)


def _made_from(statements: Statements, rows: np.ndarray) -> Iterator[object]:
    """Yield what each row was made from: a caption, a phrase, or the task of its parent.

    Rows of different origin do not compete: a phrase keeps its mask beside that of a detection.
    """
    is_phrase = statements.texts("kind") == "phrase"
    parent_id = statements.texts("parent_id")
    span = statements.table.column("span").to_pylist()
    for row, parent in zip(rows.tolist(), statements.parent[rows].tolist(), strict=True):
        if is_phrase[row]:
            yield parent_id[row]
        elif parent < 0:
            yield ""
        elif is_phrase[parent]:
            yield parent_id[parent], *span[parent]
        else:
            yield statements.task[parent]


def _labels(statements: Statements) -> Iterator[object]:
    """Yield what must be equal for two rows to have the same label: of phrases the span."""
    columns = (statements.texts(name) for name in ("kind", "label", "text"))
    spans = statements.table.column("span").to_pylist()
    for kind, label, text, span in zip(*columns, spans, strict=True):
        yield tuple(span) if kind == "phrase" else (label or text).strip().casefold()


def _lengths(statements: Statements) -> np.ndarray:
    """Return the characters of each phrase, 0 for other rows, int64, shape (n,)."""
    is_phrase = statements.texts("kind") == "phrase"
    texts = zip(is_phrase, statements.texts("text"), strict=True)
    return np.array([len(text) * bool(of_phrase) for of_phrase, text in texts], dtype=np.int64)


def _codes(values: Iterable[object]) -> np.ndarray:
    """Give equal values the same number, in order of appearance, int64, shape (n,)."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)


def _reaches(overlap: np.ndarray, limit: float | None) -> np.ndarray:
    return overlap >= (np.inf if limit is None else limit)

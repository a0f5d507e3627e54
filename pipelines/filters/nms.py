"""Non-maximum suppression: of overlapping regions, the one with the best score stays.

Three rules, each with its own reason: overlap with the same label, containment in a better region
with the same label, and overlap whatever the label. A region that another specialist confirms
keeps the ids of both (`merged_from`). This module knows no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from engine.core.judgement import Statements, Verdicts
from engine.core.stage import THRESHOLD, Filter, StageConfig, one_of
from engine.core.tasks import PHRASE_TASKS, REGION_TASKS
from pipelines.filters.per_task import over_defaults
from pipelines.filters.regions import Regions

NMS_MERGED = "nms_merged"
NMS_DUPLICATE = "nms_duplicate"
NMS_CONTAINED = "nms_contained"
NMS_OVERLAP = "nms_overlap"

MEASURED = ("iou", "containment", "agnostic_iou")
REASONS = ("", NMS_OVERLAP, NMS_CONTAINED, NMS_DUPLICATE, NMS_MERGED)
_, OVERLAP, CONTAINED, DUPLICATE, MERGED = range(len(REASONS))

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
    better than none."""
    agnostic_iou: Overlap | None = None
    """Intersection over union of two regions whatever their labels, 0..1."""


DEFAULT_OPTIONS = {task: NmsOptions() for task in (*REGION_TASKS, *PHRASE_TASKS)} | {
    # Two names for one box: the better scored one stays.
    "object_detection": NmsOptions(agnostic_iou=0.9),
    # A proposal may be inside another: a wheel in a car.
    "region_proposal": NmsOptions(iou=0.7, containment=None),
    # The label of a text region is its text; of two texts for one region, one is wrong.
    "ocr": NmsOptions(iou=0.5, containment=None, agnostic_iou=0.8),
}
"""Options of each task that the filter judges."""


class NmsConfig(StageConfig):
    """Options of `Nms`."""

    tasks: Annotated[dict[str, NmsOptions], THRESHOLD] = DEFAULT_OPTIONS
    """Options per task; those that a config omits keep the task's default."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _over_defaults(cls, given: Any) -> Any:
        return over_defaults(given, DEFAULT_OPTIONS)


class Nms(Filter[NmsConfig]):
    """Judge the regions of each image, task by task, best score first.

    Rows with equal scores stay in order; rows without a score come last.
    Phrases compete only for the same span of the same caption, and so do their masks.
    """

    Config = NmsConfig
    reads = (one_of(*DEFAULT_OPTIONS),)

    def judge(self, statements: Statements) -> Verdicts:
        """Judge the rows that have a region.

        `iou` and `containment` (same label) and `agnostic_iou` are measured as the largest
        overlap of a row with a row that was kept before it.
        """
        contest = _Contest(statements)
        for rivals in _rivals(statements, contest.is_judged):
            contest.suppress(rivals, self.config.tasks[statements.task[rivals[0]]])
        return contest.verdicts()


class _Contest:
    """The regions of one shard while they are compared; all arrays have a value per row."""

    def __init__(self, statements: Statements) -> None:
        self.regions = Regions(statements)
        has_region = ~np.isnan(self.regions.box_xyxy[:, 0])
        self.is_judged = has_region & statements.of_tasks(tuple(DEFAULT_OPTIONS))
        self.score = statements.score
        self.label = _codes(_said(statements))
        self.specialist = _codes(statements.texts("specialist"))
        self.reason = np.zeros(len(statements), dtype=np.int8)
        self.measured = np.zeros((len(MEASURED), len(statements)))
        self.merged: list[tuple[int, int]] = []

    def suppress(self, rivals: np.ndarray, options: NmsOptions) -> None:
        """Keep the best row, drop the rows that it excludes, and repeat with the rest."""
        ranked = rivals[np.argsort(-np.nan_to_num(self.score[rivals], nan=-1), kind="stable")]
        while len(ranked) > 1:
            self._suppress_by(ranked[:BLOCK], ranked, options)
            rest = ranked[BLOCK:]
            ranked = rest[self.reason[rest] == 0]

    def _suppress_by(self, block: np.ndarray, ranked: np.ndarray, options: NmsOptions) -> None:
        """Let the first rows of `ranked`, the block, exclude rows that come after them."""
        overlaps = self._overlaps(block, ranked)
        reasons = self._reasons(block, overlaps, options)
        for better in np.flatnonzero(reasons.any(axis=1)):
            if self.reason[block[better]] == 0:
                is_hit = (reasons[better] != 0) & (self.reason[ranked] == 0)
                self.reason[ranked[is_hit]] = reasons[better, is_hit]
                is_duplicate = is_hit & (reasons[better] == DUPLICATE)
                self._merge(int(block[better]), ranked[is_duplicate])
        largest = overlaps[:, self.reason[block] == 0].max(axis=1)
        self.measured[:, ranked] = np.maximum(self.measured[:, ranked], largest)

    def _overlaps(self, block: np.ndarray, ranked: np.ndarray) -> np.ndarray:
        """Return `MEASURED` of each block row with each row after it, (3, block, ranked)."""
        iou, inside = self.regions.overlap(block, ranked)
        is_same = self.label[block][:, None] == self.label[ranked]
        overlaps = np.stack([iou * is_same, inside * is_same, iou])
        # The block comes first in `ranked`: there, only rows further on are after a row.
        overlaps[:, :, : len(block)] = np.triu(overlaps[:, :, : len(block)], k=1)
        return overlaps

    def _reasons(self, block: np.ndarray, overlaps: np.ndarray, options: NmsOptions) -> np.ndarray:
        """Return the index in `REASONS` by which each block row excludes each ranked row."""
        iou, inside, agnostic_iou = overlaps
        has_score = ~np.isnan(self.score[block])[:, None]
        reasons = np.zeros(iou.shape, dtype=np.int8)
        reasons[_reaches(agnostic_iou, options.agnostic_iou)] = OVERLAP
        reasons[_reaches(inside, options.containment) & has_score] = CONTAINED
        reasons[_reaches(iou, options.iou)] = DUPLICATE
        return reasons

    def _merge(self, best: int, duplicates: np.ndarray) -> None:
        """Add the best duplicate of each other specialist to the best row's `merged_from`."""
        others = duplicates[self.specialist[duplicates] != self.specialist[best]]
        _, first = np.unique(self.specialist[others], return_index=True)
        for row in others[np.sort(first)].tolist():
            self.reason[row] = MERGED
            self.merged.append((best, row))

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
    """Yield the rows that compete with each other, ascending: same image, task and subject."""
    rows = np.flatnonzero(where)
    subjects = _subjects(statements, rows)
    keys = zip(statements.sample[rows].tolist(), statements.task[rows], subjects, strict=True)
    group = _codes(keys)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order])) + 1
    yield from (rivals for rivals in np.split(rows[order], starts) if len(rivals) > 1)


def _subjects(statements: Statements, rows: np.ndarray) -> Iterator[object]:
    """Yield the subject of each row: the span of a caption, or the task of its parent.

    Rows of different subjects do not compete: a phrase keeps its mask beside that of a detection.
    """
    is_phrase = statements.texts("kind") == "phrase"
    parent_id = statements.texts("parent_id")
    span = statements.table.column("span").to_pylist()
    for row in rows.tolist():
        owner = row if is_phrase[row] else int(statements.parent[row])
        if owner < 0:
            yield ""
        elif is_phrase[owner]:
            yield parent_id[owner], *span[owner]
        else:
            yield statements.task[owner]


def _said(statements: Statements) -> Iterator[str]:
    """Yield the label of each row. Phrases of one span share a label."""
    columns = (statements.texts(name) for name in ("kind", "label", "text"))
    for kind, label, text in zip(*columns, strict=True):
        yield "" if kind == "phrase" else (label or text).strip().casefold()


def _codes(values: Iterable[object]) -> np.ndarray:
    """Give equal values the same number, in order of appearance, int64, shape (n,)."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)


def _reaches(overlap: np.ndarray, limit: float | None) -> np.ndarray:
    return overlap >= (np.inf if limit is None else limit)

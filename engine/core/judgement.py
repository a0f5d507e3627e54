"""What filters judge and what they answer: the annotations of one shard, as columns.

`Statements` is the question, `Verdicts` the answer. Rows are in the order in which they were
predicted: sample by sample, stage by stage. Missing numbers are NaN. No loop per box is needed.
`SampleColumns` is the question to a sample filter, a row for each sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa

from florilegium.engine.core.annotation import SOURCE, MaskRLE
from florilegium.engine.core.rank import rows_of_source


@dataclass(kw_only=True, eq=False)
class Statements:
    """Annotations of one shard, one row each. Columns are read from the table when first used.

    `sample` is the row's sample number, ascending; `image_wh` the size of its image, shape
    (n, 2); `is_live` is false for rows that an earlier filter dropped; `measurements` are the
    numbers that the judging filter stored, by name, shape (n,), NaN where it measured nothing.
    """

    table: pa.Table
    sample: np.ndarray
    image_wh: np.ndarray
    is_live: np.ndarray
    measurements: Mapping[str, np.ndarray] = field(default_factory=dict)
    _texts: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return self.table.num_rows

    def texts(self, column: str) -> np.ndarray:
        """Return a text column (`task`, `label`, `text`, `specialist`, ...) as strings."""
        if column not in self._texts:
            values = self.table.column(column).to_pylist()
            self._texts[column] = np.asarray(values, dtype=object)
        return self._texts[column]

    @cached_property
    def task(self) -> np.ndarray:
        """The task of each row, str, shape (n,)."""
        return self.texts("task")

    @cached_property
    def score(self) -> np.ndarray:
        """The score of the specialist, float64, shape (n,), NaN where it gave none."""
        return self._numbers("score")

    @cached_property
    def support(self) -> np.ndarray:
        """The specialist's second score, float64, shape (n,), NaN where it gave none."""
        return self._numbers("support")

    def _numbers(self, column: str) -> np.ndarray:
        return self.table.column(column).to_numpy(zero_copy_only=False).astype(np.float64)

    @cached_property
    def box_xyxy(self) -> np.ndarray:
        """Boxes in pixels of the upright image, float64, shape (n, 4), NaN where there is none."""
        boxes = np.full((len(self), 4), np.nan)
        column = self.table.column("box_xyxy").combine_chunks()
        has_box = column.value_lengths().to_numpy(zero_copy_only=False) == 4
        boxes[has_box] = column.flatten().to_numpy().reshape(-1, 4)
        return boxes

    @cached_property
    def masks(self) -> list[MaskRLE | None]:
        """The mask of each row, or `None`."""
        return [
            MaskRLE(tuple(mask["size"]), mask["counts"]) if mask else None
            for mask in self.table.column("mask_rle").to_pylist()
        ]

    @cached_property
    def parent(self) -> np.ndarray:
        """The row of each row's parent, int64, shape (n,), -1 where there is none."""
        return self.rows_of(self.sample.tolist(), self.texts("parent_id").tolist())

    def rows_of(self, samples: Sequence[int], names: Sequence[str]) -> np.ndarray:
        """Return the rows of annotations by their samples and ids, int64, shape (names,), -1 where
        there is none."""
        wanted = zip(samples, names, strict=True)
        return np.fromiter((self._row.get(one, -1) for one in wanted), np.int64, len(names))

    @cached_property
    def _row(self) -> dict[tuple[int, str], int]:
        """The row of each annotation, by sample and id."""
        names = zip(self.sample.tolist(), self.texts("id"), strict=True)
        return {one: row for row, one in enumerate(names)}

    @cached_property
    def is_of_source(self) -> np.ndarray:
        """Which rows are labels of the source, or merged from one with its words, bool, shape
        (n,)."""
        specialist = self.texts("specialist")
        is_label = np.equal(specialist, SOURCE).astype(bool)
        if not is_label.any():
            return is_label
        samples = self.sample.tolist()
        texts = zip(self.texts("text"), self.texts("label"), strict=True)
        words = [text or label for text, label in texts]
        names = zip(samples, self.texts("id"), strict=True)
        by_name = zip(names, words, is_label.tolist(), strict=True)
        merged_from = zip(samples, self.table.column("merged_from").to_pylist(), strict=True)
        lists = [[(sample, name) for name in listed] for sample, listed in merged_from]
        return rows_of_source(
            zip(specialist, words, lists, strict=True),
            {name: own for name, own, of_source in by_name if of_source},
        )

    def with_measurements(self, measurements: Mapping[str, np.ndarray]) -> Statements:
        """Return the same rows with the numbers that one filter stored."""
        other = copy(self)  # and with it the columns that were read from the table
        other.measurements = measurements
        return other

    def without(self, dropped: np.ndarray) -> Statements:
        """Return the same rows with some no longer live."""
        other = copy(self)
        other.is_live = self.is_live & ~dropped
        return other

    def of_tasks(self, tasks: Sequence[str]) -> np.ndarray:
        """Return which live rows are of these tasks, bool, shape (n,)."""
        return self.is_live & np.isin(self.task.astype(str), tasks)


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleColumns:
    """Samples of one shard, one row each, shape (n,), with what one sample filter measured.

    `key`, `sha256` (of the image's bytes), `source` (where the image came from) and `metadata`
    (that of the source, as JSON text) are texts, dtype object; `width_px` and `height_px` those of
    the upright image, int64. `numbers` are the filter's numbers by name, float64, NaN where it
    measured nothing; `texts` its texts, dtype object, "" where it measured nothing.
    """

    key: np.ndarray
    sha256: np.ndarray
    width_px: np.ndarray
    height_px: np.ndarray
    source: np.ndarray
    metadata: np.ndarray
    numbers: Mapping[str, np.ndarray] = field(default_factory=dict)
    texts: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.key)


class Verdicts:
    """The verdict of one filter on each row: judged or not, keep or drop, why, and its numbers."""

    def __init__(self, count: int) -> None:
        self.is_judged = np.zeros(count, dtype=bool)
        self.reason = np.full(count, "", dtype=object)
        self.confidence = np.full(count, np.nan)
        self.measurements: dict[str, np.ndarray] = {}
        self.merged_from: dict[int, tuple[int, ...]] = {}

    @property
    def is_dropped(self) -> np.ndarray:
        """Which rows are dropped, bool, shape (n,)."""
        return self.reason != ""

    def measure(self, name: str, values: np.ndarray, where: np.ndarray) -> None:
        """Record a number for the rows in `where`; these rows count as judged."""
        column = self.measurements.setdefault(name, np.full(len(self.reason), np.nan))
        column[where] = values[where]
        self.is_judged |= where

    def drop(self, where: np.ndarray, reason: str) -> None:
        """Drop rows for a reason (a snake_case constant); the first reason of a row stays."""
        self.is_judged |= where
        self.reason[where & (self.reason == "")] = reason

    def settle(self, where: np.ndarray, confidence: float) -> None:
        """Decide that rows stay, with this confidence, 0..1: no later filter judges them, and a
        region stays without its parent. A row that is dropped, too, is not settled."""
        self.is_judged |= where
        self.confidence[where] = confidence

    @property
    def is_settled(self) -> np.ndarray:
        """Which rows are settled, bool, shape (n,)."""
        return ~np.isnan(self.confidence) & ~self.is_dropped

    def restrict(self, where: np.ndarray) -> None:
        """Take back the verdicts on rows outside `where`: a filter does not judge dropped rows."""
        self.is_judged &= where
        self.reason[~where] = ""
        self.confidence[~where] = np.nan

    def merge(self, kept: int, merged: int) -> None:
        """Record that the kept row carries the merged row's provenance too."""
        self.merged_from[kept] = (*self.merged_from.get(kept, ()), merged)

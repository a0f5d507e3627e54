"""Histograms of box centres, sizes and aspect ratios, and of caption lengths, in fixed bins.

Shards are added one by one, in constant memory. The plots are those of the
Florence-2 paper (Fig 5), for regions with a text and for phrases of captions: square root of the
normalised area, log aspect ratio, box centres.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.tasks import CAPTION_TASKS, names_of
from florilegium.specialists.regions.crops import WORDS_OF_BOXES

SIDE_EDGES = np.linspace(0, 1, 41)
"""Edges of the bins of sqrt(box area / image area)."""
ASPECT_EDGES = np.linspace(-4, 4, 49)
"""Edges of the bins of log2(width / height); values beyond are counted in the outer bins."""
WORD_EDGES = np.arange(0, 162, 2)
"""Edges of the bins of words in a caption; longer ones are counted in the last."""
HEAT_CELLS = 24
"""Cells of the heat map of box centres along each side."""
COLUMNS = ("width", "height", "id", "kind", "task", "text", "box_xyxy", "parent_id", "kept")
"""The columns of a shard's Parquet file that are read."""
REGION_TEXT, PHRASE_REGION = "region-text", "text-phrase-region"

_WORDLESS = names_of(
    lambda task: task.kind == "region" and not task.is_of_region and not task.words
)


class Boxes:
    """Counts of kept (row 0) and dropped (row 1) boxes in fixed bins."""

    def __init__(self) -> None:
        self.side = np.zeros((2, len(SIDE_EDGES) - 1), np.int64)
        self.aspect = np.zeros((2, len(ASPECT_EDGES) - 1), np.int64)
        self.centres = np.zeros((HEAT_CELLS, HEAT_CELLS), np.int64)

    def add(self, boxes: np.ndarray, image_wh: np.ndarray, kept: np.ndarray) -> None:
        """Count boxes (n, 4), clipped to their images."""
        corners = boxes.reshape(-1, 2, 2).clip(0, image_wh[:, None])
        size = corners[:, 1] - corners[:, 0]
        visible = (size > 0).all(axis=1)
        corners, size, kept, image_wh = (
            values[visible] for values in (corners, size, kept, image_wh)
        )
        side = np.sqrt((size / image_wh).prod(axis=1))
        aspect = np.log2(size[:, 0] / size[:, 1])
        for row, where in enumerate((kept, ~kept)):
            self.side[row] += _counts(side[where], SIDE_EDGES)
            self.aspect[row] += _counts(aspect[where], ASPECT_EDGES)
        cells = corners[kept].mean(axis=1) / image_wh[kept] * HEAT_CELLS
        column, line = cells.astype(np.int64).clip(0, HEAT_CELLS - 1).T
        np.add.at(self.centres, (line, column), 1)


class Distributions:
    """Counts of kept (row 0) and dropped (row 1) annotations in fixed bins."""

    def __init__(self) -> None:
        self.boxes = {REGION_TEXT: Boxes(), PHRASE_REGION: Boxes()}
        self.words = {task: np.zeros((2, len(WORD_EDGES) - 1), np.int64) for task in CAPTION_TASKS}

    def add(self, table: pa.Table) -> None:
        """Count the rows of a shard's Parquet file."""
        kept = table.column("kept").to_numpy(zero_copy_only=False)
        self._add_captions(table, kept)
        is_phrase = pc.equal(table.column("kind"), "phrase").to_numpy(zero_copy_only=False)
        self._add_boxes(REGION_TEXT, table, kept, ~is_phrase & _has_words(table))
        self._add_boxes(PHRASE_REGION, table, kept, is_phrase)

    def _add_boxes(self, kind: str, table: pa.Table, kept: np.ndarray, where: np.ndarray) -> None:
        length = pc.list_value_length(table.column("box_xyxy")).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero((length == 4) & where)
        if len(rows):
            boxes = table.column("box_xyxy").take(pa.array(rows)).combine_chunks().flatten()
            sides = [table.column(name).to_numpy()[rows] for name in ("width", "height")]
            image_wh = np.stack(sides, axis=1).astype(np.float64)
            self.boxes[kind].add(boxes.to_numpy().reshape(-1, 4), image_wh, kept[rows])

    def _add_captions(self, table: pa.Table, kept: np.ndarray) -> None:
        task = table.column("task")
        for name, counts in self.words.items():
            of_task = pc.equal(task, name)
            texts = table.column("text").filter(of_task)
            words = pc.count_substring_regex(texts, r"\S+").to_numpy(zero_copy_only=False)
            where = kept[of_task.to_numpy(zero_copy_only=False)]
            counts[0] += _counts(words[where], WORD_EDGES)
            counts[1] += _counts(words[~where], WORD_EDGES)


def _has_words(table: pa.Table) -> np.ndarray:
    """Return which rows are regions with a text of their own, (n,), each region once.

    Masks of boxes and texts for boxes do not count: their boxes do. A proposal counts if a text was
    made for it. Lines of text are regions with a text (section 4.3).
    """
    task, parent = table.column("task"), table.column("parent_id")
    is_first = pc.equal(parent, "")
    named = pc.and_(table.column("kept"), pc.is_in(task, pa.array(WORDS_OF_BOXES)))
    has_name = pc.is_in(table.column("id"), parent.filter(named).combine_chunks())
    is_wordless = pc.is_in(task, pa.array(_WORDLESS))
    found = pc.and_(is_first, pc.or_(pc.invert(is_wordless), has_name))
    return found.to_numpy(zero_copy_only=False).astype(bool)


def quantile(counts: Sequence[int] | np.ndarray, edges: np.ndarray, share: float) -> float | None:
    """Return a quantile of a histogram, as the middle of its bin; `None` if it is empty."""
    cumulative = np.cumsum(counts)
    if not len(cumulative) or cumulative[-1] == 0:
        return None
    position = int(np.searchsorted(cumulative, share * cumulative[-1]))
    return float((edges[position] + edges[position + 1]) / 2)


def _counts(values: np.ndarray, edges: Iterable[float]) -> np.ndarray:
    bounds = np.asarray(edges)
    return np.histogram(values.clip(bounds[0], bounds[-1]), bounds)[0]

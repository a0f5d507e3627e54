"""Where boxes are, how large and how long, and how long captions are: counts in fixed bins.

Shards are added one by one; nothing grows with the dataset. The plots are those of the
Florence-2 paper (Fig 5): square root of the normalised area, log aspect ratio, box centres.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.annotation import CAPTION_TASKS
from engine.publication import ShardStats
from engine.storage import Folder
from pipelines.report.shards import annotation_batches

SIDE_EDGES = np.linspace(0, 1, 41)
"""Edges of the bins of sqrt(box area / image area)."""
ASPECT_EDGES = np.linspace(-4, 4, 49)
"""Edges of the bins of log2(width / height); what lies beyond is counted at the ends."""
WORD_EDGES = np.arange(0, 162, 2)
"""Edges of the bins of words in a caption; longer ones are counted in the last."""
HEAT_CELLS = 24
"""Cells of the map of box centres along each side."""
MEASURED_SHARDS = 256
"""Shards that are measured, spread evenly; the time to write a report does not grow further."""

_COLUMNS = ("width", "height", "task", "text", "box_xyxy", "mask_rle", "parent_id", "kept")


class Distributions:
    """Counts of kept (row 0) and dropped (row 1) annotations in fixed bins."""

    def __init__(self) -> None:
        self.side = np.zeros((2, len(SIDE_EDGES) - 1), np.int64)
        self.aspect = np.zeros((2, len(ASPECT_EDGES) - 1), np.int64)
        self.centres = np.zeros((HEAT_CELLS, HEAT_CELLS), np.int64)
        self.words = {task: np.zeros((2, len(WORD_EDGES) - 1), np.int64) for task in CAPTION_TASKS}

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch of rows of a shard's Parquet file."""
        kept = batch.column("kept").to_numpy(zero_copy_only=False)
        self._add_captions(batch, kept)
        # The box around a mask says again what the box that it was made from said.
        has_mask = pc.is_valid(batch.column("mask_rle")).to_numpy(zero_copy_only=False)
        has_parent = pc.not_equal(batch.column("parent_id"), "").to_numpy(zero_copy_only=False)
        length = pc.list_value_length(batch.column("box_xyxy")).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero((length == 4) & ~(has_mask & has_parent))
        if len(rows):
            boxes = batch.column("box_xyxy").take(pa.array(rows)).flatten().to_numpy()
            sides = [batch.column(name).to_numpy()[rows] for name in ("width", "height")]
            image_wh = np.stack(sides, axis=1).astype(np.float64)
            self._add_boxes(boxes.reshape(-1, 4), image_wh, kept[rows])

    def _add_boxes(self, boxes: np.ndarray, image_wh: np.ndarray, kept: np.ndarray) -> None:
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

    def _add_captions(self, batch: pa.RecordBatch, kept: np.ndarray) -> None:
        task = batch.column("task")
        for name, counts in self.words.items():
            of_task = pc.equal(task, name)
            texts = batch.column("text").filter(of_task)
            words = pc.count_substring_regex(texts, r"\S+").to_numpy(zero_copy_only=False)
            where = kept[of_task.to_numpy(zero_copy_only=False)]
            counts[0] += _counts(words[where], WORD_EDGES)
            counts[1] += _counts(words[~where], WORD_EDGES)


def measure(output: Folder, shards: Sequence[ShardStats]) -> Distributions:
    """Measure shards one after the other."""
    distributions = Distributions()
    for shard in shards:
        for batch in annotation_batches(output, shard, _COLUMNS):
            distributions.add(batch)
    return distributions


def spread(count: int, among: int) -> list[int]:
    """Return `count` numbers below `among`, evenly spread; all of them when there are fewer."""
    if count >= among:
        return list(range(among))
    return [(2 * step + 1) * among // (2 * count) for step in range(count)]


def quantile(counts: Sequence[int] | np.ndarray, edges: np.ndarray, share: float) -> float | None:
    """Return where this share of what was counted lies below, to a bin; `None` of nothing."""
    cumulative = np.cumsum(counts)
    if not len(cumulative) or cumulative[-1] == 0:
        return None
    position = int(np.searchsorted(cumulative, share * cumulative[-1]))
    return float((edges[position] + edges[position + 1]) / 2)


def _counts(values: np.ndarray, edges: Iterable[float]) -> np.ndarray:
    bounds = np.asarray(edges)
    return np.histogram(values.clip(bounds[0], bounds[-1]), bounds)[0]

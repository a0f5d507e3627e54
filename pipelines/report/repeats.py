"""The rows of a shard without regions that repeat a place, so that an object is counted once.

A detector gives an object a box with a name and a proposal; both are labels, but one region.
`specialists.regions.places` says which regions are one place.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.annotation import SOURCE
from florilegium.engine.core.rank import order, rows_of_source
from florilegium.engine.core.tasks import names_of
from florilegium.specialists.regions.places import first_of_place

COLUMNS = (
    *("key", "id", "task", "label", "text", "box_xyxy"),
    *("score", "specialist", "parent_id", "merged_from", "kept"),
)
"""The columns of a shard's Parquet file that are read."""
_REGIONS = names_of(
    lambda task: task.kind == "region" and not task.is_of_region and task.words != "reading"
)
"""Tasks whose regions are objects. A line of text is no other name of the object that it is on."""


def without_repeats(table: pa.Table) -> pa.Table:
    """Return the rows of a shard without regions whose place another one stands for.

    Kept and dropped rows are compared among themselves. What was made from such a region goes with
    it, unless there is none of that task for the region that stands for the place.
    """
    first = _first_of_places(table)
    is_repeat = first != np.arange(len(table))
    if not is_repeat.any():
        return table
    names = table.column("id").combine_chunks()
    parent = pc.index_in(table.column("parent_id"), value_set=names).combine_chunks()
    parents = parent.fill_null(-1).to_numpy()
    tasks = table.column("task").to_pylist()
    known = {(row, task) for row, task in zip(parents.tolist(), tasks, strict=True)}
    for row in np.flatnonzero(is_repeat[parents] & (parents >= 0)).tolist():
        is_repeat[row] = (int(first[parents[row]]), tasks[row]) in known
    return table.filter(pa.array(~is_repeat))


def _first_of_places(table: pa.Table) -> np.ndarray:
    """Return for each row the row that stands for its place, else itself, int64, (n,)."""
    first = np.arange(len(table))
    boxes = table.column("box_xyxy").to_pylist()
    columns = [table.column(name).to_pylist() for name in ("task", "label", "text")]
    tasks, labels, texts = columns
    is_of_source = _of_source(table)
    score = table.column("score").to_numpy(zero_copy_only=False).astype(np.float64)
    for rows in _images(table):
        in_rank = rows[order(is_of_source[rows], score[rows])]
        listed = in_rank.tolist()
        found = first_of_place(
            [boxes[row] for row in listed],
            [tasks[row] for row in listed],
            [labels[row] or texts[row] for row in listed],
        )
        first[in_rank] = in_rank[found]
    return first


def _of_source(table: pa.Table) -> np.ndarray:
    """Return which rows are labels of the source, or merged from one, bool, (n,)."""
    names, specialists, labels, texts, merged_from = (
        table.column(name).to_pylist()
        for name in ("id", "specialist", "label", "text", "merged_from")
    )
    words = [label or text for label, text in zip(labels, texts, strict=True)]
    given = {
        name: own
        for name, specialist, own in zip(names, specialists, words, strict=True)
        if specialist == SOURCE
    }
    return rows_of_source(zip(specialists, words, merged_from, strict=True), given)


def _images(table: pa.Table) -> Iterator[np.ndarray]:
    """Yield the rows of each image's regions of several tasks, kept and dropped ones apart."""
    has_box = pc.equal(pc.list_value_length(table.column("box_xyxy")), 4)
    is_region = pc.and_(pc.is_in(table.column("task"), pa.array(_REGIONS)), has_box)
    rows = np.flatnonzero(is_region.to_numpy(zero_copy_only=False).astype(bool))
    key = table.column("key").combine_chunks().dictionary_encode().indices.to_numpy()[rows]
    group = 2 * key + table.column("kept").to_numpy(zero_copy_only=False)[rows]
    by_group = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[by_group])) + 1
    yield from (one for one in np.split(rows[by_group], starts) if len(one) > 1)

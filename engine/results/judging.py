"""From layers to judged annotations: the rows of one shard, filter after filter.

Each filter sees only rows that no filter before it dropped. An annotation whose parent is dropped
is dropped, too, and a phrase with its region, and what rests on several annotations with any of
them (`Task.is_of_all`). No row is deleted: dropped rows keep their verdicts.
The same rules tell what a stage is asked about: what passed the filters before it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.annotation import to_columns
from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.tasks import RESTING_TASKS
from florilegium.engine.planning.graph import Graph, Node
from florilegium.engine.results.contract import MEASUREMENT_TYPE, VERDICT_TYPE
from florilegium.engine.results.layer import ANNOTATION_SCHEMA, Layer
from florilegium.engine.results.shard import Shard

PARENT_DROPPED = "parent_dropped"
LINEAGE = "lineage"
"""The name under which `parent_dropped` appears among the verdicts of filters."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """All annotations of a shard, dropped ones too.

    `table` has the columns of a layer, with `merged_from` filled in; `kept` is bool, shape
    (n,); `verdicts` one list per row, as stored; `drops` counts drops by (filter, reason).
    """

    table: pa.Table
    kept: np.ndarray
    verdicts: pa.Array
    drops: Mapping[tuple[str, str], int]


def judge(
    shard: Shard, graph: Graph, layers: Mapping[str, Layer], without: frozenset[int]
) -> Judged:
    """Judge all annotations of a shard, without those of the samples `without`."""
    numbers = [number for number in range(len(shard.records)) if number not in without]
    statements = statements_of(shard, graph.specialists, layers, numbers)
    every = [(node, None) for node in graph.filters]
    course = _judged(statements, every, layers, _region_ids(statements))
    return Judged(
        table=_with_confidence(
            _with_merges(course.statements.table, course.merged), course.confidence
        ),
        kept=course.statements.is_live,
        verdicts=_verdict_lists(course.judgements, len(course.statements)),
        drops=_count_drops(course.judgements),
    )


def passing(
    shard: Shard,
    specialists: Sequence[Node[Any]],
    filters: Sequence[tuple[Node[Any], Sequence[str]]],
    layers: Mapping[str, Layer],
    numbers: Sequence[int],
) -> dict[int, frozenset[str]]:
    """Return the ids of the annotations of some samples that filters keep, by sample number.

    Judged are those of the source and of `specialists`, by each filter those of its tasks.
    """
    statements = statements_of(shard, specialists, layers, numbers)
    # A phrase may be of a region that another specialist found, which is not here: it is no orphan.
    no_regions = np.full(len(statements), -1)
    statements = _judged(statements, filters, layers, no_regions).statements
    kept: dict[int, set[str]] = {number: set() for number in numbers}
    names = statements.texts("id")[statements.is_live]
    for number, name in zip(statements.sample[statements.is_live].tolist(), names, strict=True):
        kept[number].add(name)
    return {number: frozenset(one) for number, one in kept.items()}


@dataclass(frozen=True, kw_only=True)
class _Course:
    """The rows of some samples after all filters: what is still live, the verdicts by filter, the
    rows that were merged into others, and the confidence of those that were settled, else NaN."""

    statements: Statements
    judgements: list[tuple[str, Verdicts]]
    merged: dict[int, list[int]]
    confidence: np.ndarray


def statements_of(
    shard: Shard,
    specialists: Sequence[Node[Any]],
    layers: Mapping[str, Layer],
    numbers: Sequence[int],
) -> Statements:
    """Return the rows of some samples, all live: labels of the source, then those of stages."""
    table = _all_rows(shard, specialists, layers, numbers)
    sizes = [(record.width, record.height) for record in shard.records]
    sample = table.column("sample").to_numpy()
    image_wh = np.array(sizes, dtype=np.float64).reshape(-1, 2)[sample]
    is_live = np.ones(len(sample), dtype=bool)
    return Statements(table=table, sample=sample, image_wh=image_wh, is_live=is_live)


def _judged(
    statements: Statements,
    filters: Iterable[tuple[Node[Any], Collection[str] | None]],
    layers: Mapping[str, Layer],
    region_id: np.ndarray,
) -> _Course:
    """Judge rows by one filter after the other, each those of its tasks; of all for `None`.

    `region_id` as from `_region_ids`.
    """
    judgements: list[tuple[str, Verdicts]] = []
    merged: dict[int, list[int]] = {}
    confidence = np.full(len(statements), np.nan)
    is_settled = np.zeros(len(statements), dtype=bool)
    for node, tasks in filters:
        measurements = measurements_of(node, layers.get(node.name), statements)
        statements = statements.with_measurements(measurements)
        verdicts = node.stage.judge(statements)
        where = statements.is_live if tasks is None else statements.of_tasks(list(tasks))
        verdicts.restrict(where & ~is_settled)
        is_new = verdicts.is_settled
        confidence[is_new], is_settled = verdicts.confidence[is_new], is_settled | is_new
        judgements.append((node.name, verdicts))
        for kept, sources in verdicts.merged_from.items():
            merged.setdefault(kept, []).extend(sources)
        statements = statements.without(verdicts.is_dropped)
        orphans = _orphans(statements, region_id, is_settled)
        if orphans.any():
            lineage = Verdicts(len(statements))
            lineage.drop(orphans, PARENT_DROPPED)
            judgements.append((LINEAGE, lineage))
            statements = statements.without(orphans)
    return _Course(
        statements=statements, judgements=judgements, merged=merged, confidence=confidence
    )


def _all_rows(
    shard: Shard,
    specialists: Sequence[Node[Any]],
    layers: Mapping[str, Layer],
    numbers: Sequence[int],
) -> pa.Table:
    labels = [(number, label) for number in numbers for label in shard.labels[number]]
    columns = {
        "sample": pa.array([number for number, _ in labels], pa.int32()),
        **to_columns([label for _, label in labels]),
    }
    source = pa.Table.from_arrays(list(columns.values()), schema=ANNOTATION_SCHEMA)
    table = pa.concat_tables([source, *(layers[node.name].table for node in specialists)])
    sample = table.column("sample").to_numpy()
    order = np.argsort(sample, kind="stable")
    return table.take(order[np.isin(sample[order], numbers)]).combine_chunks()


def measurements_of(
    node: Node[Any], layer: Layer | None, statements: Statements
) -> dict[str, np.ndarray]:
    """Return a filter's stored measurements in the order of the rows, NaN where there is none."""
    if layer is None:
        return {}
    rows = layer.table
    keys = zip(
        rows.column("sample").to_pylist(), rows.column("annotation_id").to_pylist(), strict=True
    )
    position = {key: index for index, key in enumerate(keys)}
    wanted = zip(statements.sample.tolist(), statements.texts("id"), strict=True)
    found = np.fromiter((position.get(key, -1) for key in wanted), np.int64, len(statements))
    numbers = {}
    for name in node.stage.measured:
        stored = rows.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
        numbers[name] = np.append(stored, np.nan)[found]
    return numbers


def _orphans(statements: Statements, region_id: np.ndarray, is_settled: np.ndarray) -> np.ndarray:
    """Return live rows with a dropped ancestor, bool, shape (n,); no settled region is one.

    A phrase has two ancestors: a caption, its parent, and a region with the same box and label.
    It is an orphan when all regions with this box and label are dropped, also when they were
    merged into a region with another box: the phrase keeps the box that its specialist predicted.
    An annotation of a task that is true because all are that it was merged from has those as
    ancestors, too.
    """
    children = np.flatnonzero(statements.parent >= 0)
    parents = statements.parent[children]
    resting, supports = _supports(statements)
    kind = statements.texts("kind")
    is_region = (kind == "region") & (region_id >= 0)
    grounded = np.flatnonzero((kind == "phrase") & np.isin(region_id, region_id[is_region]))
    is_kept = statements.is_live.copy()
    # Each round drops what was made from rows that the round before dropped.
    while True:
        is_orphan = np.zeros(len(statements), dtype=bool)
        is_orphan[children] = ~is_kept[parents]
        is_orphan[resting[~is_kept[supports]]] = True
        kept_ids = region_id[is_region & is_kept]
        is_orphan[grounded] |= ~np.isin(region_id[grounded], kept_ids)
        is_orphan[is_settled & (kind == "region")] = False
        if not (is_kept & is_orphan).any():
            return statements.is_live & ~is_kept
        is_kept &= ~is_orphan


def _supports(statements: Statements) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that rest on others, and those others, int64, (pairs,) each."""
    rows = np.flatnonzero(np.isin(statements.task.astype(str), RESTING_TASKS))
    if not len(rows):
        return rows, rows
    lists = statements.table.column("merged_from").combine_chunks().take(pa.array(rows))
    resting = np.repeat(rows, lists.value_lengths().to_numpy(zero_copy_only=False))
    supports = statements.rows_of(statements.sample[resting].tolist(), lists.flatten().to_pylist())
    is_here = supports >= 0
    return resting[is_here], supports[is_here]


def _region_ids(statements: Statements) -> np.ndarray:
    """Give the rows of a sample with the same box and label one number, -1 without a box, (n,)."""
    region_id = np.full(len(statements), -1)
    has_box = ~np.isnan(statements.box_xyxy[:, 0])
    if has_box.any():
        labels = statements.table.column("label").combine_chunks().dictionary_encode("encode")
        label = labels.indices.to_numpy()
        keys = np.column_stack([statements.sample, label, statements.box_xyxy])[has_box]
        region_id[has_box] = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    return region_id


def _with_merges(table: pa.Table, merged: Mapping[int, Sequence[int]]) -> pa.Table:
    if not merged:
        return table
    names = table.column("id").to_pylist()
    column = table.column("merged_from").to_pylist()
    for row, sources in merged.items():
        column[row] = [*column[row], *(names[source] for source in sources)]
    index = table.schema.get_field_index("merged_from")
    field = table.schema.field(index)
    return table.set_column(index, field, pa.array(column, field.type))


def _with_confidence(table: pa.Table, confidence: np.ndarray) -> pa.Table:
    """Return the table with the confidence of settled rows, NaN in the others."""
    is_settled = ~np.isnan(confidence)
    if not is_settled.any():
        return table
    index = table.schema.get_field_index("confidence")
    settled = pa.array(confidence, mask=~is_settled)
    return table.set_column(
        index, table.schema.field(index), pc.coalesce(settled, table.column(index))
    )


def _verdict_lists(judgements: Sequence[tuple[str, Verdicts]], count: int) -> pa.ListArray:
    """Return for each row its verdicts, in the order of the filters."""
    judged = [np.flatnonzero(verdicts.is_judged) for _, verdicts in judgements]
    by_filter = [_verdicts_of(*one, rows) for one, rows in zip(judgements, judged, strict=True)]
    entries = pa.concat_arrays([pa.array([], VERDICT_TYPE), *by_filter])
    row = np.concatenate([np.zeros(0, np.int64), *judged])
    by_row = entries.take(np.argsort(row, kind="stable"))
    return _as_lists(by_row, np.bincount(row, minlength=count))


def _verdicts_of(name: str, verdicts: Verdicts, rows: np.ndarray) -> pa.StructArray:
    """Return the verdicts of one filter on these rows, of `VERDICT_TYPE`."""
    reason = verdicts.reason[rows]
    columns = [
        pa.repeat(name, len(rows)),
        pa.array(reason == "", pa.bool_()),
        pa.array(reason, pa.string()),
        _measurement_lists(verdicts.measurements, rows),
    ]
    return pa.StructArray.from_arrays(columns, fields=list(VERDICT_TYPE))


def _measurement_lists(measurements: Mapping[str, np.ndarray], rows: np.ndarray) -> pa.ListArray:
    """Return the named numbers of each of these rows, without those that are NaN."""
    values = np.full((len(rows), len(measurements)), np.nan)
    for index, column in enumerate(measurements.values()):
        values[:, index] = column[rows]
    is_number = ~np.isnan(values)
    names = pa.array(list(measurements), pa.string()).take(np.nonzero(is_number)[1])
    entries = [names, pa.array(values[is_number])]
    return _as_lists(
        pa.StructArray.from_arrays(entries, fields=list(MEASUREMENT_TYPE)), is_number.sum(axis=1)
    )


def _as_lists(entries: pa.Array, lengths: np.ndarray) -> pa.ListArray:
    """Cut entries into one list per row."""
    offsets = np.append(0, np.cumsum(lengths)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), entries)


def _count_drops(judgements: Sequence[tuple[str, Verdicts]]) -> dict[tuple[str, str], int]:
    drops: dict[tuple[str, str], int] = {}
    for name, verdicts in judgements:
        for reason in verdicts.reason[verdicts.is_dropped].tolist():
            drops[name, reason] = drops.get((name, reason), 0) + 1
    return drops

"""From layers to judged annotations: the rows of one shard, filter after filter.

Each filter sees only what is still live. What was made from a dropped annotation is dropped
with it, a phrase with its region. Nothing is deleted: a dropped row keeps its verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.annotation import to_columns
from engine.core.judgement import Statements, Verdicts
from engine.planning.graph import Graph, Node
from engine.records.contract import MEASUREMENT_TYPE, VERDICT_TYPE
from engine.records.layer import ANNOTATION_SCHEMA, Layer
from engine.records.shard import Shard

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
    """Judge everything said about a shard, leaving out the samples `without`."""
    table = _everything(shard, graph.specialists, layers, without)
    sizes = [(record.width, record.height) for record in shard.records]
    sample = table.column("sample").to_numpy()
    image_wh = np.array(sizes, dtype=np.float64).reshape(-1, 2)[sample]
    statements = Statements(
        table=table, sample=sample, image_wh=image_wh, is_live=np.ones(len(sample), dtype=bool)
    )
    place = _places(statements)
    spoken: list[tuple[str, Verdicts]] = []
    merged: dict[int, list[int]] = {}
    for node in graph.filters:
        measurements = _measurements(node, layers.get(node.name), statements)
        statements = statements.with_measurements(measurements)
        verdicts = node.stage.judge(statements)
        verdicts.restrict(statements.is_live)
        spoken.append((node.name, verdicts))
        for kept, sources in verdicts.merged_from.items():
            merged.setdefault(kept, []).extend(sources)
        statements = statements.without(verdicts.is_dropped)
        orphans = _orphans(statements, place)
        if orphans.any():
            lineage = Verdicts(len(statements))
            lineage.drop(orphans, PARENT_DROPPED)
            spoken.append((LINEAGE, lineage))
            statements = statements.without(orphans)
    return Judged(
        table=_with_merges(table, merged),
        kept=statements.is_live,
        verdicts=_verdict_lists(spoken, len(statements)),
        drops=_count_drops(spoken),
    )


def _everything(
    shard: Shard,
    specialists: Sequence[Node[Any]],
    layers: Mapping[str, Layer],
    without: frozenset[int],
) -> pa.Table:
    labels = [label for said in shard.labels for label in said]
    numbers = [number for number, said in enumerate(shard.labels) for _ in said]
    columns = {"sample": pa.array(numbers, pa.int32()), **to_columns(labels)}
    source = pa.Table.from_arrays(list(columns.values()), schema=ANNOTATION_SCHEMA)
    table = pa.concat_tables([source, *(layers[node.name].table for node in specialists)])
    sample = table.column("sample").to_numpy()
    order = np.argsort(sample, kind="stable")
    return table.take(order[~np.isin(sample[order], list(without))]).combine_chunks()


def _measurements(
    node: Node[Any], layer: Layer | None, statements: Statements
) -> dict[str, np.ndarray]:
    """Bring a filter's stored numbers into the order of the rows."""
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


def _orphans(statements: Statements, place: np.ndarray) -> np.ndarray:
    """Return live rows with a dropped ancestor, bool, shape (n,).

    A phrase is made from a caption, its parent, and from a region, whose box and label it
    bears: where every region with them is dropped, the phrase is an orphan too. That holds for
    a region merged into another as well, unless the other has the same box: the phrase's box
    is not moved, for then it would not be what its specialist said.
    """
    is_live = statements.is_live.copy()
    parent = statements.parent
    has_parent = parent >= 0
    is_region = (statements.texts("kind") == "region") & (place >= 0)
    is_grounded = (statements.texts("kind") == "phrase") & np.isin(place, place[is_region])
    while True:
        has_region = np.isin(place, place[is_region & is_live])
        is_orphaned = (has_parent & ~is_live[parent]) | (is_grounded & ~has_region)
        if not (is_live & is_orphaned).any():
            return statements.is_live & ~is_live
        is_live &= ~is_orphaned


def _places(statements: Statements) -> np.ndarray:
    """Number alike the rows of one sample with the same box and label, -1 without a box, (n,)."""
    place = np.full(len(statements), -1)
    has_box = ~np.isnan(statements.box_xyxy[:, 0])
    if has_box.any():
        labels = statements.table.column("label").combine_chunks().dictionary_encode("encode")
        label = labels.indices.to_numpy()
        keys = np.column_stack([statements.sample, label, statements.box_xyxy])[has_box]
        place[has_box] = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    return place


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


def _verdict_lists(spoken: Sequence[tuple[str, Verdicts]], count: int) -> pa.ListArray:
    """Return for each row the verdicts on it, in the order in which they were spoken."""
    judged = [np.flatnonzero(verdicts.is_judged) for _, verdicts in spoken]
    said = [_spoken_by(*one, rows) for one, rows in zip(spoken, judged, strict=True)]
    entries = pa.concat_arrays([pa.array([], VERDICT_TYPE), *said])
    row = np.concatenate([np.zeros(0, np.int64), *judged])
    by_row = entries.take(np.argsort(row, kind="stable"))
    return _as_lists(by_row, np.bincount(row, minlength=count))


def _spoken_by(name: str, verdicts: Verdicts, rows: np.ndarray) -> pa.StructArray:
    """Return what one filter said of these rows, of `VERDICT_TYPE`."""
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
    for place, column in enumerate(measurements.values()):
        values[:, place] = column[rows]
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


def _count_drops(spoken: Sequence[tuple[str, Verdicts]]) -> dict[tuple[str, str], int]:
    drops: dict[tuple[str, str], int] = {}
    for name, verdicts in spoken:
        for reason in verdicts.reason[verdicts.is_dropped].tolist():
            drops[name, reason] = drops.get((name, reason), 0) + 1
    return drops

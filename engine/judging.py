"""From layers to judged annotations: the rows of one shard, filter after filter.

Each filter sees only what is still live. What was made from a dropped annotation is dropped
with it. Nothing is deleted: a dropped row keeps its verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from engine.annotation import to_columns
from engine.graph import Graph, Node
from engine.judgement import Statements, Verdicts
from engine.layer import ANNOTATION_SCHEMA, Layer
from engine.shard import Shard

PARENT_DROPPED = "parent_dropped"
LINEAGE = "lineage"
"""The name under which `parent_dropped` appears among the verdicts of filters."""

VERDICT_TYPE = pa.struct(
    [
        ("filter", pa.string()),
        ("keep", pa.bool_()),
        ("reason", pa.string()),
        ("measurement", pa.list_(pa.struct([("name", pa.string()), ("value", pa.float64())]))),
    ]
)


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
        orphans = _orphans(statements)
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


def _orphans(statements: Statements) -> np.ndarray:
    """Return live rows with a dropped ancestor, bool, shape (n,)."""
    is_live = statements.is_live.copy()
    parent = statements.parent
    has_parent = parent >= 0
    while True:
        orphans = is_live & has_parent & ~is_live[parent]
        if not orphans.any():
            return statements.is_live & ~is_live
        is_live &= ~orphans


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


def _verdict_lists(spoken: Sequence[tuple[str, Verdicts]], count: int) -> pa.Array:
    """Return for each row the verdicts on it, in the order in which they were spoken."""
    lists: list[list[dict[str, object]]] = [[] for _ in range(count)]
    for name, verdicts in spoken:
        numbers = {key: column.tolist() for key, column in verdicts.measurements.items()}
        for row in np.flatnonzero(verdicts.is_judged).tolist():
            measured = [(key, column[row]) for key, column in numbers.items()]
            lists[row].append(
                {
                    "filter": name,
                    "keep": verdicts.reason[row] == "",
                    "reason": verdicts.reason[row],
                    "measurement": [
                        {"name": key, "value": value} for key, value in measured if value == value
                    ],
                }
            )
    return pa.array(lists, pa.list_(VERDICT_TYPE))


def _count_drops(spoken: Sequence[tuple[str, Verdicts]]) -> dict[tuple[str, str], int]:
    drops: dict[tuple[str, str], int] = {}
    for name, verdicts in spoken:
        for reason in verdicts.reason[verdicts.is_dropped].tolist():
            drops[name, reason] = drops.get((name, reason), 0) + 1
    return drops

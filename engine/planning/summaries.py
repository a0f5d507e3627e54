"""What is known of each shard of an index without its entries: a row for each, read in one go."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.planning.index import Index

SUMMARY = pa.schema(
    [
        ("number", pa.int64()),
        ("source", pa.int32()),
        ("inputs", pa.int64()),
        ("is_packed", pa.bool_()),
        ("inputs_digest", pa.string()),
        ("location", pa.string()),
    ]
)


def summarized(index: Index, names: pa.Array) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """Return what is known of the shards of an index, and the rows where they begin."""
    columns: dict[str, list[Any]] = {name: [] for name in SUMMARY.names}
    del columns["is_packed"]
    rows: list[int] = []
    digest = blake2b(digest_size=16)
    position = 0
    for table in index.tables():
        shards = table["shard"].to_numpy()
        sources = pc.index_in(table["source"], names).fill_null(-1).to_numpy()
        bounds = np.flatnonzero(np.diff(shards, prepend=shards[:1] - 1)).tolist()
        ends, data = _lines(table)
        for start, stop in zip(bounds, [*bounds[1:], table.num_rows], strict=True):
            number = int(shards[start])
            if not columns["number"] or columns["number"][-1] != number:
                if columns["number"]:
                    columns["inputs_digest"].append(digest.hexdigest())
                digest = blake2b(digest_size=16)
                columns["number"].append(number)
                columns["source"].append(int(sources[start]))
                columns["inputs"].append(0)
                columns["location"].append(table["location"][start].as_py())
                rows.append(position + start)
            columns["inputs"][-1] += stop - start
            digest.update(data[ends[start] : ends[stop]])
        position += table.num_rows
    if columns["number"]:
        columns["inputs_digest"].append(digest.hexdigest())
    fields = [field for field in SUMMARY if field.name in columns]
    summary = pa.table(columns, schema=pa.schema(fields))
    is_ours = pc.greater_equal(summary["source"], 0)
    return summary.filter(is_ours), np.array(rows, np.int64)[is_ours.to_numpy()]


def _lines(table: pa.Table) -> tuple[npt.NDArray[np.int32], memoryview]:
    """Return what `digest_of` reads of each entry (`ShardSpec.inputs_digest`), one after the other,
    and where each begins."""
    texts = [table["key"], table["location"], table["signature"]]
    numbers = [table[name].cast(pa.string()) for name in ("start", "stop")]
    lines = pc.binary_join_element_wise(*texts, *numbers, "\n").combine_chunks()
    lengths = pc.binary_length(lines).to_numpy().astype(">u8")
    sizes = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(8), len(lengths), [None, pa.py_buffer(lengths)]
    )
    whole = pc.binary_join_element_wise(sizes.cast(pa.binary()), lines.cast(pa.binary()), b"")
    _, ends, data = whole.buffers()
    return np.frombuffer(ends, np.int32)[: len(whole) + 1], memoryview(data or b"")

"""The entries of shards in a manifest, as values and as text; the text is made by columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from json.encoder import encode_basestring
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.results.publication import to_json
from florilegium.engine.results.shard_table import ShardTable

_TOGETHER = 8192
"""Entries that become text together: some megabytes."""
_COLUMNS = (
    *("name", "number", "samples", "samples_digest", "annotations_kept", "annotations_dropped"),
    *("tar_bytes", "tar_sha256", "parquet_bytes", "parquet_sha256", "stats_bytes", "stats_sha256"),
)
_TO_ESCAPE = r'[\x00-\x1f"\\]'


def entries(shards: ShardTable) -> list[dict[str, Any]]:
    """Return the entry of each shard."""
    letters = shards.lengths("dead_letters")
    return [_entry(*row) for row in zip(*map(shards.column, _COLUMNS), letters, strict=True)]


def entry_texts(shards: ShardTable, *, indent: int | None) -> Iterator[memoryview]:
    """Yield the parts of what `to_json` makes of the entries in a list, without its brackets;
    `indent` is that of the document."""
    marks = (f"%({place})" for place in range(len(_COLUMNS) + 1))
    text = to_json(_entry(*marks), indent=indent).decode()
    between = ","
    if indent is not None:
        text = "  " + text.replace("\n", "\n  ")
        between = ",\n"
    literals = re.split(r'"%\((\d+)\)"', text)
    order, literals = [int(place) for place in literals[1::2]], literals[::2]
    table = shards.table.select([*_COLUMNS, "dead_letters"])
    before = b""
    for batch in filter(len, table.to_batches(max_chunksize=_TOGETHER)):
        columns = [_texts(column) for column in batch.columns]
        pieces = [
            one
            for literal, place in zip(literals[:-1], order, strict=True)
            for one in (literal, columns[place])
        ]
        lines = pc.binary_join_element_wise(*pieces, literals[-1], "")
        whole = pc.binary_join(pa.ListArray.from_arrays([0, len(lines)], lines), between)[0]
        yield memoryview(before)
        yield memoryview(whole.as_buffer())
        before = between.encode()


def _texts(column: pa.Array) -> pa.Array:
    """Return how JSON has each value of a column; of a list, its length."""
    if pa.types.is_list(column.type):
        return pc.list_value_length(column).cast(pa.string())
    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    if pc.any(pc.match_substring_regex(column, _TO_ESCAPE)).as_py():
        return pa.array(map(encode_basestring, column.to_pylist()), pa.string())
    return pc.binary_join_element_wise('"', column, '"', "")


def _entry(*values: Any) -> dict[str, Any]:
    name, number, samples, digest, kept, dropped, *files, letters = values
    return {
        "name": name,
        "number": number,
        "samples": samples,
        "samples_digest": digest,
        "annotations_kept": kept,
        "annotations_dropped": dropped,
        "dead_letters": letters,
        **{
            file: {"bytes": files[2 * place], "sha256": files[2 * place + 1]}
            for place, file in enumerate(("tar", "parquet", "stats"))
        },
    }

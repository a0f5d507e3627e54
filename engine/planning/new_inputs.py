"""Keys and shards of the items that no index has; they were put aside until all were listed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.planning.new_keys import NewKeys, slugs_of
from florilegium.engine.sources.source import Source, item_schema
from florilegium.engine.storage.spool import Spool

NEW_INPUTS = pa.schema([*item_schema(), ("key", pa.string())])
"""Items with their keys, or what these are made from."""


def with_slugs(items: pa.Table, *, is_packed: bool) -> pa.Table:
    """Add the column `key`: of packs it is made later."""
    locations = items["location"].combine_chunks()
    keys = pa.array([""] * len(items), pa.string()) if is_packed else slugs_of(locations)
    return items.append_column("key", keys).cast(NEW_INPUTS)


def with_keys(spool: Spool, keys: NewKeys, *, is_packed: bool) -> Iterator[pa.Table]:
    """Yield the new items of a source with their keys."""
    place = spool.schema.get_field_index("key")
    if is_packed:
        for table in spool.tables():
            own = pa.array(keys.of_packs(table["location"].to_pylist()), pa.string())
            yield table.set_column(place, "key", own)
        return
    rows, found = keys.of_files(spool)
    start = 0
    for table in spool.tables():
        stop = start + table.num_rows
        first, last = np.searchsorted(rows, (start, stop))
        if first < last:
            is_other = np.zeros(table.num_rows, np.bool_)
            is_other[rows[first:last] - start] = True
            others = pa.array(found[first:last], pa.string())
            slugs = table["key"].combine_chunks()
            own = pc.replace_with_mask(slugs, pa.array(is_other), others)
            table = table.set_column(place, "key", own)
        yield table
        start = stop


class Filling:
    """Fills shards with new items in their order: so many at most, of so many bytes together as far
    as they are known."""

    def __init__(self, number: int, most: int, source: Source[Any]) -> None:
        self.number = number
        self._most = most
        self._most_bytes = source.limits.max_shard_bytes
        self._count = 0
        self._bytes = 0

    def shards_of(self, sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the shards of the next items."""
        numbers = np.empty(len(sizes), np.int64)
        ends = np.cumsum(sizes)
        start = 0
        while start < len(sizes):
            before = int(ends[start - 1]) if start else 0
            room = before + self._most_bytes - self._bytes
            stop = int(np.searchsorted(ends, room, side="right"))
            stop = min(max(stop, start + (not self._count)), start + self._most - self._count)
            stop = min(stop, len(sizes))
            numbers[start:stop] = self.number
            self._count += stop - start
            self._bytes += int(ends[stop - 1]) - before if stop > start else 0
            if stop < len(sizes):
                self.number += 1
                self._count = self._bytes = 0
            start = stop
        return numbers

"""Inputs that are gone from a source keep their shards as long as they may come back.

Rows of two indexes are found by hashes and merged as they are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pyarrow as pa

from florilegium.engine.core.hashes import Hashes, gathered, hashes_of, is_among, mixed
from florilegium.engine.planning.index import SCHEMA, Index, read_index, written
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.spool import Spool

_WINDOW = 256
"""Shards whose rows are merged together."""


def keep_places(output: Folder, before: Index | None) -> None:
    """Add to the stored index what an earlier one has beyond it: inputs that are gone from the
    source keep their shards while it is open whether they will be missed. One whose key another
    input has now would come back as a second sample of that key: it gets a new one instead."""
    now = read_index(output)
    if before is None or now is None or before.shard_size != now.shard_size:
        return
    known = gathered(map(_identities, now.tables()), len(now))
    keys = gathered(map(_keys, now.tables(["key"])), len(now))
    known.sort()
    keys.sort()
    with closing(Spool(SCHEMA)) as gone:
        for table in before.tables():
            is_known = is_among(_identities(table), known) | is_among(_keys(table), keys)
            gone.add(table.filter(pa.array(~is_known)))
        if gone.rows:
            rows = _merged(now.tables(), gone.tables())
            written(rows, shard_size=now.shard_size).publish(output)


def _identities(table: pa.Table) -> Hashes:
    """Return hashes of what the rows are known by."""
    sources = hashes_of(table["source"])
    return mixed(hashes_of(table["location"], sources), table["start"].to_numpy())


def _keys(table: pa.Table) -> Hashes:
    return hashes_of(table["key"])


def _merged(*sides: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows of several sides, each in the order of shards, in that order."""
    heads = [_Head(side) for side in sides]
    while any(head.shard is not None for head in heads):
        first = min(head.shard for head in heads if head.shard is not None)
        pieces = [piece for head in heads for piece in head.before(first + _WINDOW)]
        rows = pa.concat_tables(pieces).combine_chunks()
        yield rows.take(pa.array(np.argsort(rows["shard"].to_numpy(), kind="stable")))


class _Head:
    """Rows in the order of shards, of which the first ones are taken."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables = tables
        self._rows = next(tables, None)

    @property
    def shard(self) -> int | None:
        """The shard of the next row, if there is one."""
        return None if self._rows is None else self._rows["shard"][0].as_py()

    def before(self, shard: int) -> Iterator[pa.Table]:
        """Take the rows of all shards before one."""
        while self._rows is not None:
            count = int(np.searchsorted(self._rows["shard"].to_numpy(), shard))
            yield self._rows.slice(0, count)
            if count < self._rows.num_rows:
                self._rows = self._rows.slice(count)
                return
            self._rows = next(self._tables, None)

"""Which listed inputs an index has already, and where; found by hashes, 20 bytes for each input.

A hash of identity and a hash of content decide that an input is unchanged. Where they do not agree,
or several inputs are alike, rows are compared. No order is expected of the listing: an input that
is listed elsewhere than before is found, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.hashes import Hashes, hashes_of, mixed, numbered
from florilegium.engine.planning.index import SCHEMA, Index
from florilegium.engine.storage.spool import Spool

BUCKET = 65_536
"""Rows of the index that are put in order together, at least."""
MOST_BUCKETS = 100
"""Each may have an open file, of which a process may have 256 on some systems."""
_CHANGED = pa.schema(
    [("row", pa.int64()), ("turn", pa.int64()), *(SCHEMA.field(n) for n in range(3, 7))]
)
Rows = npt.NDArray[np.integer]


class KnownInputs:
    """The inputs of an index, and which of them are listed again.

    `names` are those of the sources in the index, in their order.
    """

    def __init__(self, index: Index, names: Sequence[str]) -> None:
        self.last_shard = -1
        self._index = index
        self._names = pa.array(names, pa.string())
        count = len(index)
        self._row_bits = np.uint64((1 << count.bit_length()) - 1)
        self._ordered = np.empty(count, np.uint64)  # the hash of an identity, and its row
        self._content = np.empty(count, np.uint64)
        self._turns: Rows = np.full(count, -1, np.int32 if count < 1 << 31 else np.int64)
        self._bounds = self._read()
        self._ordered.sort()
        self._changed = [Spool(_CHANGED) for _ in self._bounds[1:]]
        self._listed = 0
        self._has_changed = False

    def _read(self) -> Rows:
        """Take the hashes of all rows; return where buckets of whole shards begin and end."""
        bounds, start = [0], 0
        least = max(BUCKET, -(-len(self) // MOST_BUCKETS))
        for table in self._index.tables():
            stop = start + table.num_rows
            sources = pc.index_in(table["source"], self._names).fill_null(-1).to_numpy()
            identities, self._content[start:stop] = _hashes(sources, table)
            rows = np.arange(start, stop, dtype=np.uint64)
            self._ordered[start:stop] = identities & ~self._row_bits | rows
            shards = table["shard"].to_numpy()
            firsts = np.flatnonzero(np.diff(shards, prepend=self.last_shard)) + start
            bounds += firsts[firsts >= bounds[-1] + least][:1].tolist()
            self.last_shard, start = int(shards[-1]), stop
        return np.array([*bounds, start] if start else [0])

    def __len__(self) -> int:
        return len(self._index)

    def find(self, source: int, items: pa.Table) -> npt.NDArray[np.bool_]:
        """Note which items of a source were there before; return which these are."""
        rows, is_changed = self._rows_of(source, items)
        places = np.flatnonzero(rows >= 0)
        turns, self._listed = places + self._listed, self._listed + len(rows)
        _, firsts = np.unique(rows[places], return_index=True)
        is_again = np.ones(len(places), np.bool_)
        is_again[firsts[self._turns[rows[places[firsts]]] < 0]] = False
        self._turns[rows[places[~is_again]]] = turns[~is_again]
        is_own = is_changed[places] | is_again
        self._set_aside(rows[places[is_own]], turns[is_own], items.take(pa.array(places[is_own])))
        found: npt.NDArray[np.bool_] = rows >= 0
        return found

    def _set_aside(self, rows: Rows, turns: Rows, items: pa.Table) -> None:
        """Keep items that are not as the index has them, or that are listed twice."""
        if not len(rows):
            return
        self._has_changed = True
        columns = [pa.array(rows), pa.array(turns), *(items[name] for name in _CHANGED.names[2:])]
        table = pa.table(columns, schema=_CHANGED)
        buckets = np.searchsorted(self._bounds, rows, side="right") - 1
        for bucket in np.unique(buckets):
            self._changed[bucket].add(table.filter(pa.array(buckets == bucket)))

    def _rows_of(self, source: int, items: pa.Table) -> tuple[Rows, npt.NDArray[np.bool_]]:
        """Return the row of each item, or -1, and which items are not as their rows are."""
        rows = np.full(items.num_rows, -1, np.int64)
        is_changed = np.zeros(items.num_rows, np.bool_)
        if not len(self._ordered):
            return rows, is_changed
        identities, contents = _hashes(np.full(items.num_rows, source), items)
        wanted = identities & ~self._row_bits
        order = np.argsort(wanted)  # neighbours are found near each other
        firsts = np.empty(len(wanted), np.int64)
        firsts[order] = np.searchsorted(self._ordered, wanted[order])
        at = self._ordered[np.minimum(firsts, len(self._ordered) - 1)]
        after = self._ordered[np.minimum(firsts + 1, len(self._ordered) - 1)]
        is_there = (at & ~self._row_bits == wanted) & (firsts < len(self._ordered))
        is_alone = (after & ~self._row_bits != wanted) | (firsts + 1 >= len(self._ordered))
        row = (at & self._row_bits).astype(np.int64)
        is_same = is_there & is_alone
        is_same[is_same] = self._content[row[is_same]] == contents[is_same]
        rows[is_same] = row[is_same]
        doubtful = np.flatnonzero(is_there & ~is_same)
        if len(doubtful):
            found = self._compared(source, items.take(pa.array(doubtful)), wanted[doubtful])
            rows[doubtful] = found
            is_changed[doubtful] = found >= 0
        return rows, is_changed

    def _compared(self, source: int, items: pa.Table, wanted: Hashes) -> Rows:
        """Return the last row that is of the same input as each item, or -1."""
        firsts = np.searchsorted(self._ordered, wanted)
        counts = np.searchsorted(self._ordered, wanted | self._row_bits, side="right") - firsts
        owners = np.repeat(np.arange(len(wanted)), counts)
        nth = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows: Rows = (self._ordered[firsts[owners] + nth] & self._row_bits).astype(np.int64)
        order = np.argsort(rows, kind="stable")
        rows, owners = rows[order], owners[order]
        before, now = self._index.take(rows), items.take(pa.array(owners))
        is_same = pc.equal(before["source"], self._names[source])
        for name in ("location", "start"):
            is_same = pc.and_(is_same, pc.equal(before[name], now[name]))
        same = is_same.to_numpy()
        found = np.full(len(wanted), -1, np.int64)
        np.maximum.at(found, owners[same], rows[same])
        return found

    @property
    def are_all_listed(self) -> bool:
        """Whether every input of the index is listed, in the same order in its shard, and none of
        them is changed."""
        if self._has_changed or np.any(self._turns < 0):
            return False
        shard, turn, start = -1, -1, 0  # the last ones before a table
        for table in self._index.tables(["shard"]):
            stop = start + table.num_rows
            shards, turns = table["shard"].to_numpy(), self._turns[start:stop]
            if not _is_in_order(np.append(shard, shards), np.append(turn, turns)):
                return False
            shard, turn, start = shards[-1], turns[-1], stop
        return True

    def close_search(self) -> None:
        """Free what only `find` needs."""
        self._ordered = self._content = np.empty(0, np.uint64)

    def listed_keys(self) -> Iterator[pa.Table]:
        """Yield keys and sources of the inputs that are listed."""
        start = 0
        for table in self._index.tables(["source", "key"]):
            stop = start + table.num_rows
            yield table.filter(pa.array(self._turns[start:stop] >= 0))
            start = stop

    def listed(self) -> Iterator[pa.Table]:
        """Yield the rows of the index that are listed, as they are now: in the order of shards, and
        in each in that of the listing."""
        for bucket, (start, stop) in enumerate(zip(self._bounds, self._bounds[1:], strict=False)):
            rows = self._index.rows(start, stop)
            turns: Rows = self._turns[start:stop].astype(np.int64)
            for changed in _joined(self._changed[bucket]):
                rows, turns = _with_changed(rows, turns, changed, start)
            is_listed = turns >= 0
            if not is_listed.all():
                rows, turns = rows.filter(pa.array(is_listed)), turns[is_listed]
            shards = rows["shard"].to_numpy()
            if not _is_in_order(shards, turns):
                rows = rows.take(pa.array(np.lexsort((turns, shards))))
            yield rows

    def close(self) -> None:
        """Delete what was put aside."""
        for spool in self._changed:
            spool.close()


def _joined(spool: Spool) -> Iterator[pa.Table]:
    """Yield all rows of a spool as one table, if there are any."""
    if spool.rows:
        yield pa.concat_tables(spool.tables())


def _with_changed(
    rows: pa.Table, turns: Rows, changed: pa.Table, start: int
) -> tuple[pa.Table, Rows]:
    """Return rows with the items that replace some of them or are more of the same."""
    at = changed["row"].to_numpy() - start
    own = changed["turn"].to_numpy()
    kept = turns.copy()
    kept[at[turns[at] == own]] = -1
    new = rows.take(pa.array(at))
    for name in _CHANGED.names[2:]:
        new = new.set_column(new.schema.get_field_index(name), SCHEMA.field(name), changed[name])
    return pa.concat_tables([rows, new]), np.concatenate([kept, own])


def _is_in_order(shards: Rows, turns: Rows) -> bool:
    """Whether rows are in the order of shards, and in each in that of the listing."""
    steps = np.diff(shards)
    return bool(np.all((steps > 0) | (steps == 0) & (np.diff(turns) > 0)))


def _hashes(sources: Rows, items: pa.Table) -> tuple[Hashes, Hashes]:
    """Return hashes of what items are known by, and of these and their content."""
    places = mixed(numbered(sources), items["start"].to_numpy())
    identities = hashes_of(items["location"], places)
    contents = mixed(hashes_of(items["signature"], identities), items["stop"].to_numpy())
    return identities, contents

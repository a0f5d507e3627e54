"""The index of a dataset: which input lives in which shard, a row for each, on disk.

It is read and written by row groups, for it may have a hundred million rows. Rows are in the order
of shards. A file that is open stays what it was when another one is published.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from florilegium.engine.core.keys import is_key
from florilegium.engine.sources.source import Item
from florilegium.engine.storage.documents import damaged
from florilegium.engine.storage.failure import failing
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.parquet import check_seal, seal, sealed_schema
from florilegium.engine.storage.spool import regrouped

INDEX_NAME = "index.parquet"
GROUP = 32_768
"""Rows of a row group."""
SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("shard", pa.int64()),
        ("key", pa.string()),
        ("location", pa.string()),
        ("signature", pa.string()),
        ("start", pa.int64()),
        ("stop", pa.int64()),
    ]
)
_PLAIN_KEY = "^[0-9A-Za-z_-]{1,200}$"
_CURE = "delete it, and the next build shares the source out anew"
_HELD = 4
"""Row groups that stay in memory, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An item in its shard, with a key that is unique in the dataset.

    Where an item holds many inputs, the key is what the key of each of them begins with.
    `source` is the source's URL and a number, for one may be given twice: `URL#1`.
    """

    source: str
    shard: int
    key: str
    item: Item


class Index:
    """An index that is open; `shard_size` is the one that it was made with.

    Raises `StorageError` where rows are read that are damaged.
    """

    def __init__(self, file: IO[bytes], output: Folder | None = None) -> None:
        weakref.finalize(self, file.close)
        self._file = file
        self._output = output
        with self._reading():
            check_seal(file)
            file.seek(0)
            self._parquet = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
            schema = self._parquet.schema_arrow
            if not schema.equals(SCHEMA):
                raise ValueError("its columns are others")
            self.shard_size = int(schema.metadata[b"shard_size"])
            if not self.shard_size >= 0:
                raise ValueError("its shard size is no size")
        metadata = self._parquet.metadata
        sizes = [metadata.row_group(one).num_rows for one in range(metadata.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])
        # One of an earlier version may have groups of a million rows.
        self._most_held = _HELD if max(sizes, default=0) <= GROUP else 1
        self._held: dict[int, pa.Table] = {}

    def __len__(self) -> int:
        return int(self._starts[-1])

    def tables(self, columns: Sequence[str] = tuple(SCHEMA.names)) -> Iterator[pa.Table]:
        """Yield all rows, in tables of a row group at most."""
        last = -1
        with self._reading():
            for batch in self._parquet.iter_batches(GROUP, columns=[*columns], use_threads=False):
                table = _checked(pa.Table.from_batches([batch]).select(columns))
                if "shard" in columns and table.num_rows:
                    shards = table["shard"].to_numpy()
                    if shards[0] < last or np.any(np.diff(shards) < 0):
                        raise ValueError("its rows are not in the order of shards")
                    last = shards[-1]
                yield table

    def rows(self, start: int, stop: int) -> pa.Table:
        """Return the rows in a range."""
        return self.take(np.arange(start, stop))

    def take(self, rows: npt.NDArray[np.integer]) -> pa.Table:
        """Return rows by their numbers, which are in ascending order."""
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        pieces = [SCHEMA.empty_table()]
        for group in np.unique(groups):
            wanted = rows[groups == group] - self._starts[group]
            if np.all(np.diff(wanted) == 1):  # neighbours need no copy
                pieces.append(self._group(int(group)).slice(wanted[0], len(wanted)))
            else:
                pieces.append(self._group(int(group)).take(pa.array(wanted)))
        return pa.concat_tables(pieces)

    def sources(self) -> set[str]:
        """Return the names of all sources."""
        return set(self._distinct("source"))

    def shards(self) -> set[int]:
        """Return the numbers of all shards."""
        return set(self._distinct("shard"))

    def _distinct(self, column: str) -> Iterator[Any]:
        for table in self.tables([column]):
            yield from table[column].unique().to_pylist()

    def rows_of(self, shard: int) -> pa.Table:
        """Return the rows of a shard."""
        first, last = self._shard_rows.get(shard, (0, 0))
        return self.rows(first, last)

    @cached_property
    def _shard_rows(self) -> dict[int, tuple[int, int]]:
        """The rows of each shard: the first one and the one after the last."""
        found: dict[int, tuple[int, int]] = {}
        start = 0
        for table in self.tables(["shard"]):
            shards, firsts = np.unique(table["shard"].to_numpy(), return_index=True)
            bounds = [*(firsts + start).tolist(), start + table.num_rows]
            for shard, first, last in zip(shards.tolist(), bounds, bounds[1:], strict=False):
                found[shard] = (found.get(shard, (first, 0))[0], last)
            start += table.num_rows
        return found

    def entries(self) -> Iterator[Entry]:
        """Yield the rows as objects."""
        for table in self.tables():
            yield from entries_of(table)

    def publish(self, output: Folder) -> None:
        """Publish this index as that of a dataset.

        Raises:
            StorageError: it cannot be written.
        """
        self._file.seek(0)
        with output.publishing(INDEX_NAME) as file:
            shutil.copyfileobj(self._file, file, 1 << 20)

    def has_rows_of(self, other: Index) -> bool:
        """Whether two indexes have the same rows."""
        if len(self) != len(other):
            return False
        pairs = zip(regrouped(self.tables(), GROUP), regrouped(other.tables(), GROUP), strict=True)
        return all(one.equals(another) for one, another in pairs)

    def _group(self, number: int) -> pa.Table:
        if number not in self._held:
            while len(self._held) >= self._most_held:
                del self._held[next(iter(self._held))]
            with self._reading():
                table = _checked(self._parquet.read_row_group(number, use_threads=False))
            self._held[number] = table
        return self._held[number]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            if self._output is None:
                raise
            raise damaged(self._output, INDEX_NAME, error, cure=_CURE) from error


def _checked(table: pa.Table) -> pa.Table:
    """Return rows of an index that are what they have to be.

    Raises:
        ValueError: a value is missing, or a key is none.
    """
    table = table.replace_schema_metadata(None)
    if any(column.null_count for column in table.columns):
        raise ValueError("its columns are others")
    if "key" in table.column_names:
        keys = table["key"]
        for key in keys.filter(pc.invert(pc.match_substring_regex(keys, _PLAIN_KEY))).to_pylist():
            if not is_key(key):
                raise ValueError(f"{key!r:.200} is no key of a sample")
    return table


def entries_of(table: pa.Table) -> Iterator[Entry]:
    """Yield rows of an index as objects."""
    columns = [table.column(name).to_pylist() for name in SCHEMA.names]
    for source, shard, key, location, signature, start, stop in zip(*columns, strict=True):
        item = Item(location=location, signature=signature, start=start, stop=stop)
        yield Entry(source=source, shard=shard, key=key, item=item)


def read_index(output: Folder) -> Index | None:
    """Open the index of a dataset, or return `None` when there is none.

    Raises:
        StorageError: the index is damaged.
    """
    file = output.snapshot(INDEX_NAME)
    return None if file is None else Index(file, output)


def written(tables: Iterable[pa.Table], *, shard_size: int) -> Index:
    """Write rows, in the order of shards, into a file of their own that is not published.

    Raises:
        StorageError: the disk for temporary files is full.
    """
    schema = sealed_schema(SCHEMA.with_metadata({"shard_size": json.dumps(shard_size)}))
    options = {"compression": "zstd", "use_dictionary": ["source", "shard", "start", "stop"]}
    with failing("write", tempfile.gettempdir()), ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile())
        with pq.ParquetWriter(file, schema, write_page_checksum=True, **options) as writer:
            for table in regrouped(tables, GROUP):
                writer.write_table(table.cast(schema))
        seal(file)
        stack.pop_all()
    return Index(file)

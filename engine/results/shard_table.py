"""Finished shards as columns: half a kilobyte each and what was counted, where an object takes
several.

A table behaves as a sequence of `ShardStats`, which are made when they are asked for. It has what
the files of statistics have; besides, what is known of the files themselves (`TIMES`) and of what
the inputs were (`INPUTS`), where it is known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.results.publication import STATS, FileStats, ShardStats

FILES = {"tar": ".tar", "parquet": ".parquet", "stats": STATS}
"""The files of a shard and how they end."""
TIMES = tuple(f"{file}_modified" for file in FILES)
"""When each file was written, as its listing says; null where it was not listed since."""
INPUTS = ("inputs_digest", "source_reading")
"""What the shard's inputs were, and how they were read, when they gave its `reading`; null where
they are not those of the shard any more."""
_SIDES = pa.list_(pa.struct([("name", pa.string()), ("kept", pa.int64()), ("dropped", pa.int64())]))
_COUNTS = pa.list_(pa.struct([("name", pa.string()), ("count", pa.int64())]))
LETTER = pa.struct(
    [
        *((name, pa.string()) for name in ("key", "source", "stage", "reason", "message")),
        ("attempt", pa.int32()),
        ("traceback", pa.string()),
    ]
)
"""A dead letter, in the statistics of shards and in a dataset's own file."""
SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        *((name, pa.string()) for name in ("name", "recipe", "samples_digest", "reading")),
        *((name, pa.int64()) for name in ("samples", "annotations_kept", "annotations_dropped")),
        ("tasks", _SIDES),
        ("specialists", _SIDES),
        ("drops", _COUNTS),
        ("extensions", _COUNTS),
        ("dead_letters", pa.list_(LETTER)),
        *((f"{file}_bytes", pa.int64()) for file in FILES),
        *((f"{file}_sha256", pa.string()) for file in FILES),
        *((time, pa.float64()) for time in TIMES),
        *((name, pa.string()) for name in INPUTS),
    ]
)
_SCALARS = SCHEMA.names[: SCHEMA.get_field_index("tasks")]
_BATCH = 1024
"""Shards that become objects together, or columns."""


class ShardTable(Sequence[ShardStats]):
    """Finished shards, in order."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def of(cls, stats: Iterable[ShardStats]) -> ShardTable:
        """Return shards as columns; a table stays as it is."""
        if isinstance(stats, ShardTable):
            return stats
        table = TableOfShards()
        for one in stats:
            table.add(one)
        return table.whole()

    @classmethod
    def joined(cls, tables: Iterable[ShardTable]) -> ShardTable:
        """Return the shards of several tables, one table after the other."""
        return cls(pa.concat_tables([SCHEMA.empty_table(), *(one.table for one in tables)]))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, index: int) -> ShardStats: ...
    @overload
    def __getitem__(self, index: slice) -> ShardTable: ...
    def __getitem__(self, index: int | slice) -> ShardStats | ShardTable:
        if isinstance(index, slice):
            return self.take(list(range(len(self)))[index])
        number = range(len(self))[index]
        return _from_row(self.table.slice(number, 1).to_pylist()[0])

    def __iter__(self) -> Iterator[ShardStats]:
        for batch in self.table.to_batches(max_chunksize=_BATCH):
            yield from map(_from_row, batch.to_pylist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShardTable) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self.names))

    def column(self, name: str) -> list[Any]:
        """Return the values of a column."""
        values: list[Any] = self.table.column(name).to_pylist()
        return values

    @property
    def names(self) -> list[str]:
        """The names of the shards: the stems of their files."""
        return self.column("name")

    @property
    def bytes(self) -> int:
        """The bytes of all files of the shards."""
        return sum(pc.sum(self.table.column(f"{file}_bytes")).as_py() or 0 for file in FILES)

    def rows(self, *columns: str) -> Iterator[tuple[Any, ...]]:
        """Yield some columns of each shard."""
        for batch in self.table.select(list(columns)).to_batches(max_chunksize=_BATCH):
            yield from zip(*(one.to_pylist() for one in batch.columns), strict=True)

    def lengths(self, column: str) -> list[int]:
        """Return how many values the list of a column has, for each shard."""
        counts: list[int] = pc.list_value_length(self.table.column(column)).to_pylist()
        return counts

    def take(self, indices: Sequence[int] | np.ndarray) -> ShardTable:
        """Return the shards at these positions; all in their order are not copied."""
        wanted = np.asarray(indices, np.int64)
        if len(wanted) == len(self) and (wanted == np.arange(len(self))).all():
            return self
        return ShardTable(self.table.take(pa.array(wanted)))

    def sorted(self) -> ShardTable:
        """Return the shards in the order of their numbers."""
        return self.take(np.argsort(self.table.column("number").to_numpy(), kind="stable"))

    def named(self, names: Collection[str], *, are_others: bool = False) -> ShardTable:
        """Return the shards with these names, or with others."""
        mask = pc.is_in(self.table.column("name"), pa.array(sorted(names), pa.string()))
        return ShardTable(self.table.filter(pc.invert(mask) if are_others else mask))

    def with_columns(
        self, columns: Mapping[str, Sequence[Any] | pa.Array | pa.ChunkedArray]
    ) -> ShardTable:
        """Return the shards with other values in some columns."""
        table = self.table
        for name, values in columns.items():
            place = SCHEMA.get_field_index(name)
            if not isinstance(values, pa.ChunkedArray):
                values = pa.array(values, SCHEMA.types[place])
            table = table.set_column(place, SCHEMA.field(place), values)
        return ShardTable(table)

    def without_inputs(self) -> ShardTable:
        """Return the shards, of whose inputs nothing is known: others have them now."""
        return self.with_columns({name: [None] * len(self) for name in INPUTS})

    def sides(self, column: str) -> dict[str, dict[str, int]]:
        """Return the sums of `tasks` or `specialists`, by name."""
        summed = self._summed(column, ("kept", "dropped"))
        return {name: {"dropped": dropped, "kept": kept} for name, kept, dropped in summed}

    def counts(self, column: str) -> dict[str, int]:
        """Return the sums of `drops` or `extensions`, by name."""
        return dict(self._summed(column, ("count",)))

    def _summed(self, column: str, values: Sequence[str]) -> list[Any]:
        table = _flat(self.table.column(column))
        sums = table.group_by("name", use_threads=False).aggregate([(one, "sum") for one in values])
        columns = [sums.column(name) for name in ("name", *(f"{one}_sum" for one in values))]
        return sorted(zip(*(one.to_pylist() for one in columns), strict=True))

    @property
    def letters(self) -> pa.Table:
        """The dead letters of all shards, a row each, with the name of its shard."""
        letters, names = [], []
        for batch in self.table.select(["name", "dead_letters"]).to_batches():
            parents = pc.list_parent_indices(batch.column("dead_letters"))
            names.append(batch.column("name").take(parents))
            letters.append(pc.list_flatten(batch.column("dead_letters")))
        flat = _flat_structs(pa.chunked_array(letters, LETTER))
        return flat.add_column(0, "shard", pa.chunked_array(names, pa.string()))

    def dead_letters(self) -> Iterator[tuple[str, DeadLetter]]:
        """Yield the name of the shard and the letter, for each input that became no sample."""
        for batch in self.letters.to_batches(max_chunksize=_BATCH):
            for row in batch.to_pylist():
                yield row.pop("shard"), DeadLetter(**row)


NO_SHARDS = ShardTable(SCHEMA.empty_table())


class TableOfShards:
    """A table of shards that grows."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._tables: list[ShardTable] = []

    def add(self, stats: ShardStats, **known: Any) -> None:
        """Add a shard, with what is known of its files and inputs."""
        self._rows.append(_to_row(stats) | known)
        if len(self._rows) == _BATCH:
            self._close()

    def add_all(self, table: ShardTable) -> None:
        """Add shards."""
        self._close()
        self._tables.append(table)

    def whole(self) -> ShardTable:
        """Return all shards that were added."""
        self._close()
        return ShardTable.joined(self._tables)

    def _close(self) -> None:
        if self._rows:
            self._tables.append(ShardTable(pa.Table.from_pylist(self._rows, schema=SCHEMA)))
            self._rows = []


def _to_row(stats: ShardStats) -> dict[str, Any]:
    return {
        **{name: getattr(stats, name) for name in _SCALARS},
        "tasks": [{"name": name, **sides} for name, sides in stats.tasks.items()],
        "specialists": [{"name": name, **sides} for name, sides in stats.specialists.items()],
        "drops": [{"name": name, "count": count} for name, count in stats.drops.items()],
        "extensions": [{"name": name, "count": count} for name, count in stats.extensions.items()],
        "dead_letters": [asdict(letter) for letter in stats.dead_letters],
        **{
            f"{name}_{field}": value
            for name, file in zip(FILES, (stats.tar, stats.parquet, stats.file), strict=True)
            for field, value in (("bytes", file.bytes), ("sha256", file.sha256))
        },
    }


def _from_row(row: Mapping[str, Any]) -> ShardStats:
    def sides(column: str) -> dict[str, dict[str, int]]:
        return {
            one["name"]: {"kept": one["kept"], "dropped": one["dropped"]} for one in row[column]
        }

    files = {
        name: FileStats(bytes=row[f"{name}_bytes"], sha256=row[f"{name}_sha256"]) for name in FILES
    }
    stats = ShardStats(
        number=row["number"],
        recipe=row["recipe"],
        samples_digest=row["samples_digest"],
        samples=row["samples"],
        annotations_kept=row["annotations_kept"],
        annotations_dropped=row["annotations_dropped"],
        tasks=sides("tasks"),
        specialists=sides("specialists"),
        drops={one["name"]: one["count"] for one in row["drops"]},
        extensions={one["name"]: one["count"] for one in row["extensions"]},
        dead_letters=tuple(DeadLetter(**one) for one in row["dead_letters"]),
        tar=files["tar"],
        parquet=files["parquet"],
    )
    stats.know(name=row["name"], reading=row["reading"], file=files["stats"])
    return stats


def _flat(column: pa.ChunkedArray) -> pa.Table:
    """Return the structs in the lists of a column as a table."""
    return _flat_structs(pc.list_flatten(column))


def _flat_structs(structs: pa.ChunkedArray) -> pa.Table:
    fields = structs.type
    columns = {field.name: pc.struct_field(structs, [field.name]) for field in fields}
    return pa.table(columns)

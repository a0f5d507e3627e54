"""Which input lives in which shard, remembered from run to run.

Inputs that were there before stay where they were; new ones open new shards, so old shards do
not change when images come. A source is listed once, streaming; no image is opened.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pyarrow as pa

from florilegium.engine.core.keys import Keys, is_key
from florilegium.engine.core.redaction import redacted
from florilegium.engine.core.sample import digest_of
from florilegium.engine.sources.source import Item, Source
from florilegium.engine.storage.documents import damaged
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.parquet import from_sealed_parquet, to_sealed_parquet

INDEX_NAME = "index.parquet"
_COLUMNS = ("source", "shard", "key", "location", "signature", "start", "stop")
_SCHEMA = pa.schema(
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
_SUMMARY_SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("source", pa.int32()),
        ("inputs", pa.int64()),
        ("is_packed", pa.bool_()),
        ("inputs_digest", pa.string()),
        ("location", pa.string()),
    ]
)
_BATCH = 10_000
"""Rows that become Python objects together."""


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


@dataclass(frozen=True, kw_only=True)
class ShardSpec:
    """The inputs of one shard, before anything is read."""

    number: int
    source: int
    entries: tuple[Entry, ...]
    is_packed: bool = False
    """Whether an entry holds many inputs; how many, nobody knows before it is read."""

    @property
    def name(self) -> str:
        """The shard's number as it is written in names."""
        return shard_name(self.number)

    @cached_property
    def inputs_digest(self) -> str:
        """A digest of the items' signatures: unchanged means nothing needs to be read again."""
        return digest_of(
            [
                f"{entry.key}\n{entry.item.location}\n{entry.item.signature}"
                f"\n{entry.item.start}\n{entry.item.stop}"
                for entry in self.entries
            ]
        )


class ShardSummary(NamedTuple):
    """What is known of a shard without its entries.

    `source` is the number of the source in the config, `inputs` that of the entries, and `location`
    that of the first one.
    """

    number: int
    source: int
    inputs: int
    is_packed: bool
    inputs_digest: str
    location: str

    @property
    def name(self) -> str:
        """The shard's number as it is written in names."""
        return shard_name(self.number)


class Partition:
    """All shards of a dataset, in the order of their numbers."""

    def __init__(self, specs: Iterable[ShardSpec]) -> None:
        self._specs = {spec.number: spec for spec in specs}

    def __len__(self) -> int:
        return len(self._specs)

    def __iter__(self) -> Iterator[ShardSpec]:
        return iter(self._specs.values())

    def spec(self, number: int) -> ShardSpec:
        """Return a shard with its entries.

        Raises:
            KeyError: there is no such shard.
        """
        return self._specs[number]

    @cached_property
    def summary(self) -> pa.Table:
        """A row for each shard, with the columns of `ShardSummary`."""
        rows = [
            (
                spec.number,
                spec.source,
                len(spec.entries),
                spec.is_packed,
                spec.inputs_digest,
                spec.entries[0].item.location,
            )
            for spec in self
        ]
        columns = list(zip(*rows, strict=True)) or [() for _ in _SUMMARY_SCHEMA]
        return pa.table(list(map(pa.array, columns)), schema=_SUMMARY_SCHEMA)

    def shards(self) -> Iterator[ShardSummary]:
        """Yield the rows of `summary`."""
        for batch in self.summary.to_batches(max_chunksize=_BATCH):
            yield from map(ShardSummary, *(column.to_pylist() for column in batch.columns))

    @cached_property
    def inputs_digest(self) -> str:
        """A digest of which shard has which inputs."""
        return digest_of([f"{shard.number} {shard.inputs_digest}" for shard in self.shards()])

    def only(self, has: Callable[[int], bool]) -> Partition:
        """Return the shards for whose numbers `has` is true."""
        return Partition(spec for spec in self if has(spec.number))


def shard_name(number: int) -> str:
    """Return a shard's number as it is written in names."""
    return f"{number:06d}"


def partition(sources: Sequence[Source[Any]], previous: Sequence[Entry] = ()) -> Partition:
    """Assign every item of the sources to a shard; `previous` entries keep theirs."""
    known = {_identity(entry.source, entry.item): entry for entry in previous}
    shards: dict[int, tuple[int, list[Entry]]] = {}
    fresh: list[tuple[int, str, list[Item]]] = []
    for index, (place, source) in enumerate(zip(places(sources), sources, strict=True)):
        new: list[Item] = []
        for item in source.items():
            old = known.get(_identity(place, item))
            if old is None:
                new.append(item)
            else:
                entry = Entry(source=place, shard=old.shard, key=old.key, item=item)
                shards.setdefault(old.shard, (index, []))[1].append(entry)
        fresh.append((index, place, new))
    keys = Keys(
        (entry.key, sources[index].is_packed)
        for index, entries in shards.values()
        for entry in entries
    )
    number = max((entry.shard for entry in previous), default=-1)
    for index, place, items in fresh:
        is_packed = sources[index].is_packed
        size = 1 if is_packed else sources[index].shard_size
        for chunk in _chunks(items, size, sources[index].limits.max_shard_bytes):
            number += 1
            shards[number] = (
                index,
                [
                    Entry(
                        source=place,
                        shard=number,
                        key=keys.of_pack(_stem(item)) if is_packed else keys.of_file(_stem(item)),
                        item=item,
                    )
                    for item in chunk
                ],
            )
    return _specs(sources, shards)


def remembered(sources: Sequence[Source[Any]], entries: Sequence[Entry]) -> Partition:
    """Return the shards of an index, those of these sources; lists nothing."""
    numbers = {place: number for number, place in enumerate(places(sources))}
    shards: dict[int, tuple[int, list[Entry]]] = {}
    for entry in entries:
        if entry.source in numbers:
            shards.setdefault(entry.shard, (numbers[entry.source], []))[1].append(entry)
    return _specs(sources, shards)


def _specs(
    sources: Sequence[Source[Any]], shards: Mapping[int, tuple[int, list[Entry]]]
) -> Partition:
    return Partition(
        ShardSpec(
            number=number,
            source=index,
            entries=tuple(entries),
            is_packed=sources[index].is_packed,
        )
        for number, (index, entries) in sorted(shards.items())
    )


def _chunks(items: Sequence[Item], most: int, most_bytes: int) -> Iterator[list[Item]]:
    """Cut a list of items: so many at most, of so many bytes together as far as they are known."""
    chunk: list[Item] = []
    held = 0
    for item in items:
        if chunk and (len(chunk) == most or held + item.size > most_bytes):
            yield chunk
            chunk, held = [], 0
        chunk.append(item)
        held += item.size
    if chunk:
        yield chunk


def places(sources: Sequence[Source[Any]]) -> Iterator[str]:
    """Yield a name for each source that does not depend on how its URL is spelt, nor on how it is
    signed."""
    turns: Counter[str] = Counter()
    for source in sources:
        url = place_of(source.config.url)
        turns[url] += 1
        yield f"{url}#{turns[url]}"


def place_of(url: str) -> str:
    """Return a URL without what signs it, or the absolute path that a path leads to."""
    url = redacted(url)
    if "://" not in url:
        url = os.path.realpath(os.path.expanduser(url))
    return url.rstrip("/")


def _identity(url: str, item: Item) -> tuple[str, str, int]:
    return url, item.location, item.start


def _stem(item: Item) -> str:
    folder, _, name = item.location.rpartition("/")
    stem = name.rpartition(".")[0] or name
    stem = stem.removesuffix(".tar")  # of `photos.tar.gz`
    return f"{folder}/{stem}" if folder else stem


class Index(NamedTuple):
    """The partition of the previous run, and the shard size it was made with."""

    entries: tuple[Entry, ...] = ()
    shard_size: int = 0


def read_index(output: Folder) -> Index:
    """Return the partition of the previous run; an empty one when there was none.

    Raises:
        StorageError: the index is damaged.
    """
    table = index_table(output)
    if table is None:
        return Index()
    columns = [table.column(name).to_pylist() for name in _COLUMNS]
    shard_size = json.loads(table.schema.metadata[b"shard_size"])
    entries = tuple(
        Entry(
            source=source,
            shard=shard,
            key=key,
            item=Item(location=location, signature=signature, start=start, stop=stop),
        )
        for source, shard, key, location, signature, start, stop in zip(*columns, strict=True)
    )
    return Index(entries, shard_size)


def index_table(output: Folder) -> pa.Table | None:
    """Return the rows of the index, or `None` when there is none.

    Raises:
        StorageError: the index is damaged.
    """
    data = output.read(INDEX_NAME)
    if data is None:
        return None
    try:
        table = from_sealed_parquet(data)
        if not table.schema.equals(_SCHEMA) or any(one.null_count for one in table.columns):
            raise ValueError("its columns are others")
        if not int(table.schema.metadata[b"shard_size"]) >= 0:
            raise ValueError("its shard size is no size")
        for key in table.column("key").to_pylist():
            if not is_key(key):
                raise ValueError(f"{key!r:.200} is no key of a sample")
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        cure = "delete it, and the next build shares the source out anew"
        raise damaged(output, INDEX_NAME, error, cure=cure) from error
    return table


def write_index(output: Folder, specs: Iterable[ShardSpec], *, shard_size: int) -> None:
    """Publish the partition, before any work, so that an interrupted run resumes with the same."""
    _write(output, [entry for spec in specs for entry in spec.entries], shard_size)


def keep_places(output: Folder, before: Index) -> None:
    """Add to the stored partition what an earlier one has beyond it: inputs that are gone from the
    source keep their shards while it is open whether they will be missed. One whose key another
    input has now would come back as a second sample of that key: it gets a new one instead."""
    now = read_index(output)
    known = {_identity(one.source, one.item) for one in now.entries}
    keys = {one.key for one in now.entries}
    gone = [
        one
        for one in before.entries
        if _identity(one.source, one.item) not in known and one.key not in keys
    ]
    if gone and before.shard_size == now.shard_size:
        entries = sorted([*now.entries, *gone], key=lambda one: one.shard)
        _write(output, entries, now.shard_size)


def _write(output: Folder, entries: Sequence[Entry], shard_size: int) -> None:
    rows = [
        (e.source, e.shard, e.key, e.item.location, e.item.signature, e.item.start, e.item.stop)
        for e in entries
    ]
    columns = list(zip(*rows, strict=True)) or [() for _ in _COLUMNS]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
    schema = _SCHEMA.with_metadata({"shard_size": json.dumps(shard_size)})
    output.publish(INDEX_NAME, to_sealed_parquet(pa.Table.from_arrays(arrays, schema=schema)))

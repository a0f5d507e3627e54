"""Which input lives in which shard, remembered from run to run.

Inputs that were there before stay where they were; new ones open new shards, so old shards do
not change when images come. A source is listed once, streaming; no image is opened. What is known
of all inputs lies on disk, in the rows of an index; memory has some 30 bytes for each.
"""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.redaction import redacted
from florilegium.engine.core.sample import digest_of
from florilegium.engine.planning.index import GROUP, SCHEMA, Entry, Index, entries_of, written
from florilegium.engine.planning.known_inputs import KnownInputs
from florilegium.engine.planning.new_inputs import NEW_INPUTS, Filling, with_keys, with_slugs
from florilegium.engine.planning.new_keys import NewKeys
from florilegium.engine.planning.summaries import SUMMARY, summarized
from florilegium.engine.sources.links import LINK_NOT_FOLLOWED
from florilegium.engine.sources.source import Source, item_schema
from florilegium.engine.storage.spool import Spool, regrouped

_BATCH = 10_000
"""Rows of a summary that become Python objects together."""


@dataclass(frozen=True, kw_only=True)
class ShardSpec:
    """The inputs of one shard, before anything is read."""

    number: int
    source: int
    entries: tuple[Entry, ...]
    is_packed: bool = False
    """Whether an entry holds many inputs; their number is known when it is read."""

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
    """All shards of a dataset, in the order of their numbers. Their entries are read from `index`
    when they are needed."""

    def __init__(
        self, index: Index, names: Sequence[str], summary: pa.Table, rows: npt.NDArray[np.int64]
    ) -> None:
        self.index = index
        self._names = names  # of the sources in the index
        self.summary = summary
        """A row for each shard, with the columns of `ShardSummary`."""
        self._rows = rows  # of the index, where each shard begins
        self._numbers = summary["number"].to_numpy()

    @classmethod
    def of(cls, index: Index, sources: Sequence[Source[Any]]) -> Partition:
        """Return the shards of an index, those of these sources; lists nothing.

        Raises:
            StorageError: the index is damaged.
        """
        names = list(places(sources))
        summary, rows = summarized(index, pa.array(names, pa.string()))
        packed = pa.array([source.is_packed for source in sources])
        summary = summary.append_column("is_packed", packed.take(summary["source"]))
        return cls(index, names, summary.select(SUMMARY.names), rows)

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[ShardSpec]:
        return map(self.spec, self._numbers.tolist())

    def spec(self, number: int) -> ShardSpec:
        """Return a shard with its entries.

        Raises:
            KeyError: there is no such shard.
            StorageError: the index is damaged.
        """
        place = int(np.searchsorted(self._numbers, number))
        if place == len(self) or self._numbers[place] != number:
            raise KeyError(number)
        shard = ShardSummary(*(column[place].as_py() for column in self.summary.columns))
        rows = self.index.rows(self._rows[place], self._rows[place] + shard.inputs)
        return ShardSpec(
            number=number,
            source=shard.source,
            entries=tuple(entries_of(rows)),
            is_packed=shard.is_packed,
        )

    def shards(self) -> Iterator[ShardSummary]:
        """Yield the rows of `summary`."""
        for batch in self.summary.to_batches(max_chunksize=_BATCH):
            yield from map(ShardSummary, *(column.to_pylist() for column in batch.columns))

    @cached_property
    def inputs_digest(self) -> str:
        """A digest of which shard has which inputs."""
        return digest_of([f"{shard.number} {shard.inputs_digest}" for shard in self.shards()])

    def folders_of(self, source: int) -> set[str]:
        """Return the folders that hold the inputs of a source; of links that are not followed, none
        is known."""
        name, found = self._names[source], set[str]()
        for table in self.index.tables(["source", "location", "signature"]):
            is_link = pc.starts_with(table["signature"], LINK_NOT_FOLLOWED)
            is_own = pc.and_not(pc.equal(table["source"], name), is_link)
            locations = table["location"].filter(is_own)
            folders = pc.replace_substring_regex(locations, "[^/]*$", "")
            found.update(map(posixpath.dirname, pc.unique(folders).to_pylist()))
        return found

    def only(self, has: Callable[[int], bool]) -> Partition:
        """Return the shards for whose numbers `has` is true."""
        return self.where(np.array([has(number) for number in self._numbers.tolist()], np.bool_))

    def where(self, is_in: npt.NDArray[np.bool_]) -> Partition:
        """Return the shards for which a mask is true."""
        summary = self.summary.filter(pa.array(is_in))
        return Partition(self.index, self._names, summary, self._rows[is_in])


def shard_name(number: int) -> str:
    """Return a shard's number as it is written in names."""
    return f"{number:06d}"


def partition(
    sources: Sequence[Source[Any]], previous: Index | None = None, *, shard_size: int = 0
) -> Partition:
    """Assign every item of the sources to a shard; those of the `previous` index keep theirs. A new
    index notes the `shard_size` of the config.

    Where nothing is different, the partition has the `previous` index; else a new one, which is not
    published.

    Raises:
        ConfigError, StorageError: a source cannot be listed, or the index is damaged.
    """
    names = list(places(sources))
    with ExitStack() as stack:
        known = KnownInputs(previous, names) if previous is not None else None
        if known is not None:
            stack.enter_context(closing(known))
        new = [stack.enter_context(closing(Spool(NEW_INPUTS))) for _ in sources]
        for number, source in enumerate(sources):
            for items in regrouped(_listed(source), GROUP):
                if known is not None:
                    items = items.filter(pa.array(~known.find(number, items)))
                new[number].add(with_slugs(items, is_packed=source.is_packed))
        is_new = any(spool.rows for spool in new)
        if previous is not None and known is not None and not is_new and known.are_all_listed:
            return Partition.of(previous, sources)
        rows = _rows(sources, names, known, new)
        index = written(rows, shard_size=shard_size)
    if previous is not None and not is_new and index.has_rows_of(previous):
        return Partition.of(previous, sources)
    return Partition.of(index, sources)


def _listed(source: Source[Any]) -> Iterator[pa.Table]:
    """Yield the items of a source, with the columns as they have to be."""
    schema = item_schema()
    for table in source.item_tables():
        if missing := [name for name in schema.names if name not in table.column_names]:
            raise ConfigError(f"{_named(source)}: `item_tables` gives no column {missing[0]!r}")
        items = table.select(schema.names).cast(schema)
        if empty := [name for name in schema.names if items[name].null_count]:
            raise ConfigError(f"{_named(source)}: `item_tables` gives no {empty[0]} for an item")
        yield items


def _named(source: Source[Any]) -> str:
    return f"the source {redacted(source.config.url)} ({type(source).__name__})"


def _rows(
    sources: Sequence[Source[Any]],
    names: Sequence[str],
    known: KnownInputs | None,
    new: Sequence[Spool],
) -> Iterator[pa.Table]:
    """Yield the rows of a new index: those of old shards, then those of new ones."""
    number = 0
    if known is not None:
        known.close_search()
        yield from known.listed()
        number = known.last_shard + 1
    if not any(spool.rows for spool in new):
        return
    packed = pa.array([name for name, one in zip(names, sources, strict=True) if one.is_packed])

    def listed_keys() -> Iterator[tuple[pa.Array, pa.Array]]:
        for table in known.listed_keys() if known is not None else ():
            is_packed = pc.is_in(table["source"], packed.cast(pa.string()))
            yield table["key"].filter(pc.invert(is_packed)), table["key"].filter(is_packed)

    most = 0 if known is None else len(known)
    keys = NewKeys(listed_keys, most=most, has_packs=len(packed) > 0)
    for name, source, spool in zip(names, sources, new, strict=True):
        if not spool.rows:
            continue
        filling = Filling(number, 1 if source.is_packed else source.shard_size, source)
        for table in with_keys(spool, keys, is_packed=source.is_packed):
            names_of = pa.repeat(pa.scalar(name, pa.string()), table.num_rows)
            shards = pa.array(filling.shards_of(table["size"].to_numpy()))
            own = [table[one] for one in SCHEMA.names[2:]]
            yield pa.table([names_of, shards, *own], schema=SCHEMA)
        number = filling.number + 1


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

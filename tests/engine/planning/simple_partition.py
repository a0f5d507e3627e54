"""The partition as a few loops over objects, all in memory: what the real one is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from florilegium.engine.core.keys import Keys
from florilegium.engine.planning.index import Entry
from florilegium.engine.planning.partition import ShardSpec, places
from florilegium.engine.sources.source import Item, Source


def simple_partition(sources: Sequence[Source[Any]], previous: Sequence[Entry]) -> list[ShardSpec]:
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
    keys = Keys()
    for index, entries in shards.values():
        for entry in entries:
            (keys.add_pack if sources[index].is_packed else keys.add_file)(entry.key)
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
    return [
        ShardSpec(
            number=number,
            source=index,
            entries=tuple(entries),
            is_packed=sources[index].is_packed,
        )
        for number, (index, entries) in sorted(shards.items())
    ]


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


def _identity(url: str, item: Item) -> tuple[str, str, int]:
    return url, item.location, item.start


def _stem(item: Item) -> str:
    folder, _, name = item.location.rpartition("/")
    stem = name.rpartition(".")[0] or name
    stem = stem.removesuffix(".tar")  # of `photos.tar.gz`
    return f"{folder}/{stem}" if folder else stem

"""Finds listed images in finished shards, by what these have of them; no image is opened.

A sample has its key, its place, its metadata and both digests beside its image. An input that never
became a sample has key and place: by metadata or digest only samples are listed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from florilegium.engine.core.annotation import SOURCE
from florilegium.engine.results.publication import ShardStats
from florilegium.engine.results.shard_files import read_sample_heads
from florilegium.engine.results.takedowns import Match
from florilegium.engine.sources.takedown import TAKEN_DOWN, Takedown, name_of, names_in
from florilegium.engine.storage.folder import Folder


def listed_in(
    output: Folder,
    stats: ShardStats,
    takedown: Takedown,
    bases: Collection[str],
    keys: Collection[str] = (),
) -> Iterator[Match]:
    """Yield the images of a finished shard that are listed, or have one of these keys.

    `bases` are the folders that the locations of its inputs may be relative to.

    Raises:
        StorageError: the shard cannot be read.
    """
    for row in read_sample_heads(output, stats.name):
        entries = {
            entry
            for base in bases
            for entry in takedown.matching(
                key=row["key"],
                location=row["source"],
                base=base,
                metadata=row["metadata"],
                digests=(row["sha256"], row["image_sha256"]),
            )
        }
        if entries or row["key"] in keys:
            yield Match(
                entries=tuple(sorted(entries)),
                key=row["key"],
                source=row["source"],
                shard=stats.name,
                sha256=row["sha256"],
            )
    for letter in stats.dead_letters:
        if letter.reason == TAKEN_DOWN:
            continue
        entries = {
            entry
            for base in bases
            for entry in takedown.matching(key=letter.key, location=letter.source, base=base)
        }
        if entries or letter.key in keys:
            yield Match(
                entries=tuple(sorted(entries)),
                key=letter.key,
                source=letter.source,
                shard=stats.name,
            )


def is_affected(
    output: Folder, stats: ShardStats, before: Takedown, after: Takedown, bases: Collection[str]
) -> bool:
    """Whether a finished shard may come out otherwise with another list: then it is read again.

    Raises:
        StorageError: the shard cannot be read.
    """
    added = Takedown(entries=after.entries - before.entries)
    withdrawn = {name_of(entry) for entry in before.entries - after.entries}
    is_seen_inside = added.has_digests or added.has_urls
    for letter in stats.dead_letters:
        if letter.reason == TAKEN_DOWN:
            if is_seen_inside or not withdrawn.isdisjoint(names_in(letter)):
                return True
            if any(
                added.matching(key=letter.key, location=letter.source, base=base) for base in bases
            ):
                return True
        elif letter.stage != SOURCE and is_seen_inside:
            return True  # it was a sample when it was read, and is none that can be looked at
    return bool(added.entries) and any(listed_in(output, stats, added, bases))

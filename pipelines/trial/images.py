"""The images of a trial as sources of a run: what labels they have, and their digests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.limits import Limits
from florilegium.engine.planning.config import SourceEntry
from florilegium.engine.planning.partition import ShardSpec, partition
from florilegium.engine.planning.source_opening import open_source
from florilegium.engine.results.shard import read_shard

MOST = 100
"""Images of a trial, at most."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of a trial: one source for each argument, and their shards.

    `sources` state the tasks of all labels that were found beside the images. `names` are those
    under which images were given, by key, `digests` the SHA-256 of those that can be read, by name.
    """

    sources: tuple[SourceEntry, ...]
    specs: tuple[ShardSpec, ...]
    names: Mapping[str, str]
    digests: Mapping[str, str]


def look_at(images: Sequence[str], limits: Limits) -> Images:
    """Read images and the labels beside them, once.

    Raises:
        ConfigError: one is not there, or there are too many.
    """
    entries = [SourceEntry(url=image, kind="folder") for image in images]
    sources = [open_source(entry, shard_size=MOST, limits=limits) for entry in entries]
    specs = partition(sources, [])
    count = sum(len(spec.entries) for spec in specs)
    if count > MOST:
        raise ConfigError(
            f"{count} images: a trial takes {MOST} at most, `florilegium build` takes any number"
        )
    tasks: set[str] = set()
    digests: dict[str, str] = {}
    for spec in specs:
        shard, _ = read_shard(spec, sources[spec.source], limits=limits)
        tasks.update(label.task for labels in shard.labels for label in labels)
        for record in shard.records:
            digests[_name(images[spec.source], record.source)] = record.sha256
    provided = {"provides": tuple(sorted(tasks))}
    return Images(
        sources=tuple(entry.model_copy(update=provided) for entry in entries),
        specs=tuple(specs),
        names={
            entry.key: _name(images[spec.source], entry.item.location)
            for spec in specs
            for entry in spec.entries
        },
        digests=digests,
    )


def _name(given: str, location: str) -> str:
    """Return how people call an image: the argument, or of a folder a file in it."""
    return given if given.endswith(location) else f"{given.rstrip('/')}/{location}"

"""The images of a trial as sources of a run: what labels they have, and their digests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.limits import Limits
from florilegium.engine.planning.config import SourceEntry
from florilegium.engine.planning.partition import ShardSpec, partition
from florilegium.engine.planning.source_opening import open_source
from florilegium.engine.results.shard import read_shard
from florilegium.engine.sources.folder import FolderConfig

MOST = 100
"""Images of a trial, at most."""
_OF_THE_PLACE = {"url", "kind", "provides", "include"}
"""Options of a source that are about where its images are."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of a trial: one source for each argument, and their shards.

    `sources` state the tasks of all labels that were found beside the images. `names` are those
    under which images were given, by key, `digests` the SHA-256 of those that can be read, by name.
    `remarks` are options of the config's sources that are not used.
    """

    sources: tuple[SourceEntry, ...]
    specs: tuple[ShardSpec, ...]
    names: Mapping[str, str]
    digests: Mapping[str, str]
    remarks: tuple[str, ...] = ()


def look_at(
    images: Sequence[str], limits: Limits, sources_of_config: Sequence[SourceEntry] = ()
) -> Images:
    """Read images and the labels beside them, once, as the sources of a config do.

    Raises:
        ConfigError: one is not there, or there are too many.
    """
    options, remarks = _label_options(sources_of_config)
    entries = [SourceEntry(url=image, kind="folder", **options) for image in images]
    sources = [open_source(entry, shard_size=MOST, limits=limits) for entry in entries]
    specs = tuple(partition(sources))
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
        specs=specs,
        names={
            entry.key: _name(images[spec.source], entry.item.location)
            for spec in specs
            for entry in spec.entries
        },
        digests=digests,
        remarks=remarks,
    )


def _label_options(sources: Sequence[SourceEntry]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the options that tell how labels are read beside an image, and which are not used:
    those of other kinds of sources, and those in which several sources differ."""
    own = [one.model_dump(exclude_unset=True, exclude=_OF_THE_PLACE) for one in sources]
    known = {*FolderConfig.model_fields}
    is_folder = all(one.kind in ("folder", "auto") for one in sources)
    if is_folder and all(one == own[0] and one.keys() <= known for one in own):
        return (own[0] if own else {}), ()
    names = ", ".join(dict.fromkeys(name for options in own for name in options))
    if not names:
        return {}, ()
    line = (
        f"labels beside the images are read as those of a folder, without {names} of the config's "
        f"source: `florilegium build` may find others"
    )
    return {}, (line,)


def _name(given: str, location: str) -> str:
    """Return how people call an image: the argument, or of a folder a file in it."""
    return given if given.endswith(location) else f"{given.rstrip('/')}/{location}"

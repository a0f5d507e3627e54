"""Versions of a dataset: the switch from one to the next, and which files are deleted then.

Until the manifest is replaced, readers see the whole previous version; afterwards the new one.
Manifests hold no times: a version is as old as the storage says that its file is, which is written
when the version is replaced.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from florilegium.engine.core.errors import DamagedFile
from florilegium.engine.planning.config import LAYERS
from florilegium.engine.results.finished_shards import (
    Listed,
    cuts_of,
    list_shards,
    may_be_stale,
    shard_of,
)
from florilegium.engine.results.manifest import (
    MANIFEST,
    RECIPE,
    SIGNATURE,
    Manifest,
    named_shards,
    read_manifest,
)
from florilegium.engine.results.publication import SHARDS
from florilegium.engine.results.shard_table import ShardTable
from florilegium.engine.results.state import State, write_state
from florilegium.engine.storage.folder import Folder, is_left_over

VERSIONS = "versions"
"""The folder of earlier manifests, `NUMBER.json`, if versions are kept."""
_DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Which versions are kept: so many of the last ones, the current one included, and those that
    were replaced less than so many days ago."""

    versions: int = 1
    days: float | None = None

    @property
    def keeps_replaced(self) -> bool:
        """Whether a version that is replaced now is kept."""
        return self.versions > 1 or self.days is not None


def switch(
    output: Folder, manifest: Manifest, retention: Retention, *, is_in_place: bool = False
) -> None:
    """Make a manifest the current one. With `is_in_place`, it is known to be that, and the folder
    of shards to have shards of versions only."""
    if not is_in_place:
        before, data = output.read(MANIFEST), manifest.to_json()
        is_new = retention.keeps_replaced and before not in (None, data)
        if is_new and before and named_shards(output):  # a damaged manifest is no version
            _keep(output, before)
        replace_manifest(output, data)
    output.remove(RECIPE)
    remove_stale(output, retention, current=manifest, is_tidy=is_in_place)


def _keep(output: Folder, manifest: bytes) -> None:
    """Store a manifest as an earlier version, unless an interrupted switch did."""
    last = max(_numbers(output), default=0)
    if not last or output.read(_path(last)) != manifest:
        output.publish(_path(last + 1), manifest)


def replace_manifest(output: Folder, manifest: bytes) -> None:
    """Publish a manifest; if it differs, delete the signature of the one before."""
    if output.read(MANIFEST) != manifest:
        output.publish(MANIFEST, manifest)
        output.remove(SIGNATURE)


def remove_stale(
    output: Folder,
    retention: Retention,
    *,
    current: Manifest | None = None,
    is_tidy: bool = False,
) -> None:
    """Delete versions that are not kept, shards that no version names, and temporary files of
    killed writers; other files in the folder of shards are kept. `current` is the manifest that is
    in place, where it is known."""
    numbers = _numbers(output)
    beyond = numbers[: max(0, len(numbers) - (retention.versions - 1))]
    days = retention.days
    old = beyond if days is None else _older(output, beyond, days=days)
    for number in old:
        output.remove(_path(number))
    if old or not is_tidy:
        live = live_beside(output, current) if current else live_shards(output)
        listed = list(output.listing(SHARDS, cuts=cuts_of(live)))  # before anything is deleted
        names = (name for table in listed for name in table["name"].to_pylist())
        for name in filter(may_be_stale, names):
            if is_left_over(name) or shard_of(name) not in live:
                output.remove(f"{SHARDS}/{name}")
    if output.is_local:  # object storage has no temporary files
        remove_left_over(output)


def _older(output: Folder, numbers: list[int], *, days: float) -> list[int]:
    """Return the versions that were replaced more than so many days ago. One whose time the storage
    does not state is kept: what is deleted is lost."""
    entries = output.entries(VERSIONS)
    times = {number: entries[f"{number:06d}.json"].modified for number in numbers}
    oldest = time.time() - days * _DAY_S
    return [number for number in numbers if 0 < times[number] < oldest]


def remove_left_over(output: Folder) -> None:
    """Delete temporary files of killed writers in an output, but not in layers outside of it, which
    other commands may be writing."""
    layers = [f"{LAYERS}/{stage}" for stage in output.names(LAYERS)]
    for folder in ("", VERSIONS, *layers):
        for name in filter(is_left_over, output.names(folder)):
            output.remove(f"{folder}/{name}".lstrip("/"))


def live_shards(output: Folder) -> set[str]:
    """Return the names of the shards of all versions."""
    paths = [MANIFEST, *version_files(output)]
    return {name for path in paths for name in named_shards(output, path)}


def live_beside(output: Folder, current: Manifest) -> set[str]:
    """Return the names of the shards of a version that is in place, and of all earlier ones."""
    return {
        *current.shards.names,
        *(name for path in version_files(output) for name in named_shards(output, path)),
    }


def remember(output: Folder, manifest: Manifest, listed: Listed) -> None:
    """Write the state of a dataset whose manifest is in place: its shards as they were listed, and
    those of earlier versions."""
    shards = listed.with_times()
    if len(shards) > len(manifest.shards):
        shards = shards.named(live_beside(output, manifest))
    state = State(
        shards=shards,
        version=manifest.version,
        current=frozenset(manifest.shards.names),
        earlier=tuple(version_files(output)),
    )
    write_state(output, state)


def remember_held_back(output: Folder, manifest: Manifest) -> None:
    """Write the state of a dataset that has the shards of a version which waits to be published."""
    beside = manifest.beside
    listed = list_shards(output, ShardTable.joined([manifest.shards, beside.shards]))
    state = replace(beside, shards=listed.with_times(), earlier=tuple(version_files(output)))
    write_state(output, state)


def whole_manifests(output: Folder) -> Iterator[dict[str, Any]]:
    """Yield the manifests of all versions, the current one first, but for damaged ones.

    Raises:
        StorageError: one cannot be read.
    """
    for path in (MANIFEST, *version_files(output)):
        with suppress(DamagedFile):
            if manifest := read_manifest(output, path):
                yield manifest


def version_files(output: Folder) -> list[str]:
    """Return the paths of the manifests of earlier versions, oldest first."""
    return list(map(_path, _numbers(output)))


def _path(number: int) -> str:
    return f"{VERSIONS}/{number:06d}.json"


def _numbers(output: Folder) -> list[int]:
    stems = [name.removesuffix(".json") for name in output.names(VERSIONS)]
    return sorted(int(stem) for stem in stems if stem.isdigit())

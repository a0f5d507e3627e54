"""Checking a finished dataset against its manifest: files, statistics, totals, and each shard.

What a shard must be like is said in `pipelines.shard_contract`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from engine.errors import StorageError
from engine.manifest import (
    DEAD_LETTERS,
    MANIFEST,
    RECIPE,
    SHARD_NAMES,
    Totals,
    read_manifest,
)
from engine.publication import SHARDS, STATS, FileStats, ShardStats, read_stats
from engine.storage import Folder
from engine.versions import live_shards
from pipelines.shard_contract import check_shard


def verify_dataset(output: Folder) -> Iterator[str]:
    """Yield what is wrong with a dataset, one sentence each; nothing when all is right."""
    try:
        manifest = read_manifest(output)
    except StorageError as error:
        yield str(error)
        return
    if manifest is None:
        yield f"{MANIFEST} is missing: the build has not finished, run it again, it resumes"
        return
    live = {shard["name"]: shard for shard in manifest["shards"]}
    stats = {name: read_stats(output, name) for name in live}
    yield from _check_files(output, set(live))
    for name, shard in live.items():
        yield from _check_stats(manifest["recipe"], shard, stats[name])
        yield from check_shard(output, shard)
    yield from _check_totals(output, manifest, [one for one in stats.values() if one])


def _check_files(output: Folder, live: set[str]) -> Iterator[str]:
    suffixes = (".tar", ".parquet", STATS)
    wanted = {f"{name}{suffix}" for name in live for suffix in suffixes}
    kept = {f"{name}{suffix}" for name in live_shards(output) for suffix in suffixes}
    there = set(output.names(SHARDS))
    for name in sorted(wanted - there):
        yield f"{SHARDS}/{name} is missing"
    if output.exists(RECIPE):
        return  # a build is under way, or was interrupted: its new shards are no fault
    for name in sorted(there - wanted - kept):
        yield f"{SHARDS}/{name} is not in the manifest"


def _check_stats(recipe: str, shard: dict[str, Any], stats: ShardStats | None) -> Iterator[str]:
    path = f"{SHARDS}/{shard['name']}{STATS}"
    if stats is None:
        yield f"{path} has no statistics that can be read"
        return
    said = {**asdict(stats), "name": shard["name"], "dead_letters": len(stats.dead_letters)}
    for name in sorted(SHARD_NAMES):
        if said[name] != shard[name]:
            yield f"{path}: {name} is {said[name]}, the manifest says {shard[name]}"
    if stats.recipe != recipe:
        yield f"{path}: the shard was made by another recipe than the manifest says"


def _check_totals(
    output: Folder, manifest: dict[str, Any], stats: list[ShardStats]
) -> Iterator[str]:
    totals = Totals.of(stats)
    for name, value in asdict(totals).items():
        said = manifest["totals"].get(name)
        if said != value:
            yield f"{MANIFEST}: {name} is {said}, the shards add up to {value}"
    data = output.read(DEAD_LETTERS)
    if data is None:
        yield f"{DEAD_LETTERS} is missing"
    elif asdict(FileStats.of(memoryview(data))) != manifest["files"].get(DEAD_LETTERS):
        yield f"{DEAD_LETTERS} is another file than the manifest says"

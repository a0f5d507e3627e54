"""What whoever changes a dataset on purpose does: make every digest fit what he wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from florilegium.engine.results.manifest import DEAD_LETTERS, MANIFEST, Manifest, sealed
from florilegium.engine.results.publication import STATS, FileStats, ShardStats
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.card import card_of
from florilegium.pipelines.dataset.files import CARD


def reseal(dataset: Path) -> None:
    """Name shards, statistics and all files of the manifest by what is in them now."""
    document = json.loads((dataset / MANIFEST).read_bytes())
    stats = [_resealed(dataset / "shards", shard["name"]) for shard in document["shards"]]
    manifest = Manifest.from_document(document, stats)
    (dataset / CARD).write_bytes(card_of(manifest))
    (dataset / DEAD_LETTERS).write_bytes(manifest.dead_letters_file)
    (dataset / MANIFEST).write_bytes(manifest.to_json())
    reseal_files(dataset)


def reseal_files(dataset: Path) -> None:
    """Let the manifest name the files beside the shards by what is in them now."""
    folder = Folder(str(dataset))
    document: dict[str, Any] = json.loads((dataset / MANIFEST).read_bytes())
    for name, file in document["files"].items():
        file.update(vars(FileStats.read(folder, name)))
    (dataset / MANIFEST).write_bytes(sealed(document))


def _resealed(shards: Path, name: str) -> ShardStats:
    folder = Folder(str(shards))
    stats = ShardStats.from_json((shards / f"{name}{STATS}").read_bytes())
    stats = replace(
        stats,
        tar=FileStats.read(folder, f"{name}.tar"),
        parquet=FileStats.read(folder, f"{name}.parquet"),
    )
    for suffix in (".tar", ".parquet"):
        (shards / f"{name}{suffix}").rename(shards / f"{stats.name}{suffix}")
    (shards / f"{name}{STATS}").unlink()
    (shards / f"{stats.name}{STATS}").write_bytes(stats.to_json())
    return stats

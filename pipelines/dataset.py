"""Reading a finished dataset back: its samples with their images and kept annotations.

Reads the tars, as everyone else does; dropped annotations are in the Parquet files beside them.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from engine.annotation import Annotation, from_json
from engine.errors import StorageError, UsageError
from engine.manifest import MANIFEST, read_manifest
from engine.publication import SHARDS
from engine.storage import Folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """A sample of a finished dataset: the image's original bytes and its kept annotations.

    `metadata` is what the source knew, as JSON text.
    """

    key: str
    sha256: str
    width: int
    height: int
    annotations: tuple[Annotation, ...]
    image: bytes = field(repr=False)
    metadata: str = "{}"


def manifest_of(folder: Folder) -> dict[str, Any]:
    """Return the manifest of a finished dataset.

    Raises:
        UsageError: there is none: the dataset is not finished, or nothing is there.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise UsageError(f"{folder.url} has no {MANIFEST}: build the dataset first, to its end")
    return manifest


def read_dataset(folder: Folder) -> Iterator[Labelled]:
    """Yield all samples, shard by shard, in stored order, streaming.

    Raises:
        UsageError: the dataset is not finished.
        StorageError: a shard cannot be read.
    """
    for shard in manifest_of(folder)["shards"]:
        yield from read_shard_samples(folder, shard["name"])


def read_shard_samples(folder: Folder, name: str) -> Iterator[Labelled]:
    """Yield the samples of one shard.

    Raises:
        StorageError: the tar cannot be read.
    """
    path = f"{SHARDS}/{name}.tar"
    try:
        with folder.opened(path) as file, tarfile.open(fileobj=file, mode="r|") as tar:
            for _, members in groupby(tar, key=lambda member: member.name.partition(".")[0]):
                contents = {}
                for member in members:
                    content = tar.extractfile(member)
                    contents[member.name.partition(".")[2]] = content.read() if content else b""
                yield labelled(contents)
    except (tarfile.TarError, OSError, KeyError, TypeError, ValueError) as error:
        raise StorageError(
            f"{folder.path(path)} cannot be read: {error}; build it again"
        ) from error


def labelled(files: dict[str, bytes]) -> Labelled:
    """Build a sample from its files by extension: `json`, `txt` and the image."""
    row = json.loads(files["json"])
    image = next(data for name, data in files.items() if name not in ("json", "txt"))
    return Labelled(
        key=row["key"],
        sha256=row["sha256"],
        width=row["width"],
        height=row["height"],
        annotations=tuple(from_json(one) for one in row["annotations"]),
        image=image,
        metadata=row["metadata"],
    )

"""Reading a finished dataset back: from the tars its samples with their images and kept
annotations, from the Parquet files beside them all that was said, without images.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import RawIOBase
from itertools import groupby
from typing import IO, Any

import pyarrow as pa

from engine.annotation import Annotation, from_json
from engine.errors import StorageError, UsageError
from engine.keys import is_key
from engine.manifest import MANIFEST, read_manifest
from engine.parquet import from_parquet
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
        with folder.opened(path) as file:
            for _, files in read_files(file):
                yield labelled(files)
    except (tarfile.TarError, OSError, KeyError, TypeError, ValueError) as error:
        raise StorageError(
            f"{folder.path(path)} cannot be read: {error}; build it again"
        ) from error


def read_shard_records(folder: Folder, name: str) -> Iterator[dict[str, Any]]:
    """Yield the `json` of each sample of one shard; images are passed over.

    Raises:
        StorageError: the tar cannot be read.
    """
    path = f"{SHARDS}/{name}.tar"
    try:
        with folder.opened(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.name.endswith(".json") and (content := tar.extractfile(member)):
                    yield json.loads(content.read())
    except (tarfile.TarError, OSError, ValueError) as error:
        raise StorageError(
            f"{folder.path(path)} cannot be read: {error}; build it again"
        ) from error


def read_files(file: IO[bytes] | RawIOBase) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the key and the files by extension of each sample of a tar, read as a stream.

    Raises:
        tarfile.TarError: it is no tar.
    """
    with tarfile.open(fileobj=file, mode="r|") as tar:
        for key, members in groupby(tar, key=lambda member: member.name.partition(".")[0]):
            files = {}
            for member in members:
                content = tar.extractfile(member)
                files[member.name.partition(".")[2]] = content.read() if content else b""
            yield key, files


def read_annotations(
    folder: Folder, columns: Sequence[str] | None = None
) -> Iterator[tuple[str, pa.Table]]:
    """Yield the name of each shard and its annotations, dropped ones too: `kept` tells.

    Raises:
        UsageError: the dataset is not finished.
        StorageError: a file cannot be read.
    """
    for shard in manifest_of(folder)["shards"]:
        yield shard["name"], read_shard_annotations(folder, shard["name"], columns)


def read_shard_annotations(
    folder: Folder, name: str, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return the annotations of one shard.

    Raises:
        StorageError: the file cannot be read.
    """
    path = f"{SHARDS}/{name}.parquet"
    try:
        with folder.opened(path) as file:
            return from_parquet(file, columns=None if columns is None else [*columns])
    except (pa.ArrowException, LookupError, ValueError) as error:
        raise StorageError(
            f"cannot read {folder.path(path)}: {error}; `florilegium verify` tells what is wrong"
        ) from error


def labelled(files: dict[str, bytes]) -> Labelled:
    """Build a sample from its files by extension: `json`, `txt` and the image.

    Raises:
        ValueError: its key or its digest is none; files are named by them.
    """
    row = json.loads(files["json"])
    if not (is_key(row["key"]) and _is_digest(row["sha256"])):
        raise ValueError(f"{row['key']!r:.200}, {row['sha256']!r:.200}: no key and digest")
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


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None

"""Reading a finished dataset back: from the tars its samples with their images and kept
annotations, from the Parquet files beside them all that was said, without images.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import RawIOBase
from itertools import groupby
from typing import IO, Any

import pyarrow as pa

from engine.core.annotation import ANNOTATION_FIELDS, Annotation, from_json
from engine.core.errors import StorageError, UsageError
from engine.core.keys import is_key
from engine.records.judging import VERDICT_TYPE
from engine.records.manifest import MANIFEST, read_manifest
from engine.records.publication import SHARDS
from engine.storage.documents import in_one_line, parse_json
from engine.storage.folder import Folder
from engine.storage.parquet import from_parquet

SHARD_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        *ANNOTATION_FIELDS,
        ("kept", pa.bool_()),
        ("verdicts", pa.list_(VERDICT_TYPE)),
    ]
)
"""The columns of a shard's Parquet file."""
UNREADABLE = (
    *(tarfile.TarError, pa.ArrowException, OSError),
    *(AttributeError, LookupError, TypeError, ValueError),
)


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
    except UNREADABLE as error:
        raise damaged_shard(folder, path, error) from error


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
                    yield sample_of(content.read())
    except UNREADABLE as error:
        raise damaged_shard(folder, path, error) from error


def read_files(file: IO[bytes] | RawIOBase) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the key and the files by extension of each sample of a tar, read as a stream.

    Raises:
        tarfile.TarError: it is no tar.
    """
    with tarfile.open(fileobj=file, mode="r|") as tar:
        for key, members in groupby(tar, key=lambda member: member.name.partition(".")[0]):
            files: dict[str, bytes] = {}
            for member in members:
                content, extension = tar.extractfile(member), member.name.partition(".")[2]
                if extension in files:
                    raise tarfile.ReadError(f"{member.name!r} is there twice")
                files[extension] = content.read() if content else b""
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
            table = from_parquet(file, columns=None if columns is None else [*columns])
        if any(SHARD_SCHEMA.field(one.name).type != one.type for one in table.schema):
            raise ValueError("a column has another type")
        if missing := set(columns or SHARD_SCHEMA.names) - set(table.column_names):
            raise ValueError(f"it has no column {min(missing)}")
    except UNREADABLE as error:
        raise damaged_shard(folder, path, error) from error
    return table


def labelled(files: dict[str, bytes]) -> Labelled:
    """Build a sample from its files by extension: `json`, `txt` and the image.

    Raises:
        ValueError: its key or its digest is none; files are named by them.
    """
    row = sample_of(files["json"])
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


_TEXTS = ("key", "sha256", "source", "metadata")
_SIZES = ("width", "height")


def sample_of(data: bytes) -> dict[str, Any]:
    """Return the JSON of a sample, with the types that readers rely on.

    Raises:
        ValueError: it is no JSON, or of other types.
    """
    row = parse_json(data)
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in _TEXTS):
        raise ValueError(f"a sample lacks some of the texts {', '.join(_TEXTS)}")
    if not all(type(row.get(name)) is int and row[name] > 0 for name in _SIZES):
        raise ValueError(f"a sample lacks {' or '.join(_SIZES)}")
    return row


def damaged_shard(folder: Folder, path: str, error: Exception) -> StorageError:
    """Return the error of a shard's file that cannot be read, with its cure."""
    reason = f"{type(error).__name__}: {error}" if isinstance(error, LookupError) else error
    return StorageError(
        f"{folder.path(path)} cannot be read: {in_one_line(reason)}; `florilegium verify` tells "
        f"what is wrong, and `florilegium build --check` makes the shard again"
    )

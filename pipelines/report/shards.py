"""Reading finished shards: samples from the tar, annotations from the Parquet file.

One sample and one batch of rows at a time.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from engine.records.dataset import UNREADABLE, damaged_shard, sample_of
from engine.records.publication import SHARDS, ShardStats
from engine.storage.folder import Folder

BATCH_ROWS = 8192
"""Rows of Parquet that are read at once."""


@dataclass(frozen=True, kw_only=True)
class StoredSample:
    """A sample in its tar; `image()` reads the bytes of the image while the shard is open."""

    key: str
    width: int
    height: int
    extension: str
    image: Callable[[], bytes]


def stored_samples(output: Folder, shard: ShardStats) -> Iterator[StoredSample]:
    """Yield the samples of a shard in order; their images are read on demand.

    Raises:
        StorageError: the tar cannot be read.
    """
    with (
        _readable(output, f"{SHARDS}/{shard.name}.tar") as file,
        tarfile.open(fileobj=file, mode="r:") as tar,
    ):
        for _, members in groupby(tar, key=lambda member: member.name.partition(".")[0]):
            yield _stored(tar, {one.name.partition(".")[2]: one for one in members})


def annotation_batches(output: Folder, shard: ShardStats) -> Iterator[pa.RecordBatch]:
    """Yield the annotations of a shard, kept and dropped, in batches of `BATCH_ROWS`.

    Raises:
        StorageError: the file cannot be read.
    """
    with (
        _readable(output, f"{SHARDS}/{shard.name}.parquet") as file,
        pq.ParquetFile(file) as parquet,
    ):
        # In this thread only, as everywhere here: see `engine.storage.parquet`.
        yield from parquet.iter_batches(BATCH_ROWS, use_threads=False)


def spread(count: int, among: int) -> list[int]:
    """Return `count` evenly spread indices below `among`; all if `among` is smaller."""
    if count >= among:
        return list(range(among))
    return [(2 * step + 1) * among // (2 * count) for step in range(count)]


def _stored(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo]) -> StoredSample:
    header = sample_of(_content(tar, members["json"]))
    extension = next(name for name in members if name not in ("json", "txt"))
    return StoredSample(
        key=header["key"],
        width=header["width"],
        height=header["height"],
        extension=extension,
        image=lambda: _content(tar, members[extension]),
    )


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return b"" if file is None else file.read()


@contextmanager
def _readable(output: Folder, path: str) -> Iterator[IO[bytes]]:
    try:
        with output.opened(path) as file:
            yield file
    except UNREADABLE as error:
        raise damaged_shard(output, path, error) from error

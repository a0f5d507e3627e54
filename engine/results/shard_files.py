"""Reading the files of one finished shard: the samples of its tar, the rows of its Parquet file.

Each reader takes what it needs: files of a tar that are not wanted are passed over, and of the
Parquet file only the columns that are asked for are read. What is damaged is one error.
"""

from __future__ import annotations

import tarfile
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import RawIOBase
from itertools import groupby
from typing import IO, Any

import pyarrow as pa

from florilegium.engine.core.errors import DamagedFile
from florilegium.engine.results.contract import (
    SHARD_COLUMNS,
    SHARD_SCHEMA,
    parse_sample,
    parse_sample_head,
)
from florilegium.engine.results.publication import SHARDS
from florilegium.engine.storage.documents import in_one_line
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.parquet import from_parquet

BESIDE_IMAGE = ("json", "txt")
"""The extensions of a sample's files that are no image."""
_UNREADABLE = (
    *(tarfile.TarError, pa.ArrowException, OSError),
    *(AttributeError, LookupError, TypeError, ValueError),
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which part of a tar is read: samples with these keys or at these positions in the shard, of
    them the files with these extensions; `None` is no limit."""

    keys: Container[str] | None = None
    positions: Container[int] | None = None
    extensions: Container[str] | None = None

    def has_sample(self, position: int, key: str) -> bool:
        """Whether a sample is read."""
        is_there = self.positions is None or position in self.positions
        return is_there and (self.keys is None or key in self.keys)

    def has_file(self, extension: str) -> bool:
        """Whether a file of a sample is read."""
        return self.extensions is None or extension in self.extensions


EVERYTHING = Wanted()


def read_files(
    file: IO[bytes] | RawIOBase, wanted: Wanted = EVERYTHING
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the key and the files by extension of each sample of a tar.

    What is not wanted is passed over; where everything is, the tar may be a stream.

    Raises:
        tarfile.TarError: it is no tar.
    """
    with tarfile.open(fileobj=file, mode="r|" if wanted == EVERYTHING else "r:") as tar:
        samples = groupby(tar, key=lambda member: member.name.partition(".")[0])
        for position, (key, members) in enumerate(samples):
            if not wanted.has_sample(position, key):
                continue
            files: dict[str, bytes] = {}
            for member in members:
                extension = member.name.partition(".")[2]
                if extension in files:
                    raise tarfile.ReadError(f"{member.name!r} is there twice")
                if wanted.has_file(extension):
                    content = tar.extractfile(member)
                    files[extension] = content.read() if content else b""
            yield key, files


def read_sample_json(folder: Folder, shard: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON of each sample of a shard; images are passed over.

    Raises:
        StorageError: the tar cannot be read.
    """
    with opened_file(folder, shard, "tar") as file:
        for _, files in read_files(file, Wanted(extensions=("json",))):
            yield parse_sample(files["json"])


def read_rows(folder: Folder, shard: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the annotations of a shard, dropped ones too, in these columns or in all.

    Raises:
        StorageError: the Parquet file cannot be read.
    """
    names = SHARD_SCHEMA.names if columns is None else list(columns)
    with opened_file(folder, shard, "parquet") as file:
        table = from_parquet(file, columns=names)
        if missing := set(names) - set(table.column_names):
            raise ValueError(f"it has no column {min(missing)}")
        if any(SHARD_SCHEMA.field(one.name).type != one.type for one in table.schema):
            raise ValueError("a column has another type")
        for column in SHARD_COLUMNS:
            if column.name in names and not column.is_nullable and table[column.name].null_count:
                raise ValueError(f"it has rows without {column.name}")
        return table.select(names)


def read_sample_heads(folder: Folder, shard: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON of each sample of a shard without its annotations, several times faster than
    with them.

    Raises:
        StorageError: the tar cannot be read.
    """
    with opened_file(folder, shard, "tar") as file:
        for _, files in read_files(file, Wanted(extensions=("json",))):
            yield parse_sample_head(files["json"])


@contextmanager
def opened_file(folder: Folder, shard: str, suffix: str) -> Iterator[IO[bytes]]:
    """Open the tar or the Parquet file of a shard.

    Raises:
        StorageError: it cannot be opened, or what is done with it shows that it is damaged.
    """
    path = f"{SHARDS}/{shard}.{suffix}"
    try:
        with folder.opened(path) as file:
            yield file
    except _UNREADABLE as error:
        raise damaged_file(folder, path, error) from error


def damaged_file(folder: Folder, path: str, error: object) -> DamagedFile:
    """Return the error of a shard's file that cannot be read, with its cure."""
    reason = f"{type(error).__name__}: {error}" if isinstance(error, LookupError) else error
    return DamagedFile(
        f"{folder.path(path)} cannot be read: {in_one_line(reason)}; `florilegium verify` tells "
        f"what is wrong, and `florilegium build --check` makes the shard again"
    )

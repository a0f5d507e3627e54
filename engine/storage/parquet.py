"""Small Arrow tables as Parquet, to memory and back, in this thread only.

Arrow's threaded reader outlives its call and sometimes aborts a process that ends soon after.
Parquet has checksums of its pages only: a sealed file also has a digest of all its bytes, in its
own metadata.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

_SEAL = b"sha256"
"""The key of the seal in the metadata of a file."""
_MARK = b"sha256 of this file with zeros here: "
_ZEROS = b"0" * 64
_ROWS = 1 << 14
"""Rows of a file that are read together."""
_PIECE = 1 << 20
"""Bytes of a file that are read together."""


def to_parquet(table: pa.Table) -> pa.Buffer:
    """Return a table as the bytes of a Parquet file, the same for the same table."""
    sink = pa.BufferOutputStream()
    write_parquet(table, sink)
    return sink.getvalue()


def write_parquet(table: pa.Table, file: Any) -> None:
    """Write a table as a Parquet file; without rows, dictionaries only cost time."""
    pq.write_table(
        table,
        file,
        compression="zstd",
        use_dictionary=table.num_rows > 0,
        write_page_checksum=True,
    )


def from_parquet(data: bytes | IO[bytes], *, columns: list[str] | None = None) -> pa.Table:
    """Read the bytes of a Parquet file, or an open one.

    Raises:
        pyarrow.ArrowException, OSError: this is no Parquet file, or a damaged one.
    """
    source = pa.BufferReader(data) if isinstance(data, bytes) else data
    with pq.ParquetFile(source, page_checksum_verification=True) as file:
        # A column of lists that is read at once takes twice its memory while it grows.
        batches = list(file.iter_batches(_ROWS, columns=columns, use_threads=False))
        if not batches:
            return file.read(columns=columns, use_threads=False)
        return pa.Table.from_batches(batches).replace_schema_metadata(file.schema_arrow.metadata)


def to_sealed_parquet(table: pa.Table) -> bytes:
    """Return a table as a Parquet file whose metadata has a digest of all its bytes."""
    metadata = {
        **(table.schema.metadata or {}),
        _SEAL: _MARK + _ZEROS,
    }  # comes last: `rfind` finds it
    data = bytes(to_parquet(table.replace_schema_metadata(metadata)))
    return _with_digest(data, sha256(data).hexdigest().encode())


def from_sealed_parquet(data: bytes) -> pa.Table:
    """Read a sealed Parquet file, or one of a version before there were seals.

    Raises:
        ValueError: the file was changed after it was written.
        pyarrow.ArrowException, OSError: this is no Parquet file, or a damaged one.
    """
    start = data.rfind(_MARK) + len(_MARK)
    has_mark = start >= len(_MARK)
    if has_mark:
        digest = sha256(_with_digest(data, _ZEROS)).hexdigest().encode()
        if data[start : start + len(_ZEROS)] != digest:
            raise ValueError("it was changed after it was written: its digest is another")
    table = from_parquet(data)
    if not has_mark and _SEAL in (table.schema.metadata or {}):
        raise ValueError("it was changed after it was written: its digest is gone")
    return table


def sealed_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema of a file that is written by row groups, for `seal`."""
    return schema.with_metadata({**(schema.metadata or {}), _SEAL: _MARK + _ZEROS})


def seal(file: IO[bytes]) -> None:
    """Write the digest of a complete Parquet file with a `sealed_schema` into its metadata."""
    start = _seal_start(file)
    digest = _digest_of_file(file, start)
    file.seek(start)
    file.write(digest)
    file.seek(0, os.SEEK_END)
    file.flush()


def check_seal(file: IO[bytes]) -> None:
    """Check the digest of a Parquet file, if it is sealed.

    Raises:
        ValueError: the file was changed after it was written.
    """
    start = _seal_start(file)
    if start < 0:
        file.seek(0)
        if _SEAL in (pq.read_schema(file).metadata or {}):
            raise ValueError("it was changed after it was written: its digest is gone")
        return
    file.seek(start)
    if file.read(len(_ZEROS)) != _digest_of_file(file, start):
        raise ValueError("it was changed after it was written: its digest is another")


def _seal_start(file: IO[bytes]) -> int:
    """Return where the digest of a Parquet file begins, which is in its footer; else -1."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(end - 8, 0))
    footer = max(end - footer_size(file.read()), 0)
    file.seek(footer)
    place = file.read().rfind(_MARK)
    return -1 if place < 0 else footer + place + len(_MARK)


def _digest_of_file(file: IO[bytes], start: int) -> bytes:
    """Return the digest of a file that has zeros where its digest begins."""
    digest = sha256()
    file.seek(0)
    position = 0
    while piece := bytearray(file.read(_PIECE)):
        first, last = max(start - position, 0), min(start + len(_ZEROS) - position, len(piece))
        if first < last:
            piece[first:last] = _ZEROS[: last - first]
        digest.update(piece)
        position += len(piece)
    return digest.hexdigest().encode()


def footer_size(tail: bytes) -> int:
    """Return how many bytes at the end of a Parquet file hold its schema and its metadata."""
    return int.from_bytes(tail[-8:-4], "little") + 8


def schema_in_footer(tail: bytes) -> pa.Schema:
    """Return the schema of a Parquet file, with metadata, from its last bytes, unverified.

    Raises:
        pyarrow.ArrowException, OSError: this is no end of a Parquet file, or a damaged one.
    """
    with pq.ParquetFile(pa.BufferReader(tail)) as file:
        return file.schema_arrow


def _with_digest(data: bytes, digest: bytes) -> bytes:
    start = data.rfind(_MARK) + len(_MARK)
    return data[:start] + digest + data[start + len(digest) :]

"""Small Arrow tables as Parquet, to memory and back, in this thread only.

Arrow's threaded reader outlives its call and sometimes aborts a process that ends soon after.
Parquet has checksums of its pages only: a sealed file also has a digest of all its bytes, in its
own metadata.
"""

from __future__ import annotations

from hashlib import sha256
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

_SEAL = b"sha256"
"""The key of the seal in the metadata of a file."""
_MARK = b"sha256 of this file with zeros here: "
_ZEROS = b"0" * 64


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
        return file.read(columns=columns, use_threads=False)


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

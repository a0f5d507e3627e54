"""Small Arrow tables as Parquet, to memory and back, in this thread only.

The threaded reader of Arrow outlives its call and now and then aborts a process that ends soon
after; what is read here is small.
"""

from __future__ import annotations

from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq


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

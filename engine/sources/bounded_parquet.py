"""Parquet from outside: its unpacked size is limited before and while it is unpacked.

A few bytes may unpack to any number of rows and to large values. The footer states the size of a
row group; the rows are also counted, a few at a time, while they are decoded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.image.header import TOO_MANY_BYTES
from florilegium.engine.core.limits import Limits

TOO_MANY_ROWS = "too_many_rows"
BATCH_BYTES = 1 << 30
"""Bytes of rows that are decoded at once, even if each row is as large as its whole row group."""
_FREE_BYTES = 1 << 20
_FREE_ROWS = 1_000_000
_CELL_BYTES = 8
_TEXTS = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())


def bounded_table(data: bytes, limits: Limits, *, columns: list[str] | None = None) -> pa.Table:
    """Read a small Parquet file whole, within the limit of a sheet.

    Raises:
        SampleError: `too_many_bytes`, before they are all unpacked.
        pyarrow.ArrowException, OSError: this is no Parquet file, or a damaged one.
    """
    most = limits.max_sheet_bytes
    with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
        names = file.schema_arrow.names if columns is None else columns
        groups = range(file.metadata.num_row_groups)
        claimed = sum(_sizes(file.metadata, group, names)[0] for group in groups)
        _check(max(claimed, file.metadata.num_rows * len(names) * _CELL_BYTES), most)
        batches, total = [], 0
        rows = rows_at_once(file.metadata, names, groups, most=4096)
        for batch in file.iter_batches(rows, columns=columns, use_threads=False):
            total += sum(map(weight, batch.columns))
            _check(total, most)
            batches.append(batch)
        schema = batches[0].schema if batches else file.schema_arrow
    return pa.Table.from_batches(batches, schema)


def _check(size: int, most: int) -> None:
    if size > most:
        message = f"{size} bytes when unpacked, the limit is {most} (limits.max_sheet_bytes)"
        raise SampleError(TOO_MANY_BYTES, message)


def check_rows(rows: int, size: int) -> None:
    """Refuse more rows than a file of `size` bytes can have images.

    Raises:
        SampleError: `too_many_rows`.
    """
    if rows > max(_FREE_ROWS, size):
        raise SampleError(TOO_MANY_ROWS, f"{rows} rows in a file of {size} bytes")


def check_ratio(
    metadata: pq.FileMetaData, group: int, names: Sequence[str], limits: Limits
) -> None:
    """Refuse a row group whose columns unpack to too many bytes.

    Raises:
        SampleError: `too_many_bytes`.
    """
    unpacked, packed = _sizes(metadata, group, names)
    most = limits.max_compression_ratio
    if unpacked > _FREE_BYTES + most * packed:
        message = (
            f"{packed} bytes of a row group unpack to {unpacked}, the limit is {most:g} times as "
            f"many (limits.max_compression_ratio)"
        )
        raise SampleError(TOO_MANY_BYTES, message)


def rows_at_once(
    metadata: pq.FileMetaData, names: Sequence[str], groups: Iterable[int], *, most: int
) -> int:
    """Return how many rows of these row groups are decoded at once."""
    largest = max((_sizes(metadata, group, names)[0] for group in groups), default=0)
    return max(1, min(most, BATCH_BYTES // max(largest, 1)))


def _sizes(metadata: pq.FileMetaData, group: int, names: Sequence[str]) -> tuple[int, int]:
    """Return the unpacked and packed bytes of these columns in a row group, from the footer."""
    wanted = set(names)
    row_group = metadata.row_group(group)
    unpacked = packed = 0
    for number in range(row_group.num_columns):
        chunk = row_group.column(number)
        if _column_of(chunk.path_in_schema, wanted):
            unpacked += max(chunk.total_uncompressed_size, 0)
            packed += max(chunk.total_compressed_size, 0)
    return unpacked, packed


def _column_of(path: str, wanted: Collection[str]) -> bool:
    """Whether a path in a schema, `column.field.field`, is in one of these columns; their names may
    contain dots."""
    while path not in wanted:
        path, dot, _ = path.rpartition(".")
        if not dot:
            return False
    return True


def weight(array: pa.Array) -> int:
    """Return the bytes of the values of an array, nested ones included."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    cells = _CELL_BYTES * len(array)
    if pa.types.is_dictionary(array.type):
        return cells + _dictionary_weight(array)
    if pa.types.is_struct(array.type):
        return cells + sum(map(weight, array.flatten()))
    if pa.types.is_nested(array.type):
        return cells + weight(array.flatten())
    return max(cells, array.nbytes)


def _dictionary_weight(array: pa.DictionaryArray) -> int:
    """Return the bytes of the values of a dictionary, each as often as it occurs."""
    values = array.dictionary
    if values.type not in _TEXTS:
        return weight(values) * len(array) if pa.types.is_nested(values.type) else 0
    return pc.sum(pc.binary_length(values).take(array.indices)).as_py() or 0

"""Parquet files with image bytes in a column, as the Hugging Face hub stores datasets.

An item is a range of rows, found from the file's footer; reading streams it, a few rows at a time.
Each row of a damaged row group is a dead letter. `columns` finds the meaning of the columns,
`labels` reads the values of a row.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from florilegium.engine.core.errors import ConfigError, SampleError, StorageError
from florilegium.engine.core.image.header import TOO_MANY_BYTES
from florilegium.engine.core.limits import Limits
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.sources.bounded_parquet import check_ratio, check_rows, rows_at_once
from florilegium.engine.sources.columns import Columns, find_columns, readable_values
from florilegium.engine.sources.files import LeftAlone, dead_letter, failed, list_items
from florilegium.engine.sources.labels import OBJECTS, Labels
from florilegium.engine.sources.objects import CATEGORY_KEYS
from florilegium.engine.sources.place import original, printable
from florilegium.engine.sources.source import FilesConfig, Item, Reading, Source, SourceConfig
from florilegium.engine.sources.url import place_of

PARQUET_SUFFIXES = (".parquet", ".pq")
CORRUPT_PARQUET = "corrupt_parquet"
NULL_IMAGE = "null_image"

BATCH_ROWS = 16
"""Rows decoded at once, at most: bounds the memory, whatever the size of a row group."""


class ParquetConfig(FilesConfig):
    """Options of Parquet files."""

    image_column: str = "image"
    """The column of image bytes, or of `{bytes, path}`."""
    caption_column: str = ""
    """The column of captions; by default `caption` or `text`, if there is."""


class ParquetSource(Source[ParquetConfig]):
    """Row ranges of Parquet files: a file, a glob, or a folder of them."""

    Config: ClassVar[type[SourceConfig]] = ParquetConfig
    is_packed: ClassVar[bool] = True

    def __init__(self, config: ParquetConfig, *, shard_size: int) -> None:
        super().__init__(config, shard_size=shard_size)
        self.place = place_of(config)
        self._left_alone = LeftAlone()

    def remarks(self) -> tuple[str, ...]:
        return self._left_alone.remarks()

    def items(self) -> Iterator[Item]:
        self._left_alone = LeftAlone()
        for file_item in list_items(self.place, PARQUET_SUFFIXES, self._left_alone):
            location, signature = file_item.location, file_item.signature
            try:
                with self._open(location) as file:
                    self._columns(file, location)
                    rows = file.metadata.num_rows
                    check_rows(rows, file_item.size or rows)
            except (ConfigError, StorageError):
                raise
            except Exception:  # `read` reports what is wrong with the file
                yield file_item
                continue
            for start in range(0, rows, self.shard_size):
                stop = min(start + self.shard_size, rows)
                yield Item(location=location, signature=signature, start=start, stop=stop)

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        done = item.start
        try:
            with self._open(item.location) as file:
                if item.stop == 0:
                    check_rows(file.metadata.num_rows, item.size or file.metadata.num_rows)
                    raise OSError("it could not be read when it was listed")
                columns = self._columns(file, item.location)
                for group, start, stop in _groups(file.metadata, item):
                    for result in self._read_group(file, group, (start, stop), columns, item):
                        done += 1
                        yield result
                if done < item.stop:
                    raise OSError("the file has fewer rows than when it was listed")
        except StorageError:
            raise
        except Exception as error:  # damage, or a storage client's own errors
            if item.stop == 0:
                yield _lost_row(item.location, item.location, error)
            yield from _lost(item, done, item.stop, error)

    def _columns(self, file: pq.ParquetFile, location: str) -> Columns:
        image, caption = self.config.image_column, self.config.caption_column
        return find_columns(file.schema_arrow, location, image=image, caption=caption)

    @contextmanager
    def _open(self, location: str) -> Iterator[pq.ParquetFile]:
        with (
            self.place.open(original(location)) as raw,
            pq.ParquetFile(raw, pre_buffer=False, buffer_size=1 << 20) as file,
        ):
            yield file

    def _read_group(
        self,
        file: pq.ParquetFile,
        group: tuple[int, int],
        rows: tuple[int, int],
        columns: Columns,
        item: Item,
    ) -> Iterator[Reading | DeadLetter]:
        """Read rows of one row group; `group` is its number and its first row in the file."""
        (number, row), (start, stop) = group, rows
        done = start
        try:
            check_ratio(file.metadata, number, columns.names, self.limits)
            rows_each = rows_at_once(file.metadata, columns.names, [number], most=BATCH_ROWS)
            batches = file.iter_batches(rows_each, row_groups=[number], columns=columns.names)
            for batch in batches:
                first, last = max(start - row, 0), min(stop - row, batch.num_rows)
                if first < last:
                    wanted = batch.slice(first, last - first)
                    for values in _rows(wanted, columns.image, self.limits):
                        yield self._result(item.location, done, values, columns)
                        done += 1
                row += batch.num_rows
                if row >= stop:
                    break
        except StorageError:
            raise
        except Exception as error:  # hostile bytes raise anything
            yield from _lost(item, done, stop, error)

    def _result(
        self, location: str, row: int, values: dict[str, Any], columns: Columns
    ) -> Reading | DeadLetter:
        where = f"{location}#{row}"
        data, path = values.pop(columns.image)
        is_named = isinstance(path, str) and path
        name = printable(posixpath.splitext(path)[0]) if is_named else _row_name(location, row)
        if data is None:
            message = f"the row has no bytes{f', only the path {path!r:.300}' if path else ''}"
            return dead_letter(name, where, NULL_IMAGE, printable(message))
        if len(data) > self.limits.max_file_bytes:
            message = f"{len(data)} bytes, the limit is {self.limits.max_file_bytes}"
            return dead_letter(name, where, TOO_MANY_BYTES, message)
        try:
            named = {key: _named(key, value, columns) for key, value in values.items()}
            labels = Labels(self.config.encoding, self.limits)
            labels.add_row(named, captions=(columns.caption,))
            metadata, annotations = labels.finish()
        except Exception as error:
            return failed(name, where, error)
        return Reading(
            name=name,
            location=where,
            data=bytes(data),
            metadata=metadata,
            annotations=annotations,
        )


def _groups(metadata: pq.FileMetaData, item: Item) -> Iterator[tuple[tuple[int, int], int, int]]:
    """Yield the row groups that overlap a range, with the first and one-past-last row wanted."""
    first = 0
    for number in range(metadata.num_row_groups):
        last = first + metadata.row_group(number).num_rows
        start, stop = max(first, item.start), min(last, item.stop)
        if start < stop:
            yield (number, first), start, stop
        first = last


def _lost(item: Item, start: int, stop: int, error: Exception) -> Iterator[DeadLetter]:
    for row in range(start, stop):
        yield _lost_row(_row_name(item.location, row), f"{item.location}#{row}", error)


def _lost_row(name: str, location: str, error: Exception) -> DeadLetter:
    reason = error.reason if isinstance(error, SampleError) else CORRUPT_PARQUET
    return dead_letter(name, location, reason, printable(str(error))[:2000])


def _row_name(location: str, row: int) -> str:
    return f"{posixpath.splitext(location)[0]}-{row:06d}"


def _rows(batch: pa.RecordBatch, image: str, limits: Limits) -> Iterator[dict[str, Any]]:
    """Yield each row as Python values; the image as a pair of bytes and path."""
    lists: dict[str, Sequence[Any]] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name == image and pa.types.is_struct(column.type):
            data, path = column.type.get_field_index("bytes"), column.type.get_field_index("path")
            children = column.flatten()
            paths: Sequence[Any] = [None] * len(column)
            if path >= 0:
                paths = readable_values(children[path], most_bytes=limits.max_label_bytes)
            lists[name] = list(zip(children[data].to_pylist(), paths, strict=True))
        elif name == image:
            lists[name] = [(data, None) for data in column.to_pylist()]
        else:
            lists[name] = readable_values(column, most_bytes=limits.max_label_bytes)
    for row in zip(*lists.values(), strict=True):
        yield dict(zip(lists, row, strict=True))


def _named(column: str, value: Any, columns: Columns) -> Any:
    """Replace category numbers by their names where the schema has them."""
    names = columns.class_names.get(column, ())
    if not names or value is None:
        return value
    if column != OBJECTS:
        return _name(value, names)
    if isinstance(value, Mapping):
        return {
            key: [_name(number, names) for number in items]
            if key in CATEGORY_KEYS and isinstance(items, list)
            else items
            for key, items in value.items()
        }
    if not isinstance(value, list):
        return value
    return [
        {key: _name(item, names) if key in CATEGORY_KEYS else item for key, item in row.items()}
        if isinstance(row, Mapping)
        else row
        for row in value
    ]


def _name(number: Any, names: Sequence[str]) -> Any:
    return names[number] if isinstance(number, int) and 0 <= number < len(names) else number

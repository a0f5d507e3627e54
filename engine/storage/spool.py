"""Tables that are put aside on the local disk, and read back in their order.

Knows nothing of the content. The file has no name of its own and goes with the process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import IO

import pyarrow as pa
import pyarrow.ipc

from florilegium.engine.storage.failure import failing


class Spool:
    """Rows of one schema; the file is made with the first of them."""

    def __init__(self, schema: pa.Schema) -> None:
        self.rows = 0
        self.schema = schema
        self._file: IO[bytes] | None = None
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def add(self, table: pa.Table) -> None:
        """Put rows aside, after those before: a piece, where they are one batch.

        Raises:
            StorageError: the disk is full.
        """
        if not table.num_rows:
            return
        with failing("write", tempfile.gettempdir()):
            if self._writer is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - see `close`
                options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
                self._writer = pa.ipc.new_file(self._file, self.schema, options=options)
            self._writer.write_table(table)
        self.rows += table.num_rows

    def tables(self, columns: Sequence[str] = ()) -> Iterator[pa.Table]:
        """Yield the rows in pieces as they were added, or some of their columns; no more can be
        added then."""
        if self._file is None:
            return
        reader = self._reader(self._file, columns)
        with failing("read", tempfile.gettempdir()):
            for number in range(reader.num_record_batches):
                yield pa.Table.from_batches([reader.get_batch(number)])

    def pieces(self) -> Callable[[int], pa.Table]:
        """Return what reads a piece by its number, counted from 0; no more can be added then."""
        if self._file is None:
            raise ValueError("nothing was put aside")
        reader = self._reader(self._file)

        def piece(number: int) -> pa.Table:
            with failing("read", tempfile.gettempdir()):
                return pa.Table.from_batches([reader.get_batch(number)])

        return piece

    def _reader(self, file: IO[bytes], columns: Sequence[str] = ()) -> pa.ipc.RecordBatchFileReader:
        if self._writer is not None:
            with failing("write", tempfile.gettempdir()):
                self._writer.close()
            self._writer = None
        with failing("read", tempfile.gettempdir()):
            wanted = [self.schema.get_field_index(name) for name in columns]
            options = pa.ipc.IpcReadOptions(included_fields=wanted, use_threads=False)
            file.seek(0)
            return pa.ipc.open_file(file, options=options)

    def close(self) -> None:
        """Delete the file."""
        if self._file is not None:
            with suppress(OSError):  # of a full disk, which was reported
                self._file.close()


def regrouped(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Yield the rows of tables in tables of so many rows; the last one may have fewer."""
    held: list[pa.Table] = []
    count = 0
    for table in tables:
        while count + table.num_rows >= rows:
            yield pa.concat_tables([*held, table.slice(0, rows - count)]).combine_chunks()
            table = table.slice(rows - count)
            held, count = [], 0
        if table.num_rows:
            held.append(table)
            count += table.num_rows
    if held:
        yield pa.concat_tables(held).combine_chunks()

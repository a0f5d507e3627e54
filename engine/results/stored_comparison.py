"""The files of comparisons: written shard after shard, and read by row groups.

A shard is in one row group, so that a worker reads a part of a file only.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from threading import Lock
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from florilegium.engine.core.stage import SampleFilter
from florilegium.engine.planning.graph import Node
from florilegium.engine.results.comparison import (
    COMPARED,
    Compared,
    file_schema,
    found_schema,
    numbers_in,
    texts_in,
    verdicts_of,
)
from florilegium.engine.storage.documents import damaged
from florilegium.engine.storage.failure import failing
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.parquet import check_seal, seal, sealed_schema

_log = logging.getLogger(__name__)

_MEASURED_BY, _EMPTY = b"measured_by", b"empty"
"""Metadata: what made the measurements; the digests of shards without a row, by number."""
DAMAGE = (pa.ArrowException, OSError, KeyError, TypeError, ValueError)
"""What reading a damaged file may raise."""
_GROUP = 1 << 16
"""Rows of a row group, and those of its last shard."""
_CURE = "run the same build again, which compares anew"


@dataclass(frozen=True, kw_only=True)
class StoredShard:
    """What a comparison stores of a shard beside its rows; the columns are those of each row.

    `samples_digest` is that of all its samples, `before` the verdicts of the filters that compared
    before, `verdicts` those of this one; `is_whole` where a budget reached all samples.
    """

    samples_digest: str
    before: str
    verdicts: str = ""
    is_whole: bool

    def is_of(self, samples_digest: str, before: str) -> bool:
        """Whether the filter would be given the same of a shard with these samples."""
        return (self.samples_digest, self.before) == (samples_digest, before)


class StoredComparison:
    """A comparison in a file, which is read by row groups; a shard is in one of them.

    Raises one of `DAMAGE` where the file is damaged.
    """

    def __init__(self, output: Folder, name: str) -> None:
        self.name = name
        self._output = output
        self._group: tuple[int, tuple[str, ...], pa.Table] | None = None
        with output.opened(name) as file:
            self._metadata = pq.read_metadata(file)

    def check(self, schema: pa.Schema) -> None:
        """Read the whole file.

        Raises:
            ValueError: it was changed after it was written, or has other columns.
        """
        with self._output.opened(self.name) as file:
            check_seal(file)
        if self._metadata.schema.to_arrow_schema().remove_metadata() != schema:
            raise ValueError("it has other columns")

    @property
    def measured_by(self) -> str:
        """What made the measurements."""
        return str((self._metadata.metadata or {}).get(_MEASURED_BY, b"").decode())

    @cached_property
    def _lasts(self) -> np.ndarray:
        """The number of the last shard in each row group."""
        count = self._metadata.num_row_groups
        groups = (self._metadata.row_group(one).column(0).statistics for one in range(count))
        return np.array([one.max for one in groups], np.int64)

    @cached_property
    def shards(self) -> dict[int, StoredShard]:
        """What is stored of each shard, by number."""
        about = json.loads((self._metadata.metadata or {}).get(_EMPTY, b"{}"))
        found = {int(number): StoredShard(**one) for number, one in about.items()}
        names = tuple(field.name for field in fields(StoredShard))
        for group in range(self._metadata.num_row_groups):
            table = self._read(group, ("shard", *names))
            _, firsts = np.unique(table.column("shard").to_numpy(), return_index=True)
            for row in table.take(pa.array(firsts)).to_pylist():
                number = row.pop("shard")
                found[number] = StoredShard(**row)
        return found

    def rows_of(self, shard: int, columns: Sequence[str]) -> pa.Table:
        """Return the rows of a shard; none for one that has none."""
        group = int(np.searchsorted(self._lasts, shard))
        if group == len(self._lasts):
            return self._metadata.schema.to_arrow_schema().empty_table().select([*columns])
        table = self._read(group, ("shard", *columns))
        numbers = table.column("shard").to_numpy()
        first, end = (int(np.searchsorted(numbers, shard, side)) for side in ("left", "right"))
        return table.slice(first, end - first).select([*columns])

    def _read(self, group: int, columns: Sequence[str]) -> pa.Table:
        wanted = tuple(columns)
        if self._group is None or self._group[:2] != (group, wanted):
            with self._output.opened(self.name) as source:
                file = pq.ParquetFile(
                    source, metadata=self._metadata, page_checksum_verification=True
                )
                table = file.read_row_group(group, columns=[*wanted], use_threads=False)
            self._group = group, wanted, table.select([*wanted]).combine_chunks()
        return self._group[2]


def stored_comparisons(
    output: Folder, node: Node[SampleFilter[Any]], measured_by: str
) -> list[StoredComparison]:
    """Return the comparisons of a filter in a dataset whose measurements are the same; a damaged
    one is left out, with a warning."""
    found = []
    of_filter = re.compile(rf"{re.escape(node.name)}-[0-9a-f]{{16}}\.parquet")
    for file in filter(of_filter.fullmatch, output.names(COMPARED)):
        name = f"{COMPARED}/{file}"
        try:
            one = StoredComparison(output, name)
            if one.measured_by == measured_by:
                one.check(file_schema(node.stage))
                found.append(one)
        except DAMAGE as error:
            _log.warning("%s is damaged, its shards are measured again: %s", name, error)
    return found


def read_comparison(output: Folder, node: Node[SampleFilter[Any]], file: str) -> StoredComparison:
    """Open a comparison of a filter that has to be there.

    Raises:
        StorageError: it is damaged, or gone.
    """
    try:
        stored = StoredComparison(output, file)
        stored.check(file_schema(node.stage))
    except DAMAGE as error:
        raise damaged(output, file, error, cure=_CURE) from error
    return stored


class Comparisons:
    """What the filters of a graph found, for the workers; `files` has the file of each."""

    def __init__(self, output: Folder, files: Mapping[str, str], stages: Mapping[str, Any]) -> None:
        self._output = output
        self._files = files
        self._stages = stages
        self._stored: dict[str, StoredComparison] = {}
        self._turn = Lock()  # a worker opens several shards at once, in threads

    def of(self, shard: int) -> dict[str, Compared]:
        """Return what each filter found for a shard.

        Raises:
            StorageError: a file is damaged or gone.
        """
        with self._turn:
            return {name: self._of(name, shard) for name in self._files}

    def _of(self, name: str, shard: int) -> Compared:
        stage, file = self._stages[name], self._files[name]
        columns = ("key", "sha256", "verdicts", *found_schema(stage).names)
        try:
            if name not in self._stored:
                self._stored[name] = StoredComparison(self._output, file)
            table = self._stored[name].rows_of(shard, columns)
        except DAMAGE as error:
            raise damaged(self._output, file, error, cure=_CURE) from error
        keys, digests = (table.column(one).to_pylist() for one in ("key", "sha256"))
        verdicts = table.column("verdicts")
        return Compared(
            verdicts=verdicts[0].as_py() if len(table) else verdicts_of(table),
            rows={one: row for row, one in enumerate(zip(keys, digests, strict=True))},
            numbers=numbers_in(table, "compared", stage.compared),
            texts=texts_in(table, "compared", stage.compared_texts),
        )


class ComparisonWriter:
    """A comparison that is being written, to a file without a name."""

    def __init__(self, stage: SampleFilter[Any], *, measured_by: str) -> None:
        self._schema = file_schema(stage)
        self._measured_by = measured_by
        self._empty: dict[str, dict[str, Any]] = {}
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - see `close`
        self._held: list[pa.Table] = []
        self._writer: pq.ParquetWriter | None = None

    def add(self, number: int, rows: pa.Table, about: StoredShard) -> None:
        """Write the rows of a shard: what was measured and found. Shards that have rows are in
        ascending order."""
        if not rows.num_rows:
            self._empty[str(number)] = asdict(about)
            return
        of_shard = {"shard": number, **asdict(about)}
        kinds = self._schema.types
        for place, (name, value) in enumerate(of_shard.items()):
            column = pa.repeat(pa.scalar(value, kinds[place]), rows.num_rows)
            rows = rows.add_column(place, name, column)
        self._held.append(rows)
        if sum(map(len, self._held)) >= _GROUP:
            self._flush()

    def publish(self, output: Folder, name: str) -> None:
        """Complete the file and let it appear under a name.

        Raises:
            StorageError: it cannot be written.
        """
        with failing("write", tempfile.gettempdir()):
            self._flush()
            if self._writer is None:
                self._writer = self._started()
            self._writer.add_key_value_metadata({_EMPTY: json.dumps(self._empty).encode()})
            self._writer.close()
            seal(self._file)
            self._file.seek(0)
        with output.publishing(name) as file:
            shutil.copyfileobj(self._file, file, 1 << 20)

    def close(self) -> None:
        """Delete the file without a name."""
        self._file.close()

    def _flush(self) -> None:
        if not self._held:
            return
        if self._writer is None:
            self._writer = self._started()
        with failing("write", tempfile.gettempdir()):
            table = pa.concat_tables(self._held).combine_chunks()
            self._writer.write_table(table.cast(self._writer.schema), row_group_size=len(table))
        self._held = []

    def _started(self) -> pq.ParquetWriter:
        schema = self._schema.with_metadata({_MEASURED_BY: self._measured_by})
        return pq.ParquetWriter(
            self._file, sealed_schema(schema), compression="zstd", write_page_checksum=True
        )

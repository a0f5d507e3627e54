"""What the inputs of shards were read as, so that unchanged inputs are not read again.

The state of a dataset has it for its shards, a receipt beside the layers for each shard that any
dataset with these layers read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.errors import StorageError
from florilegium.engine.core.image.header import PIXELS_VERSION
from florilegium.engine.core.redaction import redacted
from florilegium.engine.core.sample import digest_of
from florilegium.engine.execution.preparation import Run
from florilegium.engine.planning.partition import Partition, ShardSpec, ShardSummary
from florilegium.engine.results.comparison import recipe_of_run
from florilegium.engine.results.listed import is_affected
from florilegium.engine.results.shard import SOURCE_FINGERPRINT
from florilegium.engine.results.shard_table import INPUTS, NO_SHARDS, ShardTable
from florilegium.engine.results.takedowns import list_in_effect
from florilegium.engine.sources.source import RECEIPTS
from florilegium.engine.sources.takedown import NOTHING, Takedown, base_of
from florilegium.engine.storage.side_by_side import side_by_side

_Asked = tuple[ShardSummary, Sequence[int]]
"""A shard, and the rows of its versions that exist."""


def readings_of(run: Run, takedown: Takedown | None = None) -> list[str]:
    """Return a digest of the source options, limits and takedown list for each source; `takedown`
    is another list than that of the run."""
    listed = takedown or run.takedown or NOTHING
    return [
        digest_of(
            [
                SOURCE_FINGERPRINT,
                str(PIXELS_VERSION),
                run.config.limits.of_readings,
                redacted(source.config.model_dump_json()),
                *([listed.digest] if listed.entries else []),
            ]
        )[:16]
        for source in run.sources
    ]


class Readings:
    """Which samples came from which inputs; `finished` are the shards that exist."""

    def __init__(self, run: Run, finished: ShardTable = NO_SHARDS) -> None:
        self._run = run
        self._finished = finished
        self._takedown = run.takedown or NOTHING
        self._readings = readings_of(run)

    def are_of_state(self, shards: Partition, rows: np.ndarray) -> np.ndarray:
        """Return which shards have the inputs that a finished one had, read as they are now: that
        of its row, of which -1 is none."""
        is_same = rows >= 0
        own = self._finished.table.select(INPUTS).take(pa.array(rows[is_same]))
        wanted = {
            name: column.filter(pa.array(is_same))
            for name, column in self.inputs_of(shards).items()
        }
        is_alike = [pc.equal(own[name], wanted[name]).fill_null(False) for name in INPUTS]
        is_same[is_same] = pc.and_(*is_alike).to_numpy()
        return is_same

    @cached_property
    def _known(self) -> list[str]:
        return self._finished.column("reading")

    @cached_property
    def _inputs(self) -> list[tuple[str, str]]:
        return list(zip(*map(self._finished.column, INPUTS), strict=True))

    def read(self, asked: Iterable[_Asked]) -> Iterator[tuple[ShardSummary, str | None]]:
        """Yield what the inputs of each shard were read as (`ShardStats.reading`), as far as known;
        what the state has not is read side by side.

        With another takedown list, inputs are read again only where the versions of the shard that
        exist may hold an image that was listed, or taken off the list.
        """
        unknown: list[_Asked] = []
        for shard, rows in asked:
            reading = self._of_state(shard, rows, self._readings)
            if reading is None:
                unknown.append((shard, rows))
            else:
                yield shard, reading
        if not unknown:
            return
        found = side_by_side(self._read, unknown)
        yield from ((shard, one) for (shard, _), one in zip(unknown, found, strict=True))

    def write(self, spec: ShardSpec, reading: str) -> None:
        """Remember what the inputs of a shard were read as."""
        name = _name(self._readings[spec.source], spec.inputs_digest)
        self._run.layers.publish(name, reading.encode(), durable=False)

    def inputs_of(self, shards: Partition) -> dict[str, pa.ChunkedArray]:
        """Return the columns of a table of these shards that say what its readings came from."""
        readings = pa.array(self._readings, pa.string()).take(shards.summary["source"])
        return dict(zip(INPUTS, (shards.summary["inputs_digest"], readings), strict=True))

    def _of_state(
        self, shard: ShardSummary, rows: Sequence[int], readings: Sequence[str]
    ) -> str | None:
        wanted = (shard.inputs_digest, readings[shard.source])
        return next((self._known[row] for row in rows if self._inputs[row] == wanted), None)

    def _of_receipt(self, shard: ShardSummary, readings: Sequence[str]) -> str | None:
        data = self._run.layers.read(_name(readings[shard.source], shard.inputs_digest))
        return None if data is None else data.decode("ascii", "replace")

    def _read(self, asked: _Asked) -> str | None:
        shard, rows = asked
        reading = self._of_receipt(shard, self._readings)
        return self._of_list_before(shard, rows) if reading is None else reading

    def _of_list_before(self, shard: ShardSummary, rows: Sequence[int]) -> str | None:
        if self._before.digest == self._takedown.digest:
            return None
        before = readings_of(self._run, self._before)
        reading = self._of_state(shard, rows, before) or self._of_receipt(shard, before)
        row = next((row for row in rows if self._known[row] == (reading or "")), None)
        if reading is None or row is None:
            return None
        stats = self._finished[row]
        if recipe_of_run(stats.recipe) != self._run.graph.recipe:
            return None
        source = self._run.sources[shard.source]
        bases = {base_of(source.config.url, shard.location)}
        try:
            if is_affected(self._run.output, stats, self._before, self._takedown, bases):
                return None
        except StorageError:  # what it has cannot be looked at
            return None
        name = _name(self._readings[shard.source], shard.inputs_digest)
        self._run.layers.publish(name, reading.encode(), durable=False)
        return reading

    @cached_property
    def _before(self) -> Takedown:
        return list_in_effect(self._run.output)


def _name(reading: str, inputs_digest: str) -> str:
    """Return the name of a receipt: the inputs of a shard, and how they were read."""
    return f"{RECEIPTS}{reading}/{inputs_digest}"

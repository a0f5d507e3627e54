"""Comparing the samples of a run, before any stage after the sample filter is asked.

    measure: shards that no stored comparison has   (the filter, and what judges before it)
    compare: all shards in their order, streaming   (in this process)
    store:   a file in the output, which workers read

Earlier shards win, so that new shards change no verdict on old ones. A shard whose verdicts did
change has another recipe, and is made again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import FlorilegiumError, RunError
from florilegium.engine.core.judgement import SampleColumns
from florilegium.engine.core.sample import digest_of
from florilegium.engine.core.stage import SampleFilter
from florilegium.engine.execution.finished import Jobs, Survey
from florilegium.engine.execution.losses import Ledger
from florilegium.engine.execution.preparation import Run
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.readings import Readings
from florilegium.engine.execution.scheduler import Job
from florilegium.engine.planning.graph import Node
from florilegium.engine.planning.partition import Partition
from florilegium.engine.results.comparison import (
    MeasuredShard,
    columns_given,
    comparing_stages,
    comparison_file,
    comparison_files,
    found_schema,
    given_schema,
    verdicts_of,
    with_verdicts,
)
from florilegium.engine.results.publication import samples_of_reading
from florilegium.engine.results.stored_comparison import (
    ComparisonWriter,
    StoredShard,
    read_comparison,
    stored_comparisons,
)
from florilegium.engine.storage.spool import Spool
from florilegium.engine.untrusted.traces import unforeseen

Measure = Callable[[Run, Jobs, Callable[[Job, MeasuredShard], None]], None]
"""Measures the shards of jobs with the graph of a run; each is passed on as it comes."""


def is_compared(run: Run, found: Survey) -> bool:
    """Whether all shards are finished, and were made by comparisons that are stored."""
    if found.jobs:
        return False
    rows = found.done.rows("number", "samples_digest", "recipe")
    return all(map(run.output.exists, comparison_files(_stages(run), _stages(run), rows)))


def compare_run(
    run: Run,
    shards: Partition,
    found: Survey,
    measure: Measure,
    progress: Progress,
    *,
    retry: bool = False,
) -> tuple[Run, dict[int, str]]:
    """Compare the samples of a run by each filter that does; return the run with what was found,
    and the recipe by which each shard is to be made, by number.

    Raises:
        RunError: a filter cannot compare, so many images fail that the limit cannot be kept, or
            the workers cannot go on.
        StorageError: a file cannot be read or written.
    """
    verdicts = dict.fromkeys(shards.summary["number"].to_pylist(), "")
    identities = dict(comparing_stages(_stages(run), _stages(run)))
    graph = run.graph
    for node in run.graph.comparing:
        own_run = replace(run, graph=graph.until(node.name))
        comparison = _Comparison(own_run, node, identities[node.name], verdicts)
        comparison.take_stored(shards, found, retry=retry)
        if not comparison.is_stored:
            with closing(comparison):
                comparison.measure(shards, found, measure, progress)
                progress.current = f"comparing images ({node.name})"
                comparison.compare()
        graph = graph.with_comparison(node.name, comparison.file)
        verdicts = comparison.verdicts
    recipes = {number: run.graph.recipe + own for number, own in verdicts.items()}
    return replace(run, graph=graph), recipes


def with_comparisons(run: Run, files: Sequence[str]) -> tuple[Run, dict[int, str]]:
    """Return a run with comparisons that are stored, one for each filter that compares, in their
    order; and the recipes of its shards.

    Raises:
        StorageError: a file is damaged.
    """
    recipes: dict[int, str] = {}
    graph = run.graph
    for node, file in zip(run.graph.comparing, files, strict=True):
        for number, shard in read_comparison(run.output, node, file).shards.items():
            before = recipes.get(number, run.graph.recipe)
            recipes[number] = with_verdicts(before, [shard.verdicts])
        graph = graph.with_comparison(node.name, file)
    return replace(run, graph=graph), recipes


def _stages(run: Run) -> dict[str, dict[str, Any]]:
    """Return the configuration of each stage, as a manifest has them."""
    return {node.fingerprint: node.configuration() for node in run.graph.nodes}


class _Comparison:
    """One filter compares all shards: what is known of each, and where its rows are.

    `run` has the graph that measures for the filter; `before` has, for each shard, the verdicts of
    the filters that compared before, as in its recipe.
    """

    def __init__(
        self, run: Run, node: Node[SampleFilter[Any]], identity: str, before: Mapping[int, str]
    ) -> None:
        self._run = run
        self._node = node
        self._identity = identity
        self._before = before
        self._columns = given_schema(node.stage)
        self._measured_by = digest_of([node.fingerprint, node.gate.digest, *self._columns.names])
        self._shards: dict[int, StoredShard] = {}
        self._rows: dict[int, Callable[[], pa.Table]] = {}
        self._spool = Spool(self._columns)
        self._files: frozenset[str] = frozenset()

    @property
    def file(self) -> str:
        """The file of the comparison."""
        rows = ((n, one.samples_digest, one.verdicts) for n, one in sorted(self._shards.items()))
        return comparison_file(self._node.name, self._identity, rows)

    @property
    def is_stored(self) -> bool:
        """Whether all is known, and stored."""
        return self._shards.keys() == self._before.keys() and self.file in self._files

    @property
    def verdicts(self) -> dict[int, str]:
        """What the recipe of each shard has of all filters that compared so far."""
        return {
            number: with_verdicts(before, [self._shards[number].verdicts])
            for number, before in self._before.items()
        }

    def close(self) -> None:
        """Delete what was put aside."""
        self._spool.close()

    def take_stored(self, shards: Partition, found: Survey, *, retry: bool) -> None:
        """Take over the shards that were measured for an earlier comparison, as they are now."""
        stored = stored_comparisons(self._run.output, self._node, self._measured_by)
        if not stored:
            return
        self._files = frozenset(one.name for one in stored)
        done = set(found.done.column("number"))
        samples = dict(_samples(self._run, shards, found, retry=retry))
        for one in stored:
            for number, samples_digest in samples.items():
                shard = one.shards.get(number)
                is_same = shard and shard.is_of(samples_digest, self._before[number])
                if shard and is_same and (shard.is_whole or number in done):
                    self._shards[number] = shard
                    self._rows[number] = partial(one.rows_of, number, self._columns.names)
            if self.is_stored:  # else what another file has is as good: verdicts are made anew
                return

    def measure(
        self, shards: Partition, found: Survey, measure: Measure, progress: Progress
    ) -> None:
        """Measure the shards that no stored comparison has.

        Raises:
            RunError: so many images fail that the limit cannot be kept.
        """
        missing = [number for number in self._before if number not in self._shards]
        if not missing:
            return
        readings, ledger = Readings(self._run), self._ledger(missing, shards, found)
        places: dict[int, int] = {}

        def put_aside(job: Job, made: MeasuredShard) -> None:
            readings.write(job.spec, made.reading)
            ledger.add(made)
            ledger.check()
            if made.rows.num_rows:
                places[made.number] = len(places)
                self._spool.add(made.rows.combine_chunks())
            self._shards[made.number] = StoredShard(
                samples_digest=made.samples_digest,
                before=self._before[made.number],
                is_whole=made.is_whole,
            )
            done = len(self._shards) - len(self._before) + len(missing)
            what = f"{done} of {counted(len(missing), 'shard')} measured"
            progress.current = f"comparing images ({self._node.name}): {what}"

        measure(self._run, found.jobs.to_measure(missing, found.done), put_aside)
        self._rows |= dict.fromkeys(missing, self._columns.empty_table)
        if places:
            piece = self._spool.pieces()
            self._rows |= {number: partial(piece, place) for number, place in places.items()}

    def _ledger(self, missing: Sequence[int], shards: Partition, found: Survey) -> Ledger:
        """Return what counts the losses of the shards to be measured; no fault is known of inputs
        of the others that are not finished."""
        ledger = Ledger(shards.shards(), self._run.config.max_dead_letter_share)
        is_left = ~np.isin(found.done.column("number"), missing)
        ledger.add_all(found.done.take(np.flatnonzero(is_left)))
        return ledger

    def compare(self) -> None:
        """Compare all shards in their order, and store what was found."""
        stage = self._node.stage
        with closing(ComparisonWriter(stage, measured_by=self._measured_by)) as writer:
            for number, rows in self._found():
                verdicts = verdicts_of(rows)
                self._shards[number] = replace(self._shards[number], verdicts=verdicts)
                writer.add(number, rows, self._shards[number])
            writer.publish(self._run.output, self.file)

    def _found(self) -> Iterator[tuple[int, pa.Table]]:
        """Yield the rows of each shard with what the filter found, in order; those without any are
        not compared."""
        stage = self._node.stage
        waiting: deque[tuple[int, pa.Table]] = deque()
        without: list[int] = []

        def given() -> Iterator[SampleColumns]:
            for number in sorted(self._rows):
                rows = self._rows[number]()
                if not rows.num_rows:
                    without.append(number)
                    continue
                waiting.append((number, rows))
                yield columns_given(rows, stage)

        with self._comparing():
            for found in stage.compare(given()):
                number, rows = waiting.popleft()
                yield number, self._joined(rows, found)
        if waiting:
            raise RunError(f"{self._name} gave no answer to a shard: one each is wanted")
        for number in without:
            yield number, self._joined(self._columns.empty_table(), {})

    def _joined(self, rows: pa.Table, found: Mapping[str, Sequence[Any]]) -> pa.Table:
        """Return rows with what was found for them."""
        for field in found_schema(self._node.stage):
            values = found.get(field.name.partition(".")[2], ())
            column = pa.array(list(values), field.type)
            if len(column) != rows.num_rows or column.null_count:
                raise RunError(
                    f"{self._name} gave {len(column) - column.null_count} values of {field.name!r} "
                    f"for {counted(rows.num_rows, 'sample')}: one each is wanted"
                )
            rows = rows.append_column(field, column)
        return rows

    @property
    def _name(self) -> str:
        return f"sample filter {self._node.name!r}"

    @contextmanager
    def _comparing(self) -> Iterator[None]:
        try:
            yield
        except (FlorilegiumError, GeneratorExit):
            raise
        except Exception as error:
            raise RunError(f"{self._name} cannot compare: {unforeseen(error)}") from error


def _samples(
    run: Run, shards: Partition, found: Survey, *, retry: bool
) -> Iterator[tuple[int, str]]:
    """Yield the shards of which it is known what samples they have now, with their digest. With
    `retry`, only finished ones: what could not be read is read again."""
    yield from found.done.rows("number", "samples_digest")
    if retry:
        return
    waiting = shards.only(set(found.jobs.numbers).__contains__).shards()
    for shard, reading in Readings(run).read((one, ()) for one in waiting):
        if reading is not None:
            yield shard.number, samples_of_reading(reading.encode())

"""What is finished and what is left to do: the shards of a run, and those that exist."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import SAMPLE_FILTERS
from florilegium.engine.execution.answer import BUDGET_EXHAUSTED
from florilegium.engine.execution.nesting import refuse_links
from florilegium.engine.execution.preparation import Run
from florilegium.engine.execution.readings import Readings
from florilegium.engine.execution.scheduler import Job
from florilegium.engine.planning.index import Index, read_index
from florilegium.engine.planning.partition import (
    Partition,
    ShardSummary,
    partition,
    places,
)
from florilegium.engine.results.finished_shards import FinishedShards
from florilegium.engine.results.manifest import RECIPE
from florilegium.engine.results.shard_table import ShardTable
from florilegium.engine.results.state import State
from florilegium.engine.results.takedowns import refuse_to_bring_back, tidy_complete
from florilegium.engine.sources.takedown import TAKEN_DOWN

_NONE = -1


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The finished shards of a run, in the order of their numbers, and the jobs for the others.

    `beside` has finished shards of other versions, and what is known of the version in place. With
    `is_as_left`, the output is as its state has it.
    """

    done: ShardTable
    jobs: Jobs
    beside: State
    is_as_left: bool


class Jobs:
    """The shards that may need work, made into jobs when they are taken."""

    def __init__(
        self,
        shards: Partition,
        numbers: Sequence[int],
        finished: ShardTable,
        rows: Mapping[int, _Rows],
        *,
        retry: bool,
    ) -> None:
        self.numbers = numbers
        self._shards = shards
        self._finished = finished
        self._rows = rows
        self._retry = retry

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Job]:
        return map(self._job, self.numbers)

    def without(self, numbers: Collection[int]) -> Jobs:
        """Return the jobs for other shards than these."""
        left = [number for number in self.numbers if number not in numbers]
        return Jobs(self._shards, left, self._finished, self._rows, retry=self._retry)

    def _job(self, number: int) -> Job:
        rows = self._rows.get(number, _NO_ROWS)
        digests = self._finished.table.column("samples_digest")
        return Job(
            spec=self._shards.spec(number),
            previous_digest=digests[rows.best].as_py() if rows.best != _NONE else "",
            done=self._finished[rows.done] if rows.done != _NONE else None,
            retry=self._retry,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rows:
    """The versions of a shard that exist, as rows of a table: the best one, and the best one that
    was made by the same recipe."""

    best: int = _NONE
    done: int = _NONE


_NO_ROWS = _Rows()


def survey(
    run: Run,
    shards: Partition,
    *,
    retry: bool = False,
    check: bool = False,
    asks_again: bool = True,
    is_slice: bool = False,
) -> Survey:
    """Find out which shards are finished, and which need a job.

    Without `asks_again`, a shard is finished although a budget did not reach all its images. With
    `is_slice`, only these shards are looked at.
    """
    numbers = set(shards.summary.column("number").to_pylist()) if is_slice else None
    finished = FinishedShards(run.output, is_read=check, numbers=numbers)
    ranked = _Ranking(finished, recipe=run.graph.recipe)
    readings = Readings(run, finished.shards)
    known = {shard.number: one for shard, one in readings.read(ranked.to_read(shards))}
    done: list[int] = []
    jobs: list[int] = []
    rows: dict[int, _Rows] = {}
    for shard in shards.shards():
        row = ranked.rows(shard.number, known.get(shard.number))
        is_unpaid = asks_again and ranked.is_unpaid[row.done]
        is_wanted = row.done == _NONE or is_unpaid or (retry and ranked.has_failed[row.done])
        if not is_wanted and known.get(shard.number) == ranked.readings[row.done]:
            done.append(row.done)
            continue
        jobs.append(shard.number)
        if row != _NO_ROWS:
            rows[shard.number] = row
    others = np.setdiff1d(np.arange(len(finished.shards)), done)
    return Survey(
        done=finished.shards.take(done),
        jobs=Jobs(shards, jobs, finished.shards, rows, retry=retry),
        beside=State(
            shards=finished.shards.take(others).without_inputs(),
            version=finished.version,
            current=finished.current,
            earlier=finished.earlier,
        ),
        is_as_left=finished.is_as_left,
    )


def divide(run: Run, *, replace: bool) -> Partition:
    """Divide the sources into shards, and store the division before any shard is made.

    Raises:
        ConfigError: the output holds a dataset from another source, or lies inside of one.
        StorageError: the index cannot be read or written.
    """
    if run.takedown is None:
        refuse_to_bring_back(run.output)
    else:
        tidy_complete(run.output)
    index = read_index(run.output)
    if index is not None and not replace:
        _refuse_another_source(run, index)
    is_kept = index is not None and index.shard_size == run.config.shard_size
    shards = partition(run.sources, index if is_kept else None, shard_size=run.config.shard_size)
    refuse_links(run.sources, shards, run.output, run.layers)
    if shards.index is not index:
        run.output.publish(RECIPE, run.graph.recipe.encode())  # marks that a build is under way
        shards.index.publish(run.output)
    return shards


def _refuse_another_source(run: Run, index: Index) -> None:
    """Refuse to delete the samples of a source that the config no longer has."""
    gone = index.sources() - set(places(run.sources))
    if gone:
        names = ", ".join(sorted(name.rpartition("#")[0] for name in gone))
        raise ConfigError(
            f"{run.output.url} holds a dataset made from {names}, which this config does not "
            f"read: its samples would be deleted. Choose another `output`, or build with --replace"
        )


class _Ranking:
    """The versions of each shard that exist, the best one first."""

    def __init__(self, finished: FinishedShards, *, recipe: str) -> None:
        shards = finished.shards
        self.readings = shards.column("reading")
        self._names = shards.names
        self._recipe = recipe
        self._recipes = shards.column("recipe")
        self._samples = shards.column("samples_digest")
        self._current = finished.current
        self._by_number = finished.by_number()
        self._letters, self.is_unpaid, self.has_failed = _letters_of(shards)

    def places(self, number: int) -> list[int]:
        """Return the rows of a shard: the current version, then those with fewer failures.

        A version with fewer dead letters than the current one, from the same recipe and samples,
        comes first: an interrupted retry made it.
        """
        found = self._by_number.get(number, [])
        if len(found) < 2:
            return found
        found = sorted(found, key=self._names.__getitem__)
        current = next((one for one in found if self._names[one] in self._current), None)

        def rank(place: int) -> tuple[bool, int, bool, str]:
            is_alike = current is not None and (
                (self._recipes[place], self._samples[place])
                == (self._recipes[current], self._samples[current])
            )
            return not is_alike, self._letters[place], place != current, self._names[place]

        return sorted(found, key=rank)

    def to_read(self, shards: Partition) -> Iterator[tuple[ShardSummary, list[int]]]:
        """Yield the shards of which the same recipe made a version, with all their versions."""
        for shard in shards.shards():
            places = self.places(shard.number)
            if self.alike(places):
                yield shard, places

    def alike(self, places: Sequence[int]) -> list[int]:
        """Return the versions that the same recipe made."""
        return [place for place in places if self._recipes[place] == self._recipe]

    def rows(self, number: int, reading: str | None) -> _Rows:
        """Return the best versions of a shard; what was read before comes first."""
        places = self.places(number)
        if not places:
            return _NO_ROWS
        alike = self.alike(places)
        done = next((one for one in alike if self.readings[one] == reading), None)
        if done is None:
            done = next(iter(alike), _NONE)
        return _Rows(best=places[0], done=done)


def _letters_of(shards: ShardTable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each shard how many dead letters it has, whether one is of an image that a budget
    did not reach, and whether one is of an image that a fault lost."""
    lists = shards.table.column("dead_letters")
    is_unpaid, has_failed = np.zeros((2, len(shards) + 1), bool)  # one more: that of no row
    start = 0
    for chunk in lists.chunks:  # their messages together may be more than an array holds
        letters = pc.list_flatten(chunk)
        reasons = pc.struct_field(letters, ["reason"])
        is_drop = pc.starts_with(pc.struct_field(letters, ["stage"]), f"{SAMPLE_FILTERS}/")
        is_fault = pc.and_not(pc.not_equal(reasons, TAKEN_DOWN), is_drop)
        rows = pc.list_parent_indices(chunk).to_numpy() + start
        is_unpaid[rows[_true(pc.equal(reasons, BUDGET_EXHAUSTED))]] = True
        has_failed[rows[_true(is_fault)]] = True
        start += len(chunk)
    return pc.list_value_length(lists).to_numpy(), is_unpaid, has_failed


def _true(mask: pa.BooleanArray) -> np.ndarray:
    """Return a mask of numpy."""
    return np.asarray(mask.to_numpy(zero_copy_only=False), bool)

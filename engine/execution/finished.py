"""What is finished and what is left to do: the shards of a run, and those that exist."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

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
from florilegium.engine.planning.partition import Partition, partition, places
from florilegium.engine.results.finished_shards import FinishedShards, InPlace, in_place
from florilegium.engine.results.manifest import RECIPE
from florilegium.engine.results.shard_table import ShardTable
from florilegium.engine.results.state import State
from florilegium.engine.results.takedowns import refuse_to_bring_back, tidy_complete
from florilegium.engine.sources.takedown import TAKEN_DOWN
from florilegium.engine.storage.folder import Folder

_NONE = -1


@dataclass(frozen=True, kw_only=True)
class Before:
    """What an output has before a run: its index, and what is in place."""

    index: Index | None
    found: InPlace

    @classmethod
    def of(cls, output: Folder) -> Before:
        """Read it; the caller has the lease.

        Raises:
            StorageError: the index is damaged, or the manifest cannot be read.
        """
        return cls(index=read_index(output), found=in_place(output))


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
    """The shards that may need work, made into jobs when they are taken.

    `best` and `done` are rows of finished shards, for each number: the best version that exists,
    and the best one that was made by the same recipe; -1 is none.
    """

    def __init__(
        self,
        shards: Partition,
        numbers: Sequence[int],
        finished: ShardTable,
        best: np.ndarray,
        done: np.ndarray,
        *,
        retry: bool,
    ) -> None:
        self.numbers = numbers
        self._shards = shards
        self._finished = finished
        self._best = best
        self._done = done
        self._retry = retry

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Job]:
        return map(self._job, self.numbers, self._best, self._done)

    def without(self, numbers: Collection[int]) -> Jobs:
        """Return the jobs for other shards than these."""
        is_left = np.array([number not in numbers for number in self.numbers], np.bool_)
        left = [number for number in self.numbers if number not in numbers]
        best, done = self._best[is_left], self._done[is_left]
        return Jobs(self._shards, left, self._finished, best, done, retry=self._retry)

    def to_measure(self, numbers: Sequence[int], finished: ShardTable) -> Jobs:
        """Return jobs for these shards, of which some are `finished`, that take none as done."""
        row_of = {number: row for row, number in enumerate(finished.column("number"))}
        own = np.where(self._best == _NONE, _NONE, self._best + len(finished))
        row_of |= dict(zip(self.numbers, own.tolist(), strict=True))
        best = np.array([row_of[number] for number in numbers], np.int64)
        table = ShardTable.joined([finished, self._finished])
        none = np.full(len(best), _NONE)
        return Jobs(self._shards, numbers, table, best, none, retry=self._retry)

    def _job(self, number: int, best: int, done: int) -> Job:
        digests = self._finished.table.column("samples_digest")
        return Job(
            spec=self._shards.spec(number),
            previous_digest=digests[best].as_py() if best != _NONE else "",
            done=self._finished[done] if done != _NONE else None,
            retry=self._retry,
        )


def survey(
    run: Run,
    shards: Partition,
    *,
    before: InPlace | None = None,
    retry: bool = False,
    check: bool = False,
    asks_again: bool = True,
    is_slice: bool = False,
    recipes: Mapping[int, str] | None = None,
) -> Survey:
    """Find out which shards are finished, and which need a job.

    `before` is what is in place, where it was read since the caller has the lease. Without
    `asks_again`, a shard is finished although a budget did not reach all its images. With
    `is_slice`, only these shards are looked at. `recipes` has that of each shard, where the run was
    compared; else a shard is finished whatever it was compared with.
    """
    numbers = shards.summary["number"].to_numpy()
    wanted = set(numbers.tolist()) if is_slice else None
    finished = FinishedShards(run.output, before, is_read=check, numbers=wanted)
    ranked = _Ranking(finished, recipe=run.graph.recipe, recipes=recipes)
    best, done, is_read = _versions(run, shards, finished, ranked)
    is_wanted = (done == _NONE) | (asks_again & ranked.is_unpaid[done])
    is_wanted |= retry & ranked.has_failed[done]
    is_done = is_read & ~is_wanted
    is_other = np.ones(len(finished.shards), np.bool_)
    is_other[done[is_done]] = False
    is_job = ~is_done
    own = best[is_job], done[is_job]
    return Survey(
        done=finished.shards.take(done[is_done]),
        jobs=Jobs(shards, numbers[is_job].tolist(), finished.shards, *own, retry=retry),
        beside=State(
            shards=finished.shards.take(np.flatnonzero(is_other)).without_inputs(),
            version=finished.version,
            current=finished.current,
            earlier=finished.earlier,
        ),
        is_as_left=finished.is_as_left,
    )


def _versions(
    run: Run, shards: Partition, finished: FinishedShards, ranked: _Ranking
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each shard the row of its best version, that of the best one which the same recipe
    made, and whether its inputs are known to give what that has."""
    readings = Readings(run, finished.shards)
    done = ranked.only_rows(shards.summary["number"].to_numpy())
    is_read = readings.are_of_state(shards, done)
    done[~is_read] = _NONE
    best = done.copy()
    others = shards.where(~is_read)
    places = {shard.number: ranked.places(shard.number) for shard in others.shards()}
    asked = ((one, places[one.number]) for one in others.shards())
    found = readings.read((one, rows) for one, rows in asked if ranked.alike(rows))
    known = {shard.number: one for shard, one in found}
    for at, number in zip(np.flatnonzero(~is_read), places, strict=True):
        reading = known.get(number)
        best[at], done[at] = ranked.rows(places[number], reading)
        is_read[at] = done[at] != _NONE and ranked.readings[done[at]] == reading
    return best, done, is_read


def divide(run: Run, *, replace: bool, index: Index | None = None) -> Partition:
    """Divide the sources into shards, and store the division before any shard is made. `index` is
    the stored one, where it is open.

    Raises:
        ConfigError: the output holds a dataset from another source, or lies inside of one.
        StorageError: the index cannot be read or written.
    """
    if run.takedown is None:
        refuse_to_bring_back(run.output)
    else:
        tidy_complete(run.output)
    index = index or read_index(run.output)
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

    def __init__(
        self, finished: FinishedShards, *, recipe: str, recipes: Mapping[int, str] | None
    ) -> None:
        self._shards = finished.shards
        self._is_ours = _is_made_by(finished.shards, recipe, recipes)
        self._current = finished.current
        self._letters, self.is_unpaid, self.has_failed = _letters_of(finished.shards)
        numbers = finished.shards.table.column("number").to_numpy()
        self._order = np.argsort(numbers, kind="stable")
        self._numbers = numbers[self._order]

    @cached_property
    def readings(self) -> list[str]:
        """What the inputs of each version were read as."""
        return self._shards.column("reading")

    @cached_property
    def _names(self) -> list[str]:
        return self._shards.names

    @cached_property
    def _recipes(self) -> list[str]:
        return self._shards.column("recipe")

    @cached_property
    def _samples(self) -> list[str]:
        return self._shards.column("samples_digest")

    def only_rows(self, numbers: np.ndarray) -> np.ndarray:
        """Return the row of each shard of which one version exists, made by the same recipe; -1 for
        the others."""
        firsts, ends = (np.searchsorted(self._numbers, numbers, side) for side in ("left", "right"))
        rows = np.append(self._order, _NONE)[firsts]
        rows[(ends - firsts != 1) | ~np.append(self._is_ours, False)[rows]] = _NONE
        return rows

    def places(self, number: int) -> list[int]:
        """Return the rows of a shard: the current version, then those with fewer failures.

        A version with fewer dead letters than the current one, from the same recipe and samples,
        comes first: an interrupted retry made it.
        """
        first, end = np.searchsorted(self._numbers, (number, number + 1))
        found: list[int] = self._order[first:end].tolist()
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

    def alike(self, places: Sequence[int]) -> list[int]:
        """Return the versions that the same recipe made."""
        return [place for place in places if self._is_ours[place]]

    def rows(self, places: Sequence[int], reading: str | None) -> tuple[int, int]:
        """Return the best version of a shard, and the best one of the same recipe; what was read
        before comes first."""
        if not places:
            return _NONE, _NONE
        alike = self.alike(places)
        done = next((one for one in alike if self.readings[one] == reading), None)
        if done is None:
            done = next(iter(alike), _NONE)
        return places[0], done


def _is_made_by(shards: ShardTable, recipe: str, recipes: Mapping[int, str] | None) -> np.ndarray:
    """Return which shards were made by the recipe of a run, or with `recipes`, by their own."""
    column = shards.table.column("recipe")
    if not recipes:
        of_run = pc.utf8_slice_codeunits(column, 0, len(recipe))
        return np.asarray(pc.equal(of_run, recipe).to_numpy(), bool)
    wanted = pa.array([recipes.get(one, "") for one in shards.column("number")], pa.string())
    return np.asarray(pc.equal(column, wanted).to_numpy(), bool)


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
        is_unpaid[rows[_true(pc.and_not(pc.equal(reasons, BUDGET_EXHAUSTED), is_drop))]] = True
        has_failed[rows[_true(is_fault)]] = True
        start += len(chunk)
    return pc.list_value_length(lists).to_numpy(), is_unpaid, has_failed


def _true(mask: pa.BooleanArray) -> np.ndarray:
    """Return a mask of numpy."""
    return np.asarray(mask.to_numpy(zero_copy_only=False), bool)

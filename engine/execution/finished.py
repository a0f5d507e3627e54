"""What is finished and what is left to do: the shards of a run, those that exist, and what their
inputs were read as before."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from florilegium.engine.core.errors import ConfigError, StorageError
from florilegium.engine.core.image.header import PIXELS_VERSION
from florilegium.engine.core.redaction import redacted
from florilegium.engine.core.sample import digest_of
from florilegium.engine.execution.answer import BUDGET_EXHAUSTED
from florilegium.engine.execution.losses import without_taken_down
from florilegium.engine.execution.nesting import refuse_links
from florilegium.engine.execution.preparation import Run
from florilegium.engine.execution.scheduler import Job
from florilegium.engine.planning.index import Index, read_index
from florilegium.engine.planning.partition import (
    Partition,
    ShardSpec,
    ShardSummary,
    partition,
    places,
)
from florilegium.engine.results.listed import is_affected
from florilegium.engine.results.manifest import RECIPE, named_shards
from florilegium.engine.results.publication import (
    SHARDS,
    ShardStats,
    finished_names,
    is_whole,
    read_stats,
)
from florilegium.engine.results.shard import SOURCE_FINGERPRINT
from florilegium.engine.results.takedowns import list_in_effect, refuse_to_bring_back, tidy_complete
from florilegium.engine.sources.source import RECEIPTS
from florilegium.engine.sources.takedown import NOTHING, Takedown, base_of
from florilegium.engine.storage.folder import Folder


def survey(
    run: Run,
    shards: Partition,
    *,
    retry: bool = False,
    check: bool = False,
    asks_again: bool = True,
) -> list[Job | ShardStats]:
    """Return for each shard its statistics when it is finished, or the job that makes it.

    Without `asks_again`, a shard is finished although a budget did not reach all its images.
    """
    finished = FinishedShards(run.output, is_read=check)
    readings = Readings(run)
    return [
        _job(run, shards, shard, done, readings.read(shard, done), retry, asks_again)
        for shard in shards.shards()
        for done in [finished.of(shard.number)]
    ]


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
    shards = partition(run.sources, index if is_kept else None)
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


def _job(
    run: Run,
    shards: Partition,
    shard: ShardSummary,
    finished: Sequence[ShardStats],
    reading: str | None,
    retry: bool,
    asks_again: bool,
) -> Job | ShardStats:
    """Return the job of a shard that may need work, or its statistics when it is finished.

    `finished` are the versions of the shard that exist, the best one first.
    """
    previous_digest = finished[0].samples_digest if finished else ""
    alike = [stats for stats in finished if stats.recipe == run.graph.recipe]
    alike.sort(key=lambda stats: stats.reading != reading)  # what was read before comes first
    done = next(iter(alike), None)
    letters = done.dead_letters if done else ()
    is_unpaid = asks_again and any(letter.reason == BUDGET_EXHAUSTED for letter in letters)
    is_wanted = is_unpaid or (retry and bool(without_taken_down(letters)))
    if done and not is_wanted and reading == done.reading:
        return done
    spec = shards.spec(shard.number)
    return Job(spec=spec, previous_digest=previous_digest, done=done, retry=retry)


class FinishedShards:
    """The finished shards of all versions, with the names of those in the current version."""

    def __init__(self, output: Folder, *, is_read: bool) -> None:
        self._output = output
        self._is_read = is_read
        self._entries = output.entries(SHARDS)
        self._names = finished_names(sorted(self._entries))
        self._current = set(named_shards(output))

    def of(self, number: int) -> list[ShardStats]:
        """Return the whole versions of a shard: the current one, then those with fewer failures.

        A version with fewer dead letters than the current one, from the same recipe and samples,
        comes first: an interrupted retry made it.
        """
        read = [read_stats(self._output, name) for name in self._names.get(number, ())]
        whole = [stats for stats in read if stats and self._is_whole(stats)]
        current = next((stats for stats in whole if stats.name in self._current), None)

        def rank(stats: ShardStats) -> tuple[bool, int, bool, str]:
            is_alike = current is not None and (
                (stats.recipe, stats.samples_digest) == (current.recipe, current.samples_digest)
            )
            return not is_alike, len(stats.dead_letters), stats is not current, stats.name

        return sorted(whole, key=rank)

    def _is_whole(self, stats: ShardStats) -> bool:
        return is_whole(self._output, stats, self._entries, is_read=self._is_read)


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
    """Stores which samples came from which inputs, so that unchanged inputs are not read again."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._takedown = run.takedown or NOTHING
        self._readings = readings_of(run)

    def read(self, shard: ShardSummary, finished: Sequence[ShardStats]) -> str | None:
        """Return what the inputs of a shard were read as (`ShardStats.reading`), as far as known.

        With another takedown list, inputs are read again only where the versions of the shard that
        exist may hold an image that was listed, or taken off the list.
        """
        data = self._run.layers.read(self._name(shard, self._readings))
        if data is None:
            return self._of_list_before(shard, finished)
        return data.decode("ascii", "replace")

    def write(self, shard: ShardSummary | ShardSpec, reading: str) -> None:
        """Remember what the inputs of a shard were read as."""
        name = self._name(shard, self._readings)
        self._run.layers.publish(name, reading.encode(), durable=False)

    def _of_list_before(self, shard: ShardSummary, finished: Sequence[ShardStats]) -> str | None:
        if self._before.digest == self._takedown.digest:
            return None
        name = self._name(shard, readings_of(self._run, self._before))
        reading = (self._run.layers.read(name) or b"").decode("ascii", "replace")
        stats = next((one for one in finished if one.reading == reading), None)
        if stats is None or stats.recipe != self._run.graph.recipe:
            return None
        source = self._run.sources[shard.source]
        bases = {base_of(source.config.url, shard.location)}
        try:
            if is_affected(self._run.output, stats, self._before, self._takedown, bases):
                return None
        except StorageError:  # what it has cannot be looked at
            return None
        self.write(shard, reading)
        return reading

    @cached_property
    def _before(self) -> Takedown:
        return list_in_effect(self._run.output)

    def _name(self, shard: ShardSummary | ShardSpec, readings: Sequence[str]) -> str:
        return f"{RECEIPTS}{readings[shard.source]}/{shard.inputs_digest}"

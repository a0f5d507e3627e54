"""A run: a config applied to a source.

    source -> partition -> jobs -> shards -> manifest

Finished shards are not made again. New shards are written beside those of the version before; the
caller switches to the new manifest when card and report are written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from engine.core.counted import counted
from engine.core.errors import ConfigError, MissingPackage, StorageError, UsageError
from engine.core.image.header import PIXELS_VERSION
from engine.core.redaction import redacted
from engine.core.sample import digest_of
from engine.core.tasks import TASKS
from engine.execution.answer import BUDGET_EXHAUSTED
from engine.execution.log import log_dead_letters, run_log
from engine.execution.losses import Ledger, without_taken_down
from engine.execution.nesting import refuse_links, refuse_nesting
from engine.execution.observer import (
    Observer,
    Observers,
    PoolLoad,
    PoolsSeen,
    RunStarted,
    ShardSkipped,
    WorkersStarted,
    WorkFound,
)
from engine.execution.progress import Progress
from engine.execution.runner import InProcessRunner, Runner
from engine.execution.scheduler import Job, Scheduler
from engine.execution.worker import Worker
from engine.planning.config import RunConfig, SourceEntry
from engine.planning.graph import Graph, plan
from engine.planning.partition import (
    INDEX_NAME,
    Index,
    ShardSpec,
    partition,
    places,
    read_index,
    write_index,
)
from engine.planning.plugins import modules_of, search_for_plugins
from engine.planning.source_opening import open_source
from engine.results.listed import is_affected
from engine.results.manifest import RECIPE, Manifest, named_shards
from engine.results.publication import (
    SHARDS,
    ShardStats,
    finished_names,
    is_whole,
    read_stats,
    refuse_vanished,
)
from engine.results.shard import SOURCE_FINGERPRINT
from engine.results.takedowns import list_in_effect, put_in_effect, refuse_to_bring_back
from engine.sources.source import RECEIPTS, Source
from engine.sources.takedown import NOTHING, Takedown, base_of, read_takedown
from engine.sources.url import reached
from engine.storage.folder import Folder
from engine.untrusted.escaped import cut, escaped

_log = logging.getLogger(__name__)

POLL_S = 1.0
"""Seconds between looks at the nodes, and at what workers wait for."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A config whose graph is planned and whose folders and sources are open."""

    config: RunConfig
    graph: Graph
    sources: tuple[Source[Any], ...]
    output: Folder
    layers: Folder
    takedown: Takedown | None = None
    """The list of images to be taken down, if the config names one."""
    problem: UsageError | None = None
    """Why the source cannot be read, in a dry run, which then has no sources."""


def prepare(config: RunConfig, *, is_dry: bool = False, imports_modules: bool = True) -> Run:
    """Check a config as far as possible without reading an image.

    A dry run (`is_dry`) may lack packages of its stages, models and sources. Without
    `imports_modules`, modules that the config names are not imported, except installed ones.

    Raises:
        UsageError: the config cannot be run; the message says what to change.
    """
    if imports_modules:
        search_for_plugins(config.plugin_path)
    _refuse_missing_packages(config, imports_modules=imports_modules)
    try:
        if not imports_modules:
            _refuse_unseen(config)
        sources = tuple(
            open_source(one, shard_size=config.shard_size, limits=config.limits)
            for one in config.source
        )
    except UsageError as problem:
        if not is_dry:
            raise
        return _without_sources(config, problem, imports_modules=imports_modules)
    entries = (SourceEntry(**source.config.model_dump()) for source in sources)
    config = config.model_copy(update={"source": tuple(entries)})
    output, layers = Folder(config.output), Folder(config.layers_url)
    for source in sources:
        refuse_nesting(source.config, output, layers)
    tasks = {task for source in sources for task in (*source.produces, *source.config.provides)}
    return Run(
        config=config,
        graph=plan(config, source_tasks=tasks, is_dry=is_dry, imports_modules=imports_modules),
        sources=sources,
        output=output,
        layers=layers,
        takedown=read_takedown(config.takedown) if config.takedown else None,
    )


def _refuse_unseen(config: RunConfig) -> None:
    for key, use in modules_of(config):
        if key == "source.kind":
            raise ConfigError(
                f"{key} = {cut(use)} names a module, which a dry run does not import: what the "
                f"source holds is not known"
            )


def _without_sources(config: RunConfig, problem: UsageError, *, imports_modules: bool) -> Run:
    """Return a dry run whose sources cannot be opened; they may provide any task."""
    return Run(
        config=config,
        graph=plan(config, source_tasks=TASKS, is_dry=True, imports_modules=imports_modules),
        sources=(),
        output=Folder(config.output),
        layers=Folder(config.layers_url),
        problem=problem,
    )


def _refuse_missing_packages(config: RunConfig, *, imports_modules: bool) -> None:
    """Refuse URLs for which a package is missing; the error names what the stages lack, too.

    Raises:
        MissingPackage: with all pip lines.
    """
    absent: list[MissingPackage] = []
    others = (config.output, config.layers, config.takedown)
    for url in (*(source.url for source in config.source), *others):
        try:
            reached(url or "")
        except MissingPackage as error:
            absent.append(error)
        except ConfigError:
            pass  # a source may have a scheme of its own; opening it reports what is wrong
    if absent:
        graph = plan(config, source_tasks=TASKS, is_dry=True, imports_modules=imports_modules)
        raise MissingPackage.all_of([*absent, *graph.absent, *graph.awaited])


def execute(
    run: Run,
    progress: Progress,
    *,
    retry: bool = False,
    replace: bool = False,
    check: bool = False,
    observer: Observer | None = None,
) -> Manifest:
    """Build what is missing and return the manifest of the dataset, not yet written.

    What happens is reported to `progress` and `observer`.
    With `retry`, images that failed are tried again; those that a budget did not reach always are.
    With `replace`, samples of sources that the config no longer names are deleted. Damaged shards
    are made again; with `check`, all finished shards are read to find damage.

    Raises:
        ConfigError: a stage has a caveat that the config does not allow, or the output holds a
            dataset from another source.
        RunError: so many images fail that the limit cannot be kept, or the workers cannot go on.
        StorageError: a file cannot be written.
    """
    refuse_caveats(run)
    specs = divide(run, replace=replace)
    remarks = remarks_of(run)
    stats = make(run, specs, progress, log=run.output, retry=retry, check=check, observer=observer)
    if not run.output.exists(INDEX_NAME):
        write_index(run.output, specs, shard_size=run.config.shard_size)
    return manifest_of(run, stats, remarks=remarks)


def make(
    run: Run,
    specs: Sequence[ShardSpec],
    progress: Progress,
    *,
    log: Folder,
    retry: bool = False,
    check: bool = False,
    observer: Observer | None = None,
) -> list[ShardStats]:
    """Make the shards that are missing and return the statistics of all; the log is in `log`.

    What happens is reported to `progress` and `observer`.

    Raises:
        RunError: so many images fail that the limit cannot be kept, or the workers cannot go on.
        StorageError: a file cannot be written.
    """
    observer = Observers(progress, observer) if observer else progress
    progress.current = "checking finished shards" if check else progress.current
    receipts = _ReadingReceipts(run)
    found = survey(run, specs, retry=retry, check=check)
    ledger = Ledger(specs, run.config.max_dead_letter_share)
    _skip([done for done in found if isinstance(done, ShardStats)], ledger, observer)
    jobs = [job for job in found if isinstance(job, Job)]
    stages = tuple(node.name for node in run.graph.layered)
    observer.observe(WorkFound(shards=len(jobs), stages=stages))
    if jobs:
        progress.current = "starting the workers"
        on_finished = partial(_finish, receipts, ledger)
        with run_log(log):
            asyncio.run(_run_jobs(run, jobs, progress, observer, on_finished))
    stats = [ledger.stats[spec.number] for spec in specs]
    refuse_vanished(run.output, stats)
    return stats


def survey(
    run: Run,
    specs: Sequence[ShardSpec],
    *,
    retry: bool = False,
    check: bool = False,
    asks_again: bool = True,
) -> list[Job | ShardStats]:
    """Return for each shard its statistics when it is finished, or the job that makes it.

    Without `asks_again`, a shard is finished although a budget did not reach all its images.
    """
    finished = _FinishedShards(run.output, is_read=check)
    receipts = _ReadingReceipts(run)
    return [
        _job(run, spec, done, receipts.read(spec, done), retry=retry, asks_again=asks_again)
        for spec in specs
        for done in [finished.of(spec.number)]
    ]


def manifest_of(run: Run, stats: Sequence[ShardStats], *, remarks: Sequence[str]) -> Manifest:
    """Return the manifest of finished shards."""
    urls = [redacted(source.url) for source in run.config.source]
    return Manifest.of(run.graph, urls, stats, remarks=remarks)


def started(run: Run, *, step: str = "") -> RunStarted:
    """Return the fact that a run starts."""
    return RunStarted(
        sources=tuple(redacted(source.url) for source in run.config.source),
        output=redacted(run.output.url),
        recipe=run.graph.recipe,
        runner=run.config.runner.kind,
        step=step,
    )


def _skip(finished: Sequence[ShardStats], ledger: Ledger, observer: Observer) -> None:
    """Count shards that were finished before."""
    for stats in finished:
        ledger.add(stats)
        observer.observe(ShardSkipped(stats=stats))
    ledger.check()


def _finish(receipts: _ReadingReceipts, ledger: Ledger, job: Job, stats: ShardStats) -> None:
    """Count and log a shard that was finished now, and remember what it was read from."""
    receipts.write(job.spec, stats.reading)
    log_dead_letters(stats.name, without_taken_down(stats.dead_letters))
    _log.info("%s", counted(stats.samples, "sample"), extra={"shard": stats.name})
    ledger.add(stats)
    ledger.check()


def remarks_of(run: Run) -> list[str]:
    """Return the sources' remarks on what was listed; with several sources, each line names one."""
    return [
        escaped(f"{redacted(source.config.url)}: {line}" if len(run.sources) > 1 else line)
        for source in run.sources
        for line in source.remarks()
    ]


def refuse_caveats(run: Run) -> None:
    """Refuse stages whose annotations are worth nothing, unless the config allows them.

    Raises:
        ConfigError: with the stage and the reason.
    """
    for node in run.graph.nodes:
        if (caveat := node.stage.caveat()) and not run.config.allow_random_weights:
            raise ConfigError(
                f"stage {node.name!r} has {caveat}: its annotations are worth nothing; to "
                "measure its speed all the same, set allow_random_weights=true"
            )


def divide(run: Run, *, replace: bool) -> list[ShardSpec]:
    """Divide the sources into shards, and store the division before any shard is made.

    Raises:
        ConfigError: the output holds a dataset from another source, or lies inside of one.
        StorageError: the index cannot be read or written.
    """
    if run.takedown is None:
        refuse_to_bring_back(run.output)
    index, size = read_index(run.output), run.config.shard_size
    if not replace:
        _refuse_another_source(run, index)
    previous = list(index.entries) if index.shard_size == size else []
    specs = partition(run.sources, previous)
    refuse_links(run.sources, specs, run.output, run.layers)
    if [entry for spec in specs for entry in spec.entries] != previous:
        run.output.publish(RECIPE, run.graph.recipe.encode())  # marks that a build is under way
        write_index(run.output, specs, shard_size=size)
    return specs


def _refuse_another_source(run: Run, index: Index) -> None:
    """Refuse to delete the samples of a source that the config no longer has."""
    gone = {entry.source for entry in index.entries} - set(places(run.sources))
    if gone:
        names = ", ".join(sorted(name.rpartition("#")[0] for name in gone))
        raise ConfigError(
            f"{run.output.url} holds a dataset made from {names}, which this config does not "
            f"read: its samples would be deleted. Choose another `output`, or build with --replace"
        )


def _job(
    run: Run,
    spec: ShardSpec,
    finished: Sequence[ShardStats],
    receipt: str | None,
    *,
    retry: bool,
    asks_again: bool,
) -> Job | ShardStats:
    """Return the job of a shard that may need work, or its statistics when it is finished.

    `finished` are the versions of the shard that exist, the best one first.
    """
    previous_digest = finished[0].samples_digest if finished else ""
    alike = [stats for stats in finished if stats.recipe == run.graph.recipe]
    alike.sort(key=lambda stats: stats.reading != receipt)  # what was read before comes first
    done = next(iter(alike), None)
    letters = done.dead_letters if done else ()
    is_unpaid = asks_again and any(letter.reason == BUDGET_EXHAUSTED for letter in letters)
    is_wanted = is_unpaid or (retry and bool(without_taken_down(letters)))
    if done and not is_wanted and receipt == done.reading:
        return done
    return Job(spec=spec, previous_digest=previous_digest, done=done, retry=retry)


class _FinishedShards:
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


async def _run_jobs(
    run: Run,
    jobs: Sequence[Job],
    progress: Progress,
    observer: Observer,
    on_finished: Callable[[Job, ShardStats], None],
) -> None:
    runner = _runner(run)
    scheduler: Scheduler | None = None

    def loads() -> tuple[PoolLoad, ...]:
        return scheduler.loads() if scheduler else ()

    watching = asyncio.create_task(_watch(runner, observer, loads))
    try:
        graph = await runner.start()
        progress.notes += runner.notes()
        if without := [node.name for node in graph.nodes if node.wants_gpu and node.is_on_cpu]:
            progress.notes.append(f"no GPU in this cluster: on its CPUs run {', '.join(without)}")
        _log.info("the workers are starting, %s to look at", counted(len(jobs), "shard"))
        run.output.publish(RECIPE, run.graph.recipe.encode())
        observer.observe(WorkersStarted())
        scheduler = Scheduler(graph, runner, observer, keep_s=run.config.runner.keep_s)
        async for job, stats in scheduler.run(jobs, shard_size=run.config.shard_size):
            on_finished(job, stats)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        observer.observe(PoolsSeen(pools=loads(), waiting=""))
        await runner.close()


async def _watch(
    runner: Runner, observer: Observer, loads: Callable[[], tuple[PoolLoad, ...]]
) -> None:
    """Fit the pools to the nodes, and report the calls of all pools and what the workers wait for,
    until cancelled."""
    while True:
        await runner.fit()
        observer.observe(PoolsSeen(pools=loads(), waiting=await runner.waiting()))
        await asyncio.sleep(POLL_S)


def _runner(run: Run) -> Runner:
    config = run.config
    if run.takedown:  # every worker can read the output, and finds the list as it was read here
        name = put_in_effect(run.output, run.takedown)
        url = run.output.path(name) if run.output.is_local else f"{run.output.url}/{name}"
        config = config.model_copy(update={"takedown": url})
    if config.runner.kind == "in_process":
        worker = Worker(config, run.graph, layers=run.layers, output=run.output)
        return InProcessRunner(worker, run.graph)
    if config.runner.kind == "local":
        from engine.execution.local_runner import LocalRunner

        return LocalRunner(config, run.graph, layers=run.layers, output=run.output)
    from engine.execution.ray_runner import RayRunner

    return RayRunner(config, run.graph, layers=run.layers, output=run.output)


def readings_of(run: Run, takedown: Takedown | None = None) -> list[str]:
    """Return a digest for each source of all on which it depends what is read from an input; with
    the takedown list of the run, or with another one."""
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


class _ReadingReceipts:
    """Stores which samples came from which inputs, so that unchanged inputs are not read again."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._takedown = run.takedown or NOTHING
        self._readings = readings_of(run)

    def read(self, spec: ShardSpec, finished: Sequence[ShardStats]) -> str | None:
        """Return what the inputs of a shard were read as (`ShardStats.reading`), as far as known.

        With another takedown list, inputs are read again only where the versions of the shard that
        exist may hold an image that was listed, or taken off the list.
        """
        data = self._run.layers.read(self._name(spec, self._readings))
        if data is None:
            return self._of_list_before(spec, finished)
        return data.decode("ascii", "replace")

    def write(self, spec: ShardSpec, reading: str) -> None:
        name = self._name(spec, self._readings)
        self._run.layers.publish(name, reading.encode(), durable=False)

    def _of_list_before(self, spec: ShardSpec, finished: Sequence[ShardStats]) -> str | None:
        if self._before.digest == self._takedown.digest:
            return None
        name = self._name(spec, readings_of(self._run, self._before))
        reading = (self._run.layers.read(name) or b"").decode("ascii", "replace")
        stats = next((one for one in finished if one.reading == reading), None)
        if stats is None or stats.recipe != self._run.graph.recipe:
            return None
        source = self._run.sources[spec.source]
        bases = {base_of(source.config.url, spec.entries[0].item.location)}
        try:
            if is_affected(self._run.output, stats, self._before, self._takedown, bases):
                return None
        except StorageError:  # what it has cannot be looked at
            return None
        self.write(spec, reading)
        return reading

    @cached_property
    def _before(self) -> Takedown:
        return list_in_effect(self._run.output)

    def _name(self, spec: ShardSpec, readings: Sequence[str]) -> str:
        return f"{RECEIPTS}{readings[spec.source]}/{spec.inputs_digest}"

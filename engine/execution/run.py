"""A run: a config applied to a source.

    source -> partition -> jobs -> shards -> manifest

Finished shards are not made again. New shards are written beside those of the version before; the
caller switches to the new manifest when card and report are written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial

from florilegium.engine.core.counted import counted
from florilegium.engine.core.redaction import redacted
from florilegium.engine.execution.finished import Readings, divide, survey
from florilegium.engine.execution.local_runner import LocalRunner
from florilegium.engine.execution.log import log_dead_letters, run_log
from florilegium.engine.execution.losses import Ledger, without_taken_down
from florilegium.engine.execution.observer import (
    Observer,
    Observers,
    PoolLoad,
    PoolsSeen,
    RunStarted,
    ShardSkipped,
    WorkersStarted,
    WorkFound,
)
from florilegium.engine.execution.preparation import Run, refuse_caveats, remarks_of
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.runner import InProcessRunner, Runner
from florilegium.engine.execution.runner_choice import (
    PublishingRunner,
    SomethingToAsk,
    may_be_answered,
    one_process,
)
from florilegium.engine.execution.scheduler import Job, Scheduler
from florilegium.engine.execution.worker import Worker
from florilegium.engine.planning.config import RunConfig
from florilegium.engine.planning.partition import Partition
from florilegium.engine.results.manifest import RECIPE, Manifest
from florilegium.engine.results.publication import (
    ShardStats,
    refuse_vanished,
)
from florilegium.engine.results.takedowns import put_in_effect
from florilegium.engine.storage.folder import Folder

_log = logging.getLogger(__name__)

POLL_S = 1.0
"""Seconds between looks at the nodes, and at what workers wait for."""


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
    shards = divide(run, replace=replace)
    remarks = remarks_of(run)
    stats = make(run, shards, progress, log=run.output, retry=retry, check=check, observer=observer)
    return manifest_of(run, stats, remarks=remarks)


def make(
    run: Run,
    shards: Partition,
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
    readings = Readings(run)
    found = survey(run, shards, retry=retry, check=check)
    ledger = Ledger(shards.shards(), run.config.max_dead_letter_share)
    _skip([done for done in found if isinstance(done, ShardStats)], ledger, observer)
    jobs = [job for job in found if isinstance(job, Job)]
    stages = tuple(node.name for node in run.graph.layered)
    observer.observe(WorkFound(shards=len(jobs), stages=stages))
    if jobs:
        progress.current = "starting the workers"
        on_finished = partial(_finish, readings, ledger)
        with run_log(log):
            asyncio.run(_run_jobs(run, jobs, progress, observer, on_finished))
    stats = [ledger.stats[shard.number] for shard in shards.shards()]
    refuse_vanished(run.output, stats)
    return stats


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


def _finish(readings: Readings, ledger: Ledger, job: Job, stats: ShardStats) -> None:
    """Count and log a shard that was finished now, and remember what it was read from."""
    readings.write(job.spec, stats.reading)
    log_dead_letters(stats.name, without_taken_down(stats.dead_letters))
    _log.info("%s", counted(stats.samples, "sample"), extra={"shard": stats.name})
    ledger.add(stats)
    ledger.check()


async def _run_jobs(
    run: Run,
    jobs: Sequence[Job],
    progress: Progress,
    observer: Observer,
    on_finished: Callable[[Job, ShardStats], None],
) -> None:
    """Make the shards of jobs: those of which all is known without a Ray, if that may be all."""
    left = {job.spec.number: job for job in jobs}

    def finished(job: Job, stats: ShardStats) -> None:
        del left[job.spec.number]
        on_finished(job, stats)

    if may_be_answered(run, jobs):
        publisher = PublishingRunner(_config(run), run.graph, layers=run.layers, output=run.output)
        with suppress(SomethingToAsk):
            one_by_one = [[job] for job in jobs]
            await _work(run, publisher, one_by_one, progress, observer, finished)
    if left:
        progress.current = "starting the workers"
        runner = _runner(run, [*left.values()], progress)
        await _work(run, runner, [[*left.values()]], progress, observer, finished)


async def _work(
    run: Run,
    runner: Runner,
    batches: Iterable[Sequence[Job]],
    progress: Progress,
    observer: Observer,
    on_finished: Callable[[Job, ShardStats], None],
) -> None:
    """Have a runner make the shards of jobs, one batch of jobs after the other."""
    scheduler: Scheduler | None = None

    def loads() -> tuple[PoolLoad, ...]:
        return scheduler.loads() if scheduler else ()

    watching = asyncio.create_task(_watch(runner, observer, loads))
    try:
        graph = await runner.start()
        progress.notes += runner.notes()
        if without := [node.name for node in graph.nodes if node.wants_gpu and node.is_on_cpu]:
            progress.notes.append(f"no GPU in this cluster: on its CPUs run {', '.join(without)}")
        _log.info("the workers are starting")
        run.output.publish(RECIPE, run.graph.recipe.encode())
        observer.observe(WorkersStarted())
        scheduler = Scheduler(graph, runner, observer, keep_s=run.config.runner.keep_s)
        for jobs in batches:
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


def _runner(run: Run, jobs: Sequence[Job], progress: Progress) -> Runner:
    """Return the runner that the config names, or that fits the jobs."""
    config = _config(run)
    layers, output = run.layers, run.output
    if config.runner.kind == "in_process":
        return InProcessRunner(Worker(config, run.graph, layers=layers, output=output), run.graph)
    why = one_process(run, jobs)
    if config.runner.kind == "local" or why:
        progress.notes += [why] if why else []
        return LocalRunner(config, run.graph, layers=layers, output=output)
    from florilegium.engine.execution.ray_runner import RayRunner

    return RayRunner(config, run.graph, layers=layers, output=output)


def _config(run: Run) -> RunConfig:
    """Return the config for workers: each can read the output, and finds the takedown list there
    as it was read here."""
    if run.takedown is None:
        return run.config
    name = put_in_effect(run.output, run.takedown)
    url = run.output.path(name) if run.output.is_local else f"{run.output.url}/{name}"
    return run.config.model_copy(update={"takedown": url})

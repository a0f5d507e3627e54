"""A run: a config applied to a source.

    source -> partition -> jobs -> shards -> manifest

Finished shards are not made again. New shards are written beside those of the version before; the
caller switches to the new manifest when card and report are written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from florilegium.engine.core.counted import counted
from florilegium.engine.core.redaction import redacted
from florilegium.engine.execution.comparing import compare_run, is_compared
from florilegium.engine.execution.finished import Before, Jobs, Survey, divide, survey
from florilegium.engine.execution.local_runner import LocalRunner
from florilegium.engine.execution.log import log_dead_letters, run_log
from florilegium.engine.execution.losses import Ledger, faults
from florilegium.engine.execution.observer import (
    Observer,
    Observers,
    PoolLoad,
    PoolsSeen,
    RunStarted,
    ShardsSkipped,
    WorkersStarted,
    WorkFound,
)
from florilegium.engine.execution.preparation import Run, refuse_caveats, remarks_of
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.readings import Readings
from florilegium.engine.execution.runner import InProcessRunner, Made, Runner
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
from florilegium.engine.results.comparison import MeasuredShard
from florilegium.engine.results.finished_shards import InPlace, refuse_vanished
from florilegium.engine.results.manifest import RECIPE, Manifest
from florilegium.engine.results.publication import ShardStats
from florilegium.engine.results.shard_table import ShardTable, TableOfShards
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
    before: Before | None = None,
) -> Manifest:
    """Build what is missing and return the manifest of the dataset, not yet written.

    What happens is reported to `progress` and `observer`.
    `before` is what the output has, where it was read since the caller has the lease.
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
    shards = divide(run, replace=replace, index=before.index if before else None)
    remarks = remarks_of(run)
    made, found = make(
        run,
        shards,
        progress,
        log=run.output,
        retry=retry,
        check=check,
        observer=observer,
        before=before.found if before else None,
    )
    return manifest_of(run, made, found, remarks=remarks)


def make(
    run: Run,
    shards: Partition,
    progress: Progress,
    *,
    log: Folder,
    retry: bool = False,
    check: bool = False,
    observer: Observer | None = None,
    before: InPlace | None = None,
    slice_recipes: Mapping[int, str] | None = None,
) -> tuple[ShardTable, Survey]:
    """Make the shards that are missing; return all, and what was found before. The log is in `log`.

    What happens is reported to `progress` and `observer`. With `slice_recipes`, other shards than
    these are left alone: they are a slice of a run that was compared, if it is to be, and has these
    recipes.

    Raises:
        RunError: so many images fail that the limit cannot be kept, or the workers cannot go on.
        StorageError: a file cannot be written.
    """
    observer = Observers(progress, observer) if observer else progress
    progress.current = "checking finished shards" if check else progress.current
    is_slice = slice_recipes is not None
    look = partial(survey, run, shards, before=before, retry=retry, check=check, is_slice=is_slice)
    found = look(recipes=slice_recipes)
    if run.graph.comparing and not (is_slice or is_compared(run, found)):
        measure = partial(measured, run, progress, observer, log)
        run, recipes = compare_run(run, shards, found, measure, progress, retry=retry)
        found = look(recipes=recipes)
    awaited = shards.only(set(found.jobs.numbers).__contains__).shards()
    readings, ledger = Readings(run), Ledger(awaited, run.config.max_dead_letter_share)
    _skip(found.done, ledger, observer)
    stages = tuple(node.name for node in run.graph.layered)
    observer.observe(WorkFound(shards=len(found.jobs), stages=stages))
    made = TableOfShards()
    if found.jobs:
        progress.current = "starting the workers"
        on_finished = partial(_finish, readings, ledger, made)
        with run_log(log):
            asyncio.run(
                _run_jobs(run, found.jobs, progress, observer, on_finished, run.graph.recipe)
            )
    made.add_all(found.done)
    whole = made.whole().sorted()
    if found.jobs:
        refuse_vanished(run.output, whole)
    return whole.with_columns(readings.inputs_of(shards)), found


def manifest_of(
    run: Run, stats: Iterable[ShardStats], found: Survey, *, remarks: Sequence[str]
) -> Manifest:
    """Return the manifest of finished shards, with what was found in the output before."""
    urls = [redacted(source.url) for source in run.config.source]
    manifest = Manifest.of(run.graph, urls, stats, remarks=remarks)
    if not found.jobs:
        return replace(manifest, beside=found.beside, is_as_left=found.is_as_left)
    others = found.beside.shards.named(manifest.shards.names, are_others=True)
    return replace(manifest, beside=replace(found.beside, shards=others))  # jobs may find them good


def started(run: Run, *, step: str = "") -> RunStarted:
    """Return the fact that a run starts."""
    return RunStarted(
        sources=tuple(redacted(source.url) for source in run.config.source),
        output=redacted(run.output.url),
        recipe=run.graph.recipe,
        runner=run.config.runner.kind,
        step=step,
    )


def _skip(finished: ShardTable, ledger: Ledger, observer: Observer) -> None:
    """Count shards that were finished before."""
    if finished:
        ledger.add_all(finished)
        observer.observe(
            ShardsSkipped(
                shards=len(finished),
                samples=sum(finished.column("samples")),
                dead_letters=sum(finished.lengths("dead_letters")),
            )
        )
    ledger.check()


def _finish(
    readings: Readings, ledger: Ledger, made: TableOfShards, job: Job, stats: ShardStats
) -> None:
    """Count and log a shard that was finished now, and remember what it was read from."""
    readings.write(job.spec, stats.reading)
    letters = list(faults(stats.dead_letters))
    log_dead_letters(stats.name, letters)
    _log.info("%s", counted(stats.samples, "sample"), extra={"shard": stats.name})
    made.add(stats)
    ledger.add(stats)
    ledger.check()


def measured(
    whole: Run,
    progress: Progress,
    observer: Observer,
    log: Folder,
    run: Run,
    jobs: Jobs,
    on_measured: Callable[[Job, MeasuredShard], None],
) -> None:
    """Measure the shards of jobs by the graph of a run, which is a part of that of the `whole`."""
    stages = tuple(node.name for node in run.graph.layered)
    observer.observe(WorkFound(shards=len(jobs), stages=stages))
    progress.current = "starting the workers"
    recipe = whole.graph.recipe
    with run_log(log):
        asyncio.run(_run_jobs(run, jobs, progress, observer, on_measured, recipe))


async def _run_jobs(
    run: Run,
    jobs: Jobs,
    progress: Progress,
    observer: Observer,
    on_finished: Callable[[Job, Any], None],
    recipe: str,
) -> None:
    """Make the shards of jobs: those of which all is known without a Ray, if that may be all.
    `recipe` marks the output as under way."""
    done: set[int] = set()

    def finished(job: Job, made: Made) -> None:
        done.add(job.spec.number)
        on_finished(job, made)

    config = _config(run)
    if may_be_answered(run, jobs):
        publisher = PublishingRunner(config, run.graph, layers=run.layers, output=run.output)
        with suppress(SomethingToAsk):
            one_by_one = ([job] for job in jobs)
            await _work(run, publisher, one_by_one, progress, observer, finished, recipe)
    if left := jobs.without(done):
        progress.current = "starting the workers"
        runner = _runner(run, config, left, progress)
        await _work(run, runner, [left], progress, observer, on_finished, recipe)


async def _work(
    run: Run,
    runner: Runner,
    batches: Iterable[Iterable[Job]],
    progress: Progress,
    observer: Observer,
    on_finished: Callable[[Job, Any], None],
    recipe: str,
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
        run.output.publish(RECIPE, recipe.encode())
        observer.observe(WorkersStarted())
        scheduler = Scheduler(graph, runner, observer, keep_s=run.config.runner.keep_s)
        for jobs in batches:
            async for job, made in scheduler.run(jobs, shard_size=run.config.shard_size):
                on_finished(job, made)
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


def _runner(run: Run, config: RunConfig, jobs: Iterable[Job], progress: Progress) -> Runner:
    """Return the runner that the config names, or that fits the jobs."""
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

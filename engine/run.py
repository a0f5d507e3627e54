"""A run: a config applied to a source.

    source -> partition -> jobs -> shards -> manifest

What is already there is not made again. The manifest is written last, by the caller, when
everything that people read (card, report) is in place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.config import RunConfig
from engine.errors import RunError
from engine.graph import Graph, plan
from engine.manifest import MANIFEST, Manifest
from engine.partition import ShardSpec, partition, read_index, write_index
from engine.progress import Progress
from engine.publication import SHARDS, ShardStats, is_whole, read_stats
from engine.runner import LocalRunner, Runner
from engine.sample import digest_of
from engine.scheduler import Job, Scheduler
from engine.shard import SOURCE_FINGERPRINT
from engine.sources.open import open_source
from engine.sources.source import Source
from engine.storage import Folder
from engine.worker import Worker

SUFFIXES = (".tar", ".parquet", "_stats.json")
MINIMUM_INPUTS = 100
"""Inputs after which the share of dead letters is judged."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A config whose graph is planned and whose folders and sources are open."""

    config: RunConfig
    graph: Graph
    sources: tuple[Source, ...]
    output: Folder
    layers: Folder


def prepare(config: RunConfig) -> Run:
    """Check a config as far as possible without reading an image.

    Raises:
        UsageError: the config cannot be run; the message says what to change.
    """
    sources = tuple(open_source(source, shard_size=config.shard_size) for source in config.source)
    config = config.model_copy(update={"source": tuple(source.config for source in sources)})
    tasks = {task for source in sources for task in (*source.produces, *source.config.brings)}
    return Run(
        config=config,
        graph=plan(config, source_tasks=tasks),
        sources=sources,
        output=Folder(config.output),
        layers=Folder(config.layers or f"{config.output}/layers"),
    )


def execute(run: Run, progress: Progress, *, retry: bool = False) -> Manifest:
    """Build what is missing and return the manifest of the dataset, not yet written.

    With `retry`, images that failed are tried again.

    Raises:
        RunError: too many images failed, or the workers cannot go on.
        StorageError: a file cannot be written.
    """
    previous = read_index(run.output, shard_size=run.config.shard_size)
    specs = partition(run.sources, previous)
    if [entry for spec in specs for entry in spec.entries] != previous:
        write_index(run.output, specs, shard_size=run.config.shard_size)
    receipts = _Receipts(run)
    stats: dict[str, ShardStats] = {}
    jobs: list[Job] = []
    for spec in specs:
        done = read_stats(run.output, spec.name)
        if done and not is_whole(run.output, done):
            done = None
        current = done is not None and done.recipe == run.graph.recipe
        wanted = retry and bool(done and done.dead_letters)
        if done and current and not wanted and receipts.read(spec) == done.samples_digest:
            stats[spec.name] = done
            continue
        earlier = done.samples_digest if done else ""
        jobs.append(Job(spec=spec, earlier=earlier, done=done if current else None, retry=retry))
    progress.stages = tuple(node.name for node in run.graph.layered)
    progress.shards, progress.current = len(jobs), "starting the workers"
    if jobs:
        finished = _Finished(run, receipts, progress, stats)
        asyncio.run(_build(run, jobs, progress, finished))
    _remove_stale(run.output, {spec.name for spec in specs})
    urls = [source.url for source in run.config.source]
    return Manifest.of(run.graph, urls, [stats[spec.name] for spec in specs])


async def _build(
    run: Run, jobs: Sequence[Job], progress: Progress, finished: Callable[[Job, ShardStats], None]
) -> None:
    runner = _runner(run)
    try:
        await runner.start()
        run.output.remove(MANIFEST)  # until it is written again, the dataset is not finished
        progress.current = ""
        scheduler = Scheduler(run.graph, runner, progress)
        async for job, stats in scheduler.run(jobs, shard_size=run.config.shard_size):
            finished(job, stats)
    finally:
        await runner.close()


def _runner(run: Run) -> Runner:
    if run.config.runner.kind == "local":
        worker = Worker(run.config, run.graph, layers=run.layers, output=run.output)
        return LocalRunner(worker, [node.name for node in run.graph.nodes])
    from engine.ray_runner import RayRunner

    return RayRunner(run.config, run.graph, layers=run.layers, output=run.output)


class _Finished:
    """Takes in finished shards: receipt, counts, and the limit on dead letters."""

    def __init__(
        self, run: Run, receipts: _Receipts, progress: Progress, stats: dict[str, ShardStats]
    ) -> None:
        self._run = run
        self._receipts = receipts
        self._progress = progress
        self._stats = stats

    def __call__(self, job: Job, stats: ShardStats) -> None:
        self._stats[job.spec.name] = stats
        self._receipts.write(job.spec, stats.samples_digest)
        progress = self._progress
        progress.shards_done += 1
        progress.samples += stats.samples
        progress.dead_letters += len(stats.dead_letters)
        inputs = progress.samples + progress.dead_letters
        limit = self._run.config.max_dead_letter_share
        if inputs >= MINIMUM_INPUTS and progress.dead_letters > limit * inputs:
            raise RunError(
                f"{progress.dead_letters} of {inputs} images failed, more than "
                f"max_dead_letter_share = {limit:g} allows; the last reason: "
                f"{stats.dead_letters[-1].reason if stats.dead_letters else 'see the shards'}"
            )


class _Receipts:
    """Remembers which inputs gave which samples, so that unchanged inputs are not read again."""

    def __init__(self, run: Run) -> None:
        self._layers = run.layers
        self._reading = digest_of(
            [
                SOURCE_FINGERPRINT,
                str(run.config.max_pixels),
                *(source.config.model_dump_json() for source in run.sources),
            ]
        )[:16]

    def read(self, spec: ShardSpec) -> str | None:
        data = self._layers.read(self._name(spec))
        return None if data is None else data.decode("ascii", "replace")

    def write(self, spec: ShardSpec, samples_digest: str) -> None:
        self._layers.publish(self._name(spec), samples_digest.encode(), durable=False)

    def _name(self, spec: ShardSpec) -> str:
        return f"source-{self._reading}/{spec.inputs_digest}"


def _remove_stale(output: Folder, live: set[str]) -> None:
    """Delete the files of shards whose inputs are gone, and what a killed writer left behind."""
    for name in output.names(SHARDS):
        suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
        is_left_over = name.startswith(".") and name.endswith(".tmp")
        if is_left_over or (suffix and name.removesuffix(suffix) not in live):
            output.remove(f"{SHARDS}/{name}")

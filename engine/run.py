"""A run: a config applied to a source.

    source -> partition -> jobs -> shards -> manifest

What is already there is not made again. The manifest is written last, by the caller, when
everything that people read (card, report) is in place.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.answer import BUDGET_EXHAUSTED
from engine.config import RunConfig
from engine.errors import ConfigError, RunError
from engine.graph import Graph, plan
from engine.manifest import MANIFEST, RECIPE, Manifest
from engine.partition import ShardSpec, partition, read_index, write_index
from engine.progress import Progress
from engine.publication import SHARDS, ShardStats, is_whole, read_stats
from engine.runner import LocalRunner, Runner
from engine.sample import digest_of
from engine.scheduler import Job, Scheduler
from engine.shard import SOURCE_FINGERPRINT
from engine.sources.open import open_source
from engine.sources.source import Source, SourceConfig
from engine.storage import Folder
from engine.worker import Worker

SUFFIXES = (".tar", ".parquet", "_stats.json")
POLL_S = 2.0
"""Seconds between looks at what workers wait for."""
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


def prepare(config: RunConfig, *, is_dry: bool = False) -> Run:
    """Check a config as far as possible without reading an image.

    A run that is only looked at (`is_dry`) may lack models.

    Raises:
        UsageError: the config cannot be run; the message says what to change.
    """
    sources = tuple(open_source(source, shard_size=config.shard_size) for source in config.source)
    config = config.model_copy(update={"source": tuple(source.config for source in sources)})
    output, layers = Folder(config.output), Folder(config.layers or f"{config.output}/layers")
    for source in config.source:
        _refuse_nesting(source, output, layers)
    tasks = {task for source in sources for task in (*source.produces, *source.config.brings)}
    return Run(
        config=config,
        graph=plan(config, source_tasks=tasks, is_dry=is_dry),
        sources=sources,
        output=output,
        layers=layers,
    )


def _refuse_nesting(source: SourceConfig, *folders: Folder) -> None:
    """Refuse to write where the source would find it in the next run."""
    if source.url.startswith(("package://", f"{source.kind}://")):
        return
    root = Folder(source.url).path("")
    for folder in folders:
        if folder.path("").startswith(root):
            raise ConfigError(
                f"{folder.url} lies inside the source {source.url}, the next run would read it as "
                f"images: choose an `output` and `layers` outside"
            )


def execute(run: Run, progress: Progress, *, retry: bool = False) -> Manifest:
    """Build what is missing and return the manifest of the dataset, not yet written.

    With `retry`, images that failed are tried again; those that a budget did not reach always are.

    Raises:
        ConfigError: a stage has a caveat that the config does not allow.
        RunError: too many images failed, or the workers cannot go on.
        StorageError: a file cannot be written.
    """
    _refuse_caveats(run)
    specs = _specs(run)
    receipts = _Receipts(run)
    ledger = _Ledger(run.config.max_dead_letter_share)
    jobs: list[Job] = []
    for spec in specs:
        job = _job(run, spec, receipts.read(spec), retry=retry)
        if isinstance(job, Job):
            jobs.append(job)
        else:
            ledger.add(job)
            progress.skip(samples=job.samples, dead_letters=len(job.dead_letters))
    progress.stages = tuple(node.name for node in run.graph.layered)
    progress.shards = len(jobs)

    def finished(job: Job, stats: ShardStats) -> None:
        receipts.write(job.spec, stats.samples_digest)
        ledger.add(stats)
        progress.finish(samples=stats.samples, dead_letters=len(stats.dead_letters))
        ledger.check()

    if jobs:
        progress.current = "starting the workers"
        asyncio.run(_build(run, jobs, progress, finished))
    ledger.check()
    _remove_stale(run.output, {spec.name for spec in specs})
    urls = [source.url for source in run.config.source]
    return Manifest.of(run.graph, urls, [ledger.stats[spec.name] for spec in specs])


def _refuse_caveats(run: Run) -> None:
    for node in run.graph.nodes:
        if (caveat := node.stage.caveat()) and not run.config.allow_caveats:
            raise ConfigError(
                f"stage {node.name!r} has {caveat}: nobody should learn from what it says; to "
                "measure its speed all the same, set allow_caveats=true"
            )


def _specs(run: Run) -> list[ShardSpec]:
    """Share the source out into shards, and remember how before anything is made."""
    size = run.config.shard_size
    previous = read_index(run.output, shard_size=size)
    specs = partition(run.sources, previous)
    if [entry for spec in specs for entry in spec.entries] != previous:
        write_index(run.output, specs, shard_size=size)
    return specs


def _job(run: Run, spec: ShardSpec, receipt: str | None, *, retry: bool) -> Job | ShardStats:
    """Return what may be left to do on a shard, or its statistics when nothing is."""
    done = read_stats(run.output, spec.name)
    if done and not is_whole(run.output, done):
        done = None
    earlier = done.samples_digest if done else ""
    if done and done.recipe != run.graph.recipe:
        done = None
    letters = done.dead_letters if done else ()
    is_unpaid = any(letter.reason == BUDGET_EXHAUSTED for letter in letters)
    is_wanted = is_unpaid or (retry and bool(letters))
    if done and not is_wanted and receipt == done.samples_digest:
        return done
    return Job(spec=spec, earlier=earlier, done=done, retry=retry)


async def _build(
    run: Run, jobs: Sequence[Job], progress: Progress, finished: Callable[[Job, ShardStats], None]
) -> None:
    runner = _runner(run)
    try:
        graph = await runner.start()
        if without := [node.name for node in graph.nodes if node.wants_gpu and node.is_on_cpu]:
            progress.notes.append(f"no GPU in this cluster: on its CPUs run {', '.join(without)}")
        run.output.publish(RECIPE, run.graph.recipe.encode())
        run.output.remove(MANIFEST)  # until it is written again, the dataset is not finished
        progress.current = ""
        scheduler = Scheduler(graph, runner, progress)
        watching = asyncio.create_task(_watch(runner, progress))
        try:
            async for job, stats in scheduler.run(jobs, shard_size=run.config.shard_size):
                finished(job, stats)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            progress.waiting = ""
    finally:
        await runner.close()


async def _watch(runner: Runner, progress: Progress) -> None:
    """Keep telling what the workers wait for."""
    while True:
        progress.waiting = await runner.waiting()
        await asyncio.sleep(POLL_S)


def _runner(run: Run) -> Runner:
    if run.config.runner.kind == "local":
        worker = Worker(run.config, run.graph, layers=run.layers, output=run.output)
        return LocalRunner(worker, run.graph)
    from engine.ray_runner import RayRunner

    return RayRunner(run.config, run.graph, layers=run.layers, output=run.output)


class _Ledger:
    """The statistics of finished shards, of this run and earlier ones, and the limit on losses."""

    def __init__(self, max_share: float) -> None:
        self.stats: dict[str, ShardStats] = {}
        self._max_share = max_share
        self._samples = 0
        self._failures: Counter[str] = Counter()

    def add(self, stats: ShardStats) -> None:
        """Take in a finished shard."""
        self.stats[stats.name] = stats
        self._samples += stats.samples
        reasons = (letter.reason for letter in stats.dead_letters)
        self._failures.update(reason for reason in reasons if reason != BUDGET_EXHAUSTED)

    def check(self) -> None:
        """Refuse a dataset of which too much failed.

        Raises:
            RunError: with the commonest reasons.
        """
        failed = self._failures.total()
        inputs = self._samples + failed
        if inputs >= MINIMUM_INPUTS and failed > self._max_share * inputs:
            told = ", ".join(f"{reason} {n}" for reason, n in self._failures.most_common(3))
            raise RunError(
                f"{failed} of {inputs} images failed ({told}), more than max_dead_letter_share = "
                f"{self._max_share:g} allows: mend the source or the stage, or raise the limit; "
                f"--retry-dead-letters tries failed images again"
            )


class _Receipts:
    """Remembers which inputs gave which samples, so that unchanged inputs are not read again."""

    def __init__(self, run: Run) -> None:
        self._layers = run.layers
        self._readings = [
            digest_of(
                [SOURCE_FINGERPRINT, str(run.config.max_pixels), source.config.model_dump_json()]
            )[:16]
            for source in run.sources
        ]

    def read(self, spec: ShardSpec) -> str | None:
        data = self._layers.read(self._name(spec))
        return None if data is None else data.decode("ascii", "replace")

    def write(self, spec: ShardSpec, samples_digest: str) -> None:
        self._layers.publish(self._name(spec), samples_digest.encode(), durable=False)

    def _name(self, spec: ShardSpec) -> str:
        return f"source-{self._readings[spec.source]}/{spec.inputs_digest}"


def _remove_stale(output: Folder, live: set[str]) -> None:
    """Delete the files of shards whose inputs are gone, and what a killed writer left behind."""
    for name in output.names(SHARDS):
        suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
        is_left_over = name.startswith(".") and name.endswith(".tmp")
        if is_left_over or (suffix and name.removesuffix(suffix) not in live):
            output.remove(f"{SHARDS}/{name}")

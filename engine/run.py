"""A run: a config applied to a source.

    source -> partition -> jobs -> shards -> manifest

What is already there is not made again. The manifest is written last, by the caller, when
everything that people read (card, report) is in place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.annotation import TASKS
from engine.answer import BUDGET_EXHAUSTED
from engine.config import RunConfig
from engine.errors import ConfigError, MissingPackage, UsageError
from engine.graph import Graph, plan
from engine.log import run_log
from engine.losses import Ledger
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
from engine.sources.url import reached
from engine.storage import Folder
from engine.worker import Worker

SUFFIXES = (".tar", ".parquet", "_stats.json")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A config whose graph is planned and whose folders and sources are open."""

    config: RunConfig
    graph: Graph
    sources: tuple[Source, ...]
    output: Folder
    layers: Folder
    problem: UsageError | None = None
    """Why the source cannot be read: of a run that is only looked at, which then has no sources."""


def prepare(config: RunConfig, *, is_dry: bool = False) -> Run:
    """Check a config as far as possible without reading an image.

    A run that is only looked at (`is_dry`) may lack packages of its stages, models and sources.

    Raises:
        UsageError: the config cannot be run; the message says what to change.
    """
    _refuse_absent_places(config)
    try:
        sources = tuple(open_source(one, shard_size=config.shard_size) for one in config.source)
    except UsageError as problem:
        if not is_dry:
            raise
        return _without_sources(config, problem)
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


def _without_sources(config: RunConfig, problem: UsageError) -> Run:
    """Return a run to look at whose sources cannot be opened; who knows what they would bring."""
    return Run(
        config=config,
        graph=plan(config, source_tasks=TASKS, is_dry=True),
        sources=(),
        output=Folder(config.output),
        layers=Folder(config.layers or f"{config.output}/layers"),
        problem=problem,
    )


def _refuse_absent_places(config: RunConfig) -> None:
    """Refuse places that nothing here can reach; the error names what the stages lack, too.

    Raises:
        MissingPackage: with all pip lines.
    """
    absent: list[MissingPackage] = []
    for url in (*(source.url for source in config.source), config.output, config.layers):
        try:
            reached(url or "")
        except MissingPackage as error:
            absent.append(error)
        except ConfigError:
            pass  # a source may have a scheme of its own; who opens it says what is wrong
    if absent:
        graph = plan(config, source_tasks=TASKS, is_dry=True)
        raise MissingPackage.all_of([*absent, *graph.absent, *graph.awaited])


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
        RunError: so many images fail that the limit cannot be kept, or the workers cannot go on.
        StorageError: a file cannot be written.
    """
    _refuse_caveats(run)
    specs = _specs(run)
    receipts = _Receipts(run)
    ledger = Ledger(specs, run.config.max_dead_letter_share)
    jobs: list[Job] = []
    for spec in specs:
        job = _job(run, spec, receipts.read(spec), retry=retry)
        if isinstance(job, Job):
            jobs.append(job)
        else:
            ledger.add(job)
    ledger.check()
    progress.stages = tuple(node.name for node in run.graph.layered)
    progress.shards = len(jobs)

    def finished(job: Job, stats: ShardStats) -> None:
        receipts.write(job.spec, stats.samples_digest)
        log.finished(stats)
        ledger.add(stats)
        progress.finish(samples=stats.samples, dead_letters=len(stats.dead_letters))
        ledger.check()

    if jobs:
        progress.current = "starting the workers"
        with run_log(run.output) as log:
            asyncio.run(_build(run, jobs, progress, finished))
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
        async for job, stats in scheduler.run(jobs, shard_size=run.config.shard_size):
            finished(job, stats)
    finally:
        await runner.close()


def _runner(run: Run) -> Runner:
    if run.config.runner.kind == "local":
        worker = Worker(run.config, run.graph, layers=run.layers, output=run.output)
        return LocalRunner(worker, run.graph)
    from engine.ray_runner import RayRunner

    return RayRunner(run.config, run.graph, layers=run.layers, output=run.output)


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

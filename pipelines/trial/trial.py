"""Asking a stage about a few images with the worker of a build, in this process, and timing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow as pa

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import FlorilegiumError, RunError
from florilegium.engine.core.peak_memory import peak_mib
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.core.sample_rows import Value
from florilegium.engine.core.spent import Spent
from florilegium.engine.core.stage import Filter, SampleFilter
from florilegium.engine.execution.worker import Ran, Worker
from florilegium.engine.planning.config import RunConfig, RunnerConfig
from florilegium.engine.planning.graph import Node
from florilegium.engine.planning.partition import ShardSpec
from florilegium.engine.results.publication import ShardStats
from florilegium.engine.results.shard import Shard, ShardBytes
from florilegium.engine.results.shard_files import read_rows
from florilegium.engine.storage.folder import Folder
from florilegium.engine.untrusted.traces import unforeseen
from florilegium.pipelines.cost.memory import gpu_memory
from florilegium.pipelines.trial.given import by_digest, given_stage, read_given
from florilegium.pipelines.trial.images import Images, look_at
from florilegium.pipelines.trial.selection import Selection, select

Calls = dict[str, list[Ran]]
"""What each stage answered, by its name, one call for each image."""


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """What one stage cost: seconds for loading, and for each image that it was asked about, one
    call each, in their order."""

    name: str
    load_s: float
    image_s: tuple[float, ...]
    failures: int
    spent: Spent

    @property
    def first_s(self) -> float | None:
        """Seconds of the first call, which may load and compile what later ones find ready."""
        return self.image_s[0] if self.image_s else None

    @property
    def later_s(self) -> float | None:
        """Mean seconds of the later calls."""
        later = self.image_s[1:]
        return sum(later) / len(later) if later else None


@dataclass(frozen=True, kw_only=True)
class TriedImage:
    """An image that a stage was asked about.

    `rows` are those of the finished shard, one for each annotation that the stage predicted, or
    of a filter for each that it may judge. `failure` is the dead letter of an image that failed,
    `dropped` that of one that a sample filter dropped; `measured` is what the one that is tried
    measured.
    """

    name: str
    key: str
    rows: tuple[Mapping[str, Any], ...]
    data: bytes | None
    """The bytes of the image, if it can be read."""
    failure: DeadLetter | None = None
    dropped: DeadLetter | None = None
    measured: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A stage that was tried: the images in the order in which they were given, and the costs of
    the stages in their order, the one that was tried last.

    `judging_s` are the seconds that all filters took in the end, with the writing of the samples.
    `base_mib` is the peak memory of this process before the first stage, `peak_mib` that at the
    end; memory is in MiB. `gpu_mib` is what torch reserved on the GPU.
    """

    node: Node[Any]
    images: tuple[TriedImage, ...]
    costs: tuple[StageCost, ...]
    judging_s: float
    base_mib: float
    peak_mib: float
    gpu_mib: float = 0.0

    @property
    def failures(self) -> list[TriedImage]:
        """The images that failed."""
        return [image for image in self.images if image.failure]

    def is_about_samples(self, image: TriedImage) -> bool:
        """Whether a sample filter measured or dropped the image: it has no annotations to show."""
        return bool(image.dropped) or isinstance(self.node.stage, SampleFilter)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A trial that was checked: no model is loaded yet. `remarks` are what a user should know."""

    selection: Selection
    images: Images
    remarks: tuple[str, ...] = ()


def prepare_trial(
    use: str,
    images: Sequence[str],
    *,
    scratch: Path,
    config: RunConfig | None = None,
    overrides: Sequence[str] = (),
    annotations: Path | None = None,
    plugin_path: Sequence[str] = (),
) -> Prepared:
    """Check what is to be tried; `scratch` is an empty folder for the layers and the shards.

    Options and earlier stages come from a `config`, where there is one; `annotations` are a file of
    those that the stage reads.

    Raises:
        UsageError: the stage, its options or its inputs are wrong, or an image is not there.
    """
    base = config or RunConfig.model_construct(source=(), output="", specialists={})
    found = look_at(images, base.limits, base.source)
    remarks = [*found.remarks]
    base = base.model_copy(
        update={
            "source": found.sources,
            "output": str(scratch / "output"),
            "layers": str(scratch / "layers"),
            "runner": RunnerConfig(kind="in_process"),
            "images": "original",
            "takedown": None,
            "plugin_path": (*base.plugin_path, *plugin_path),
        }
    )
    given = None
    if annotations is not None:
        rows, dropped = read_given(annotations, list(found.digests), base.limits)
        given = given_stage(by_digest(rows, found.digests))
        if dropped:
            remarks.append(
                f"{annotations}: {counted(dropped, 'annotation')} left out, which a filter dropped"
            )
    selection = select(base, use, overrides, given)
    if comparing := ", ".join(node.name for node in selection.graph.comparing):
        remarks.append(f"{comparing}: compares the images of a run, which a trial does not do")
    return Prepared(selection=selection, images=found, remarks=tuple(remarks))


def run_trial(prepared: Prepared, *, on_step: Callable[[str], None]) -> Trial:
    """Ask the stages about all images, and judge; `on_step` gets what is being done.

    Raises:
        RunError: a stage cannot be loaded, or a filter cannot judge; with the traceback.
    """
    selection, config = prepared.selection, prepared.selection.config
    base_mib = peak_mib()
    output = Folder(config.output)
    worker = Worker(config, selection.graph, layers=Folder(config.layers_url), output=output)
    calls: Calls = {node.name: [] for node in selection.graph.layered}
    load_s: dict[str, float] = {}
    images: list[TriedImage] = []
    judging_s = 0.0
    with _with_traceback():
        for name in calls:
            on_step(f"loading {name}")
            began = perf_counter()
            worker.load([name])
            load_s[name] = perf_counter() - began
        for spec in prepared.images.specs:
            answered = _ask(worker, spec, selection.name, calls, on_step)
            judging_s += answered.judging_s
            rows = _rows(read_rows(output, answered.stats.name), selection.node)
            images += _tried(spec, prepared.images, answered, rows, selection.node)
    return Trial(
        node=selection.node,
        images=tuple(images),
        costs=tuple(
            _cost(node, load_s[node.name], calls[node.name]) for node in selection.graph.layered
        ),
        judging_s=judging_s,
        base_mib=base_mib,
        peak_mib=peak_mib(),
        gpu_mib=gpu_memory().get("gpu_mib", 0.0),
    )


@dataclass(frozen=True, kw_only=True)
class _Answered:
    """A shard that was annotated, with the bytes of its images."""

    shard: Shard
    images: ShardBytes
    stats: ShardStats
    judging_s: float
    ran: Sequence[Ran]
    """The calls of the stage that is tried."""


def _ask(
    worker: Worker, spec: ShardSpec, tried: str, calls: Calls, on_step: Callable[[str], None]
) -> _Answered:
    """Ask the stages about the images of a shard, one image a call, and publish it."""
    work, images = worker.open(spec, previous_digest="", retry=False)
    of_tried: Sequence[Ran] = ()
    for name, samples in work.todo.items():
        on_step(f"asking {name}")
        ran = [worker.run(work, images, [name], [sample]) for sample in samples]
        worker.store(work, [name], *(one.part for one in ran))
        calls[name] += ran
        of_tried = ran if name == tried else of_tried
    on_step("judging")
    began = perf_counter()
    stats = worker.publish(work, images, [])
    judging_s = perf_counter() - began
    return _Answered(
        shard=work.shard, images=images, stats=stats, judging_s=judging_s, ran=of_tried
    )


def _tried(
    spec: ShardSpec,
    given: Images,
    answered: _Answered,
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    node: Node[Any],
) -> Iterator[TriedImage]:
    data = {one.key: answered.images[n] for n, one in enumerate(answered.shard.records)}
    letters = {letter.key: letter for letter in answered.stats.dead_letters}
    measured = _measured(answered, node)
    for key in (entry.key for entry in spec.entries):
        letter = letters.get(key)
        is_drop = letter is not None and bool(letter.dropped_by)
        yield TriedImage(
            name=given.names[key],
            key=key,
            rows=tuple(rows.get(key, ())),
            data=bytes(data[key]) if key in data else None,
            failure=None if is_drop else letter,
            dropped=letter if is_drop else None,
            measured=measured.get(key, {}),
        )


def _measured(answered: _Answered, node: Node[Any]) -> dict[str, Mapping[str, Value]]:
    """Return what a sample filter measured on each image, by key; nothing of another stage."""
    if not isinstance(node.stage, SampleFilter):
        return {}
    layers = [one.part[node.name] for one in answered.ran if node.name in one.part]
    return {
        answered.shard.records[number].key: row.values
        for layer in layers
        for number, (row,) in layer.rows(node, layer.table["sample"].to_pylist()).items()
    }


def _rows(table: pa.Table, node: Node[Any]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the rows of a stage's annotations by key, or of those that a filter is to judge."""
    judged = node.stage.judged_tasks if isinstance(node.stage, Filter) else ()
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in table.to_pylist():
        if row["specialist"] == node.name or row["task"] in judged:
            rows.setdefault(row["key"], []).append(row)
    return rows


def _cost(node: Node[Any], load_s: float, ran: Sequence[Ran]) -> StageCost:
    timings = [timing for one in ran for timing in one.timings]
    return StageCost(
        name=node.name,
        load_s=load_s,
        image_s=tuple(timing.seconds for timing in timings if timing.samples),
        failures=sum(timing.failures for timing in timings),
        spent=node.stage.spent(),
    )


@contextmanager
def _with_traceback() -> Iterator[None]:
    """Turn an unforeseen error of a filter into one with its traceback.

    Raises:
        RunError: with what happened, and where.
    """
    try:
        yield
    except FlorilegiumError:
        raise
    except Exception as error:
        raise RunError(unforeseen(error)) from error

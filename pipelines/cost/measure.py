"""Measuring every stage on a sample of the source, each in a fresh worker of the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from florilegium.engine.core.errors import RunError, UsageError
from florilegium.engine.execution.preparation import Run
from florilegium.engine.execution.waiting import PATIENCE_S, waiting_for
from florilegium.engine.planning.graph import Graph
from florilegium.engine.planning.pools import Machines
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.cost.cost import Cost
from florilegium.pipelines.cost.sample import sample_source


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The costs of the stages of a run on these machines.

    `images` is the number in the whole source, estimated if they lie in archives. Bytes are per
    image: in the source, in finished shards, and in layers.
    """

    graph: Graph
    machines: Machines
    costs: tuple[Cost, ...]
    images: int
    image_bytes: float
    shard_bytes: float
    layer_bytes: float


def measure(run: Run, count: int, *, on_stage: Callable[[str], None]) -> Measured:
    """Measure every stage on about `count` images of the source: on all of them, also where a run
    asks a stage about a share only, so that what reads it is measured with its annotations.

    Raises:
        UsageError: no stage is asked about images.
        RunError: no image of the sample can be read, or a stage cannot be loaded.
    """
    if not run.graph.layered:
        names = ", ".join(node.name for node in run.graph.nodes)
        raise UsageError(
            f"no stage here is asked about images ({names}): there is nothing to measure, and "
            f"`florilegium build` needs no plan"
        )
    import ray

    from florilegium.engine.execution.nodes import nodes_of_ray
    from florilegium.engine.execution.ray_runner import ray_started

    with ray_started(run.config.runner), _scratch(run) as scratch:
        machines = nodes_of_ray(run.config.runner).machines
        graph = run.graph if machines.gpus else run.graph.on_cpus()
        _refuse_what_never_fits(graph, machines)
        whole = graph.about_all()
        first = _probe(run, whole, scratch, num_cpus=0)  # idle while the others are measured
        sampled = sample_source(run, count)
        opened = [first.open.remote(one.spec, count) for one in sampled]
        shards = ray.get(opened)
        asked = [(one, ref) for one, ref in zip(shards, opened, strict=True) if one.samples]
        if not asked:
            letter = shards[0].work.shard.dead_letters[0]
            raise RunError(f"no image of the sample can be read: {letter.message}")
        costs = []
        for node in graph.layered:
            gpus = 0 if node.is_on_cpu else node.stage.config.num_gpus
            cpus = 0 if gpus else 1
            probe = _probe(run, whole, scratch, num_cpus=cpus, num_gpus=gpus)
            for waiting in _until_placed(probe, cpus=cpus, gpus=gpus):
                on_stage(f"{node.name}, {waiting}")
            on_stage(node.name)
            cost = _answer(probe.measure.remote(node.name, *(ref for _, ref in asked)))
            costs.append(replace(cost, sample_share=node.sample_share))
            ray.kill(probe)
        stats = [_answer(first.publish.remote(ref)) for _, ref in asked]
    read = sum(len(one.samples) for one, _ in asked)
    written = sum(one.tar.bytes + one.parquet.bytes for one in stats)
    records = [record for one in shards for record in one.work.shard.records]
    return Measured(
        graph=graph,
        machines=machines,
        costs=tuple(costs),
        images=sum(
            source.inputs(len(one.work.shard.records) + len(one.work.shard.dead_letters))
            for source, one in zip(sampled, shards, strict=True)
        ),
        image_bytes=sum(len(one.images[n]) for one in shards for n in one.samples) / read,
        shard_bytes=written / max(len(records), 1),
        layer_bytes=sum(cost.per_image(cost.layer_bytes) for cost in costs),
    )


def _refuse_what_never_fits(graph: Graph, machines: Machines) -> None:
    for node in graph.layered:
        gpus = node.stage.config.num_gpus
        if node.wants_gpu and not node.is_on_cpu and not machines.holds([gpus]):
            raise RunError(
                f"stage {node.name!r} needs {gpus:g} GPU and no node of the cluster has that (GPUs "
                f"by node: {', '.join(map(str, machines.gpus_by_node))}): lower num_gpus"
            )


def _probe(run: Run, graph: Graph, scratch: Folder, **resources: float) -> Any:
    import ray

    from florilegium.engine.execution.ray_runner import PickledGraph
    from florilegium.pipelines.cost.probe import Probe

    return ray.remote(Probe).options(**resources).remote(run.config, PickledGraph(graph), scratch)


def _until_placed(probe: Any, *, cpus: float, gpus: float) -> Iterator[str]:
    """Yield what a worker waits for, every few seconds until it has started."""
    import ray

    ready = probe.__ray_ready__.remote()
    while not ray.wait([ready], timeout=PATIENCE_S)[0]:
        yield waiting_for(cpus=cpus, gpus=gpus) or "starting its worker"


def _answer(call: Any) -> Any:
    """Wait for a call of an actor; an error of Ray becomes one of ours."""
    import ray
    from ray.exceptions import RayError

    from florilegium.engine.execution.ray_errors import explained

    try:
        return ray.get(call)
    except RayError as error:
        raise explained(error, "plan") from error


@contextmanager
def _scratch(run: Run) -> Iterator[Folder]:
    """Give a temporary folder that all nodes can reach."""
    scratch = Folder(f"{run.output.url}/plan")
    scratch.clear()  # layers of a killed plan would be reused instead of measured
    try:
        yield scratch
    finally:
        scratch.clear()
        if not run.output.names():
            run.output.clear()

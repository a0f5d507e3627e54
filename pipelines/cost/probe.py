"""A worker that measures time and memory of its stages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from florilegium.engine.core.peak_memory import peak_mib
from florilegium.engine.core.stage import Stage
from florilegium.engine.execution.ray_runner import hide_gpus
from florilegium.engine.execution.watch import Watch
from florilegium.engine.execution.worker import LayerParts, ShardWork, Worker
from florilegium.engine.planning.config import RunConfig
from florilegium.engine.planning.graph import Graph, Node
from florilegium.engine.planning.partition import ShardSpec
from florilegium.engine.results.publication import ShardStats
from florilegium.engine.results.shard import ShardBytes
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.cost.cost import Cost
from florilegium.pipelines.cost.memory import gpu_memory
from florilegium.specialists.pretrained.stage import HasNetworks


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A sampled shard that was read; `samples` are the indices of the images to measure on."""

    work: ShardWork
    images: ShardBytes
    samples: tuple[int, ...]


class Probe:
    """A worker that measures its stages; a Ray actor, with a process of its own."""

    def __init__(self, config: RunConfig, graph: Graph, scratch: Folder) -> None:
        hide_gpus()
        self._base_mib = peak_mib()
        self._nodes = {node.name: node for node in graph.nodes}
        self._watch = Watch(memory_mb=config.limits.worker_memory_mb)
        self._worker = Worker(config, graph, layers=scratch, output=scratch, watch=self._watch)

    def open(self, spec: ShardSpec, count: int) -> Opened:
        """Read a shard; at most its first `count` images are measured."""
        work, images = self._watch.call(
            "io", self._worker.open, spec, previous_digest="", retry=False
        )
        samples = tuple(range(min(count, len(work.shard.records))))
        return Opened(work=work, images=images, samples=samples)

    def measure(self, name: str, *shards: Opened) -> Cost:
        """Run a stage on the sample, and store its layers for the stages that read them."""
        node = self._nodes[name]
        begin = time.perf_counter()
        self._watch.call("stages", self._worker.load, [name])
        loaded = time.perf_counter()
        if not node.stage.is_remote:  # it needs no warming up, and each call costs money
            self._ask(node, shards[0], shards[0].samples[: node.stage.config.batch_size])
        warm = time.perf_counter()
        before, prepared_s = node.stage.spent(), _prepared_s(node.stage)
        parts = [self._ask(node, opened, opened.samples) for opened in shards]
        seconds = time.perf_counter() - warm
        spent = node.stage.spent().since(before)
        for opened, answers in zip(shards, parts, strict=True):
            self._worker.store(opened.work, [name], *answers)
        layers = [layer for answers in parts for part in answers for layer in part.values()]
        return Cost(
            name=name,
            images=sum(len(opened.samples) for opened in shards),
            seconds=seconds,
            load_s=loaded - begin,
            base_mib=self._base_mib,
            memory_mib=max(0.0, peak_mib() - self._base_mib),
            prepare_s=_prepared_s(node.stage) - prepared_s,
            layer_bytes=sum(layer.table.nbytes for layer in layers),
            requests=spent.requests,
            price=spent.cost,
            failures=tuple(error.message for layer in layers for error in layer.errors),
            **gpu_memory(),
        )

    def publish(self, opened: Opened) -> ShardStats:
        """Judge and write a shard, to measure its size."""
        return self._watch.call("io", self._worker.publish, opened.work, opened.images, [])

    def _ask(self, node: Node[Any], opened: Opened, samples: Sequence[int]) -> list[LayerParts]:
        """Make the calls that a run would make, with the same concurrency."""
        size = node.stage.config.batch_size
        calls = [samples[start : start + size] for start in range(0, len(samples), size)]

        def run(call: Sequence[int]) -> LayerParts:
            arguments = (opened.work, opened.images, [node.name], call)
            return self._watch.call("stages", self._worker.run, *arguments).part

        with ThreadPoolExecutor(node.stage.calls_at_once) as threads:
            return list(threads.map(run, calls))


def _prepared_s(stage: Stage[Any]) -> float:
    """Return the CPU-seconds in which a stage has prepared images for its networks so far."""
    networks = stage.networks() if isinstance(stage, HasNetworks) else ()
    return sum(network.prepared_s for network in networks)

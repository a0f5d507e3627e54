"""Runners: how the scheduler calls workers.

`InProcessRunner` calls a worker in this process, `LocalRunner` one in a child process, `RayRunner`
calls actors. Bytes of a shard and parts of layers may be references: the scheduler passes them on,
and only workers see their values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from florilegium.engine.core.errors import RunError, SampleError, WorkerDied, WorkerStuck
from florilegium.engine.execution.worker import LayerParts, Ran, ShardWork, Worker
from florilegium.engine.planning.graph import Graph
from florilegium.engine.planning.partition import ShardSpec
from florilegium.engine.results.comparison import MeasuredShard
from florilegium.engine.results.publication import ShardStats
from florilegium.engine.results.shard import Spot

ATTEMPTS = 3
"""Times that reading or publishing a shard is tried when workers die."""


Made = ShardStats | MeasuredShard
"""What becomes of a shard: it is published, or measured for a sample filter that compares."""


LAST_STEPS = ("publish", "measured")
"""Methods of `Worker` that are the last step of a shard."""


def last_step(graph: Graph) -> str:
    """Return which of `LAST_STEPS` is the one of a graph."""
    return LAST_STEPS[bool(graph.measures)]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A shard that a worker has read: its work, and a reference to its bytes.

    `packed` is the work, or a reference to it, as a runner's calls carry it to other processes.
    """

    work: ShardWork
    images: Any
    packed: Any = None


class Runner(ABC):
    """Workers in pools, called asynchronously; a worker takes as many calls at once as its pool
    allows (`Pool.calls`)."""

    @abstractmethod
    async def start(self) -> Graph:
        """Start the workers and return the graph as they host it. Models are loaded at the first
        call of their stage.

        Raises:
            RunError: the machines are too small for the pools.
        """

    async def fit(self) -> None:
        """Grow and shrink the pools as nodes join and leave."""
        return

    def notes(self) -> list[str]:
        """Return remarks for people on the workers that were started."""
        return []

    async def waiting(self) -> str:
        """Return what workers wait for, such as GPUs in use by others; "" when all have started."""
        return ""

    @abstractmethod
    def width(self, pool: str) -> int:
        """Return how many calls of a pool can run at once."""

    @abstractmethod
    async def open(self, spec: ShardSpec, *, previous_digest: str, retry: bool) -> Opened:
        """Read a shard (`Worker.open`).

        Raises:
            WorkerDied: the worker's process died during the call.
        """

    async def reopen(
        self,
        spec: ShardSpec,
        *,
        previous_digest: str,
        retry: bool,
        given_up: Mapping[Spot, SampleError],
    ) -> Opened:
        """Read a shard during whose reading a worker died, with no other call in the worker.

        Raises:
            WorkerDied: the worker's process died again; its `spot` is the input.
        """
        raise NotImplementedError(f"no process of {type(self).__name__} can die alone")

    @abstractmethod
    async def run(
        self,
        pool: str,
        opened: Opened,
        names: Sequence[str],
        samples: Sequence[int],
        *,
        exclusive: bool = False,
    ) -> Ran:
        """Run stages over samples (`Worker.run`); the part may be a reference.

        With `exclusive`, no other call runs in the worker, so that its death is due to this call.

        Raises:
            WorkerDied: the worker's process died during the call.
        """

    @abstractmethod
    async def fetch(self, part: Any) -> LayerParts:
        """Bring a part that `run` returned into this process."""

    @abstractmethod
    async def store(self, opened: Opened, names: Sequence[str], parts: Sequence[Any]) -> None:
        """Publish the layers of stages from parts or references to them (`Worker.store`)."""

    @abstractmethod
    async def keep(
        self, opened: Opened, names: Sequence[str], samples: Collection[int], parts: Sequence[Any]
    ) -> None:
        """Store what stages have answered about some samples so far (`Worker.keep`)."""

    @abstractmethod
    async def publish(self, opened: Opened, names: Sequence[str], parts: Sequence[Any]) -> Made:
        """Publish the last layers and the finished shard (`last_step`)."""

    @abstractmethod
    async def release(self, pool: str) -> None:
        """Stop the workers of a pool that no shard needs any more."""

    @abstractmethod
    async def close(self) -> None:
        """Stop all workers."""


class InProcessRunner(Runner):
    """Runs every call in this process, one after the other, without limits of time and memory: for
    use with a debugger."""

    def __init__(self, worker: Worker, graph: Graph) -> None:
        self._worker = worker
        self._graph = graph

    async def start(self) -> Graph:
        return self._graph

    def width(self, pool: str) -> int:
        return 1

    async def open(self, spec: ShardSpec, *, previous_digest: str, retry: bool) -> Opened:
        work, images = self._worker.open(spec, previous_digest=previous_digest, retry=retry)
        return Opened(work=work, images=images)

    async def run(
        self,
        pool: str,
        opened: Opened,
        names: Sequence[str],
        samples: Sequence[int],
        *,
        exclusive: bool = False,
    ) -> Ran:
        return self._worker.run(opened.work, opened.images, names, samples)

    async def fetch(self, part: LayerParts) -> LayerParts:
        return part

    async def store(
        self, opened: Opened, names: Sequence[str], parts: Sequence[LayerParts]
    ) -> None:
        self._worker.store(opened.work, names, *parts)

    async def keep(
        self,
        opened: Opened,
        names: Sequence[str],
        samples: Collection[int],
        parts: Sequence[LayerParts],
    ) -> None:
        self._worker.keep(opened.work, names, samples, *parts)

    async def publish(
        self, opened: Opened, names: Sequence[str], parts: Sequence[LayerParts]
    ) -> Made:
        publish = getattr(self._worker, last_step(self._graph))
        made: Made = publish(opened.work, opened.images, names, *parts)
        return made

    async def release(self, pool: str) -> None:
        """Nothing to stop: all pools are this process."""

    async def close(self) -> None:
        """Nothing to stop: the models go with the process."""


class DiedLoading(RunError):
    """A worker died while it loaded stages: no image is to blame."""


@contextmanager
def while_loading(names: Iterable[str]) -> Iterator[None]:
    """Turn the death of a worker that loads stages into an error that blames no image.

    Raises:
        DiedLoading: with the stages.
        RunError: a limit was exceeded, as it would be the next time.
    """
    try:
        yield
    except WorkerStuck as error:
        raise RunError(str(error)) from error
    except WorkerDied as error:
        raise DiedLoading(f"a worker died while loading {', '.join(names)}: {error}") from error


def too_small(names: Sequence[str], memory_mb: int | None) -> RunError:
    """Return the error of a worker whose stages alone exceed its limit of memory."""
    return RunError(
        f"a worker that has loaded {', '.join(names)} takes more memory than "
        f"limits.worker_memory_mb = {memory_mb} allows: raise it, or give the stages less"
    )

"""Workers as Ray actors.

An actor hosts the stages of one pool and takes one `run` call at a time, or a few where its stage
allows; reading and publishing happen beside it in other threads. The bytes of a shard lie in the
object store once, and are read again when a node leaves with them; answers are kept by the driver.
Calls go to idle workers, oldest shard first. An actor that dies is replaced.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import sys
import sysconfig
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from florilegium.engine.core.errors import RunError, SampleError, WorkerDied, WorkerStuck
from florilegium.engine.execution.actor_pool import ActorPool
from florilegium.engine.execution.answer import FILE_TIMEOUT, STAGE_TIMEOUT
from florilegium.engine.execution.packed_work import (
    PackedWork,
    Unpacked,
    packed_part,
    unpacked_part,
)
from florilegium.engine.execution.ray_errors import last_line
from florilegium.engine.execution.ray_pools import RayPools
from florilegium.engine.execution.ray_processes import few_processes, one_arena
from florilegium.engine.execution.reply import Reply, reply_to
from florilegium.engine.execution.runner import LAST_STEPS, Made, Opened, Runner, last_step
from florilegium.engine.execution.watch import GRACE_S, NO_TURN, Watch
from florilegium.engine.execution.worker import LayerParts, Ran, Worker
from florilegium.engine.execution.worker_log import WorkerLog
from florilegium.engine.planning.config import RunConfig, RunnerConfig
from florilegium.engine.planning.graph import CPU_POOL, Graph
from florilegium.engine.planning.partition import ShardSpec
from florilegium.engine.planning.plugins import ROOT, searched
from florilegium.engine.planning.pools import Pool
from florilegium.engine.results.layer_store import LayerStore
from florilegium.engine.results.shard import ShardBytes, Spot
from florilegium.engine.storage.folder import Folder


class RayRunner(Runner):
    """Runs calls on actors of a Ray of our own or of a running cluster."""

    def __init__(self, config: RunConfig, graph: Graph, *, layers: Folder, output: Folder) -> None:
        self._config = config
        self._graph = graph
        self._folders = {"layers": layers, "output": output}
        self._pools = RayPools(config.runner, graph, self._made)
        self._is_ours = False
        self._notes: Any = None
        self._keys = itertools.count()

    async def start(self) -> Graph:
        runner = self._config.runner
        self._is_ours = start_ray(runner)
        may_grow = not self._is_ours or runner.address != "local"
        return await self._pools.start(wait_s=runner.wait_for_nodes_s if may_grow else 0)

    async def fit(self) -> None:
        await self._pools.fit()

    async def waiting(self) -> str:
        return await self._pools.waiting()

    def notes(self) -> list[str]:
        return self._pools.notes()

    def width(self, pool: str) -> int:
        return self._pools.width(pool)

    async def open(self, spec: ShardSpec, *, previous_digest: str, retry: bool) -> Opened:
        async def call(actor: Any) -> Opened:
            return await _opened(
                actor.open.remote(spec, previous_digest=previous_digest, retry=retry)
            )

        return await self._pools.pool(CPU_POOL).beside(call, attempts=1)

    async def reopen(
        self,
        spec: ShardSpec,
        *,
        previous_digest: str,
        retry: bool,
        given_up: Mapping[Spot, SampleError],
    ) -> Opened:
        notes, key = self._noted(), next(self._keys)

        async def call(actor: Any) -> Opened:
            options = {
                "previous_digest": previous_digest,
                "retry": retry,
                "given_up": given_up,
                "noted": (notes, key),
            }
            return await _opened(actor.open.remote(spec, **options))

        try:
            return await self._pools.pool(CPU_POOL).call(call, (), priority="", exclusive=True)
        except WorkerDied as error:
            if error.spot is not None:
                raise
            spot, took_s = await notes.last.remote(key)
            if took_s > self._config.limits.file_seconds + GRACE_S:
                raise WorkerDied(NO_TURN, reason=FILE_TIMEOUT, spot=spot) from error
            raise WorkerDied(str(error), reason=error.reason, spot=spot) from error

    async def run(
        self,
        pool: str,
        opened: Opened,
        names: Sequence[str],
        samples: Sequence[int],
        *,
        exclusive: bool = False,
    ) -> Ran:
        # Only the deaths of exclusive calls are blamed on a stage.
        notes, key = (self._noted(), next(self._keys)) if exclusive else (None, 0)
        attempts = itertools.count()

        async def call(actor: Any) -> Ran:
            repeats = next(attempts)
            work, images = opened.packed, opened.images
            reply = await actor.run.remote(work, images, names, samples, noted=(notes, key))
            if reply.checked().is_spent:
                self._pools.pool(pool).retire(actor)
            ran: Ran = reply.value
            return replace(ran, repeats=repeats)

        try:
            return await self._pools.pool(pool).call(
                call, names, priority=opened.work.shard.name, exclusive=exclusive
            )
        except WorkerDied as error:
            if notes is None or isinstance(error, WorkerStuck):
                raise
            limit_s, took_s = await notes.last.remote(key)
            raise died(error, limit_s, took_s) from error

    async def fetch(self, part: bytes) -> LayerParts:
        answers: LayerParts = unpacked_part(part)
        return answers

    async def store(self, opened: Opened, names: Sequence[str], parts: Sequence[Any]) -> None:
        await self._write("store", opened.packed, names, *parts)

    async def keep(
        self, opened: Opened, names: Sequence[str], samples: Collection[int], parts: Sequence[Any]
    ) -> None:
        await self._write("keep", opened.packed, names, samples, *parts)

    async def publish(self, opened: Opened, names: Sequence[str], parts: Sequence[Any]) -> Made:
        made: Made = await self._write(
            last_step(self._graph), opened.packed, opened.images, names, *parts
        )
        return made

    async def _write(self, method: str, *arguments: Any) -> Any:
        """Call a method of a worker that writes, beside its calls of stages."""

        async def call(actor: Any) -> Any:
            return (await actor.write.remote(method, *arguments)).checked().value

        return await self._pools.pool(CPU_POOL).beside(call)

    async def release(self, pool: str) -> None:
        self._pools.release(pool)

    async def close(self) -> None:
        import ray

        self._pools.close()
        if self._notes is not None:
            ray.kill(self._notes)
        if self._is_ours:
            ray.shutdown()

    def _noted(self) -> Any:
        """Return the notes of calls, which outlive the workers, on the node of this process."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if self._notes is None:
            here = ray.get_runtime_context().get_node_id()
            self._notes = (
                ray.remote(_Notes)
                .options(
                    num_cpus=0,
                    max_restarts=-1,
                    max_task_retries=-1,
                    scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=True),
                )
                .remote()
            )
        return self._notes

    def _made(self, pool: Pool) -> ActorPool:
        """Start the workers of a pool."""
        create = _actor_class().options(
            max_restarts=0,
            max_concurrency=pool.calls,
            num_cpus=pool.num_cpus,
            num_gpus=pool.num_gpus,
            label_selector=self._config.runner.label_selector or None,
        )
        make = partial(create.remote, self._config, PickledGraph(self._graph), **self._folders)
        memory_mb = self._config.limits.worker_memory_mb
        return ActorPool(pool, make, memory_mb, ahead=self._never_asked(pool.name))

    def _never_asked(self, pool: str) -> Sequence[str]:
        """Return the stage of a pool of its own that has no layer yet, and so will be asked: its
        model is loaded while shards are read."""
        if pool == CPU_POOL:
            return ()
        layers = LayerStore(self._folders["layers"])
        return [n.name for n in self._graph.layered if n.name == pool and not layers.has_any(n)]


def start_ray(runner: RunnerConfig) -> bool:
    """Start a Ray or join one, unless this process has one; return whether it was done here.

    Raises:
        RunError: there is no Ray at the address, or it does not start in time.
    """
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Else Ray prints again what a reply reports, as an error of the images that came with it.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    if ray.is_initialized():
        return False
    options = _init_options(runner.address, runner.workers, runner.object_store_mb)
    try:
        with _own_signals(), _lean() if runner.address == "local" else nullcontext():
            ray.init(**options)
    except Exception as error:  # Ray has no class for a node that does not start in time
        what = "start a Ray" if runner.address == "local" else f"reach Ray at {runner.address!r}"
        raise RunError(f"cannot {what}: {last_line(error)}") from error
    return True


@contextmanager
def _lean() -> Iterator[None]:
    """Start a Ray of our own that takes no more memory than a run needs."""
    with few_processes(), one_arena():
        yield


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's handler of SIGTERM, which Ray replaces."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def ray_started(runner: RunnerConfig) -> Iterator[None]:
    """Keep one Ray for all runs of the block, rather than one for each.

    Raises:
        RunError: there is no Ray at the address.
    """
    import ray

    is_ours = start_ray(runner)
    try:
        yield
    finally:
        if is_ours:
            ray.shutdown()


def _init_options(address: str, workers: int | None, object_store_mb: int) -> dict[str, Any]:
    """Return how Ray is started or joined; a plain `ray.init()` would join any cluster it finds."""
    job = {"job_config": _job_config(), "log_to_driver": False}
    if address != "local":
        return {"address": address, **job}
    return {
        **job,
        "address": "local",
        "num_cpus": workers,
        "include_dashboard": False,
        "logging_level": "ERROR",
        "object_store_memory": object_store_mb * 1024 * 1024,
        "_node_ip_address": "127.0.0.1",
        # Else Ray remembers 100,000 calls, 4 KB each, for a dashboard.
        "_system_config": {"task_events_report_interval_ms": 0},
    }


def _job_config() -> Any:
    """Return settings with which workers do not import from the driver's current folder."""
    from ray.job_config import JobConfig

    installed = [ROOT] if sysconfig.get_path("purelib") != ROOT else []
    # Ray adds no folder for a client's job; without uploads that flag has no other effect.
    return JobConfig(_client_job=True, _py_driver_sys_path=installed)


def _actor_class() -> Any:
    """Return the actor: a worker, with reading and publishing in threads of their own.

    Each method returns a `Reply`; `open` returns the packed work and the bytes of the images apart
    from it, which the driver passes on by reference. What `run` answers is packed: the driver keeps
    it, and does not look.
    """
    import ray

    class Actor:
        def __init__(self, config: RunConfig, graph: Graph, **folders: Any) -> None:
            hide_gpus()
            logging.getLogger().addHandler(log := WorkerLog())
            limits = config.limits
            watch = Watch(memory_mb=limits.worker_memory_mb, own_seconds=limits.shard_seconds)
            self._watch = watch
            self._reply = partial(reply_to, watch, log)
            self._worker = Worker(config, graph, watch=watch, **folders)
            self._unpacked = Unpacked()

        def node(self) -> str:
            return ray.get_runtime_context().get_node_id()

        def load(self, names: Sequence[str]) -> Reply:
            return self._reply("stages", self._worker.load, names)

        @ray.method(concurrency_group="io", num_returns=3)
        def open(
            self, spec: ShardSpec, *, noted: Any = None, **options: Any
        ) -> tuple[Reply, PackedWork | None, ShardBytes | None]:
            if noted is not None:
                notes, key = noted
                options["note"] = lambda spot: ray.get(notes.put.remote(key, spot))
            reply = self._reply("io", self._worker.open, spec, **options)
            work, images = reply.value or (None, None)
            return replace(reply, value=None), work and PackedWork.of(work), images

        def run(self, *arguments: Any, noted: tuple[Any, int]) -> Reply:
            notes, key = noted
            run = self._worker.run
            if notes is not None:
                run = partial(self._watch.noting, partial(notes.put.remote, key), run)
            reply = self._reply("stages", run, *self._unpacked.all_of(arguments))
            ran: Ran | None = reply.value
            packed = ran and replace(ran, part=packed_part(ran.part))
            return replace(reply, value=packed)

        @ray.method(concurrency_group="io")
        def write(self, method: str, *arguments: Any) -> Reply:
            """Call `store`, `keep` or the last step of a shard; only that has a value."""
            function = getattr(self._worker, method)
            reply = self._reply("io", function, *self._unpacked.all_of(arguments))
            return reply if method in LAST_STEPS else replace(reply, value=None)

    return ray.remote(concurrency_groups={"io": 2})(Actor)


async def _opened(returned: Sequence[Any]) -> Opened:
    """Return what an actor has read, from the references to what its `open` returns."""
    reply, packed, images = returned
    (await reply).checked()
    work: PackedWork = await packed
    return Opened(work=work.unpacked(), images=images, packed=packed)


class _Notes:
    """Remembers what each call is at, in a process that outlives the workers."""

    def __init__(self) -> None:
        self._notes: dict[int, tuple[Any, float]] = {}  # by call, with the time they were made

    def put(self, key: int, note: Any) -> None:
        self._notes[key] = (note, time.monotonic())

    def last(self, key: int) -> tuple[Any, float]:
        """Return the last note of a call, and for how many seconds it has been the last."""
        now_s = time.monotonic()
        note, since_s = self._notes.pop(key, (None, now_s))
        return note, now_s - since_s


def died(error: WorkerDied, limit_s: float | None, took_s: float) -> WorkerDied:
    """Return the error of a worker that died in a block, or between two, which may take `limit_s`.

    Ray does not report why a process ended: a block that was too long was ended by its timer.
    """
    if limit_s is None or took_s < limit_s + GRACE_S:
        return error
    return WorkerDied(NO_TURN, reason=STAGE_TIMEOUT)


def hide_gpus() -> None:
    """Hide the GPUs of the node from a worker that has none; Ray does not."""
    import ray

    if not ray.get_gpu_ids():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


class PickledGraph:
    """A graph on its way to a worker; it is unpickled as the graph itself.

    Its classes may be in folders of plugins that only the driver searches: they go along, and the
    worker searches them before it unpickles the graph.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def __reduce__(self) -> tuple[Any, ...]:
        from ray import cloudpickle

        return _unpickled, (searched(), cloudpickle.dumps(self._graph))


def _unpickled(folders: Sequence[str], packed: bytes) -> Graph:
    from ray import cloudpickle

    sys.path += [folder for folder in folders if folder not in sys.path]
    return cloudpickle.loads(packed)

"""A worker in one child process, with one call at a time.

A child that dies, hangs or takes too much memory is replaced, so a model that crashes costs one
image, as with Ray. The bytes of a shard stay in this process; a call gets those of its samples.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pickle import PickleError
from typing import Any

from florilegium.engine.core.errors import RunError, SampleError, WorkerDied
from florilegium.engine.execution.answer import FILE_TIMEOUT, PROCESS_DIED, STAGE_TIMEOUT
from florilegium.engine.execution.apart import started
from florilegium.engine.execution.child import Request, receive, send, serve
from florilegium.engine.execution.packed_work import PackedWork
from florilegium.engine.execution.reply import Reply
from florilegium.engine.execution.runner import (
    ATTEMPTS,
    Made,
    Opened,
    Runner,
    last_step,
    too_small,
    while_loading,
)
from florilegium.engine.execution.watch import GRACE_S, NO_TURN, started_by
from florilegium.engine.execution.worker import LayerParts, Ran, ShardWork
from florilegium.engine.planning.config import RunConfig
from florilegium.engine.planning.graph import Graph
from florilegium.engine.planning.partition import ShardSpec
from florilegium.engine.results.shard import ShardBytes, Spot
from florilegium.engine.storage.folder import Folder

_LOOK_S = 0.5
"""Seconds between looks at whether a process is still there."""
_STOPPED = ("stopped", "tracing-stop")
"""States of a process that does not go on by itself."""


class LocalRunner(Runner):
    """Runs calls in a child process."""

    def __init__(self, config: RunConfig, graph: Graph, *, layers: Folder, output: Folder) -> None:
        self._config = config
        self._graph = graph
        self._folders = (layers, output)
        self._child: _Child | None = None
        self._loaded: set[str] = set()
        self._turn = asyncio.Lock()
        self._door = asyncio.Lock()  # calls of stages wait here, so that storing is not last

    async def start(self) -> Graph:
        return self._graph

    def width(self, pool: str) -> int:
        return 1

    async def open(self, spec: ShardSpec, *, previous_digest: str, retry: bool) -> Opened:
        options = {"previous_digest": previous_digest, "retry": retry}
        request = Request(method="open", arguments=(spec,), options=options)
        async with self._turn:
            work, images = await self._call(request, on_timer=FILE_TIMEOUT)
        return self._opened(work, images)

    async def reopen(
        self,
        spec: ShardSpec,
        *,
        previous_digest: str,
        retry: bool,
        given_up: Mapping[Spot, SampleError],
    ) -> Opened:
        options = {"previous_digest": previous_digest, "retry": retry, "given_up": given_up}
        request = Request(method="open", arguments=(spec,), options=options, is_noted=True)
        spots: list[Spot] = []
        try:
            async with self._turn:
                call = self._call(request, on_timer=FILE_TIMEOUT, noted=spots.append)
                work, images = await call
        except WorkerDied as error:
            if error.spot is None and spots:
                error.spot = spots[-1]
            raise
        return self._opened(work, images)

    def _opened(self, work: ShardWork, images: ShardBytes) -> Opened:
        """Return a shard that was read, whether for the first time or again."""
        return Opened(work=work, images=images, packed=PackedWork.of(work))

    async def run(
        self,
        pool: str,
        opened: Opened,
        names: Sequence[str],
        samples: Sequence[int],
        *,
        exclusive: bool = False,
    ) -> Ran:
        arguments = (opened.packed, opened.images.only(samples), names, samples)
        async with self._door, self._turn:
            await self._load(names)
            return await self._call(Request(method="run", arguments=arguments))

    async def fetch(self, part: LayerParts) -> LayerParts:
        return part

    async def store(
        self, opened: Opened, names: Sequence[str], parts: Sequence[LayerParts]
    ) -> None:
        await self._again(Request(method="store", arguments=(opened.packed, names, *parts)))

    async def keep(
        self,
        opened: Opened,
        names: Sequence[str],
        samples: Collection[int],
        parts: Sequence[LayerParts],
    ) -> None:
        arguments = (opened.packed, names, samples, *parts)
        await self._again(Request(method="keep", arguments=arguments))

    async def publish(
        self, opened: Opened, names: Sequence[str], parts: Sequence[LayerParts]
    ) -> Made:
        arguments = (opened.packed, opened.images, names, *parts)
        made: Made = await self._again(Request(method=last_step(self._graph), arguments=arguments))
        return made

    async def release(self, pool: str) -> None:
        """Nothing to stop: all pools are one child."""

    async def close(self) -> None:
        self._end_child()

    async def _again(self, request: Request) -> Any:
        """Make a call that is tried again when the worker dies."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._turn:
                    return await self._call(request)
            except WorkerDied:
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    async def _load(self, names: Sequence[str]) -> None:
        """Load stages before a call, so that a death while loading blames no image."""
        missing = sorted(set(names) - self._loaded)
        if not missing:
            return
        with while_loading(missing):
            await self._call(Request(method="load", arguments=(missing,)), is_loading=True)
        self._loaded.update(missing)

    async def _call(
        self,
        request: Request,
        *,
        on_timer: str = STAGE_TIMEOUT,
        noted: Callable[[Spot], None] = lambda _: None,
        is_loading: bool = False,
    ) -> Any:
        if self._child is None:
            self._child = _Child(self._config, self._graph, *self._folders)
        try:
            reply = await asyncio.to_thread(self._child.ask, request, noted)
        except asyncio.CancelledError:
            self._end_child()  # else its reply would answer the next call
            raise
        except (EOFError, OSError):
            message, reason = self._child.death(on_timer)
            self._end_child()
            raise WorkerDied(message, reason=reason) from None
        if reply.is_spent or isinstance(reply.error, WorkerDied):
            self._end_child()
        value = reply.checked().value
        if reply.is_spent and is_loading:
            raise too_small(request.arguments[0], self._config.limits.worker_memory_mb)
        return value

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.end()
        self._child = None
        self._loaded = set()


class _Child:
    """The process of a worker, and the pipe to it."""

    def __init__(self, config: RunConfig, graph: Graph, layers: Folder, output: Folder) -> None:
        arguments = (dict(os.environ), config, graph, layers, output)
        try:
            self._process, self._connection = started(serve, *arguments, name="worker")
        except (EOFError, OSError) as error:
            raise RunError(f"the process of the worker cannot be started: {error}") from error
        except (AttributeError, TypeError, ValueError, PickleError) as error:  # by pickle
            raise RunError(
                f"the stages cannot be pickled for a worker process: {error}; run them in this "
                f"process with runner.kind=in_process"
            ) from error

    def ask(self, request: Request, noted: Callable[[Spot], None]) -> Reply:
        """Make a call and wait for its reply; notes come before."""
        send(self._connection, request)
        while True:
            self._wait()
            if isinstance(answer := receive(self._connection), Reply):
                return answer
            noted(answer)

    def _wait(self) -> None:
        """Wait until something comes.

        Raises:
            EOFError: the process ended, though a child of its own may hold its end of the pipe; or
                it was stopped, and no timer ends it.
        """
        stopped_s = 0.0
        while not self._connection.poll(_LOOK_S):
            if not self._process.is_alive() and not self._connection.poll():
                raise EOFError
            stopped_s = stopped_s + _LOOK_S if self._is_stopped() else 0.0
            if stopped_s > GRACE_S:
                raise EOFError

    def _is_stopped(self) -> bool:
        import psutil

        try:
            return psutil.Process(self._process.pid).status() in _STOPPED
        except psutil.Error:
            return False

    def death(self, on_timer: str) -> tuple[str, str]:
        """Return what the process died of, and the reason for its dead letters."""
        if self._is_stopped():
            return "it was stopped and did not go on", PROCESS_DIED
        self._process.join()
        code = self._process.exitcode or 0
        if code == -signal.SIGALRM:
            return NO_TURN, on_timer
        if code < 0:
            return f"it was ended by {signal.Signals(-code).name}", PROCESS_DIED
        return f"it ended with exit code {code}", PROCESS_DIED

    def end(self) -> None:
        """End the process, and all processes that its stages started."""
        if pid := self._process.pid:
            started = [*started_by(pid)]  # those with a group of their own, too
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # its own group, once it has made one
            for one in started:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(one, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._process.close()
        self._connection.close()

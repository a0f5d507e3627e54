"""The process of a local worker: takes calls from a pipe, answers them, and ends with its owner.

Messages are pickled values of the engine. The process has a process group of its own, so that
Ctrl-C on a terminal reaches its owner only, and processes that its stages started end with it.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

from florilegium.engine.execution.packed_work import Unpacked
from florilegium.engine.execution.reply import Reply, reply_to
from florilegium.engine.execution.watch import Watch
from florilegium.engine.execution.worker import Worker
from florilegium.engine.execution.worker_log import WorkerLog
from florilegium.engine.planning.config import RunConfig
from florilegium.engine.planning.graph import Graph
from florilegium.engine.results.shard import Spot
from florilegium.engine.storage.folder import Folder


@dataclass(frozen=True, kw_only=True)
class Request:
    """A call of a method of the worker, which gets packed works unpacked. With `is_noted`, the
    worker sends the position of each input before it reads it."""

    method: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] | None = None
    is_noted: bool = False


def serve(
    connection: Connection,
    environment: Mapping[str, str],
    config: RunConfig,
    graph: Graph,
    layers: Folder,
    output: Folder,
) -> None:
    """Answer calls until the owner closes the pipe."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked while it was started
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_end_with_owner, daemon=True).start()
    logging.getLogger().addHandler(log := WorkerLog())
    os.register_at_fork(after_in_child=connection.close)  # else the owner waits for the fork, too
    limits = config.limits
    watch = Watch(memory_mb=limits.worker_memory_mb, own_seconds=limits.shard_seconds)
    worker = Worker(config, graph, layers=layers, output=output, watch=watch)
    unpacked = Unpacked()
    while True:
        try:
            request: Request = receive(connection)
        except EOFError:
            os._exit(0)  # threads that still run have no use
        send(connection, _answer(worker, unpacked, watch, log, request, connection))


def _answer(
    worker: Worker,
    unpacked: Unpacked,
    watch: Watch,
    log: WorkerLog,
    request: Request,
    connection: Connection,
) -> Reply:
    options = dict(request.options or {})
    if request.is_noted:
        options["note"] = lambda spot: send(connection, spot)
    method = getattr(worker, request.method)
    return reply_to(watch, log, "stages", method, *unpacked.all_of(request.arguments), **options)


def _end_with_owner() -> None:
    """End this process and all that it started when its owner is gone."""
    owner = parent_process()
    assert owner is not None, "a child process has an owner"
    wait([owner.sentinel])
    os.killpg(os.getpgid(0), signal.SIGKILL)


def send(connection: Connection, value: Request | Reply | Spot) -> None:
    """Send a value; the bytes of images are not copied into it."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    connection.send(len(buffers))
    connection.send_bytes(head)
    for buffer in buffers:
        connection.send_bytes(buffer.raw())


def receive(connection: Connection) -> Any:
    """Receive a value.

    Raises:
        EOFError: the other side is gone.
    """
    count, head = connection.recv(), connection.recv_bytes()
    return pickle.loads(head, buffers=[connection.recv_bytes() for _ in range(count)])

"""A stage in a process of its own, as a build sends it there: it is pickled, loaded, and asked."""

from __future__ import annotations

import atexit
import os
import pickle
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.peak_memory import peak_mib
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.core.stage import Stage
from florilegium.engine.execution.answer import Answer, ask
from florilegium.engine.execution.apart import started
from florilegium.engine.planning.graph import Node
from florilegium.testing.faults import raised

_WAIT_S = 600
HEAVY = ("torch", "transformers", "spacy")
"""Packages that take seconds to import, and start no thread until they are used."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a stage did in a process of its own: its answers, or why there are none.

    `answers` are not stamped yet; `load_s` are the seconds of `load`, `call_s` those of a second
    call with all samples, `peak_mb` the most memory that the process had, in MiB.
    """

    problem: str = ""
    answers: Sequence[Answer] = ()
    load_s: float = 0.0
    call_s: float = 0.0
    peak_mb: float = 0.0


def ask_in_worker(stage: Stage[Any], samples: Sequence[Sample]) -> Reply:
    """Send a stage that is not loaded into a fresh process and ask it there."""
    plain = [_Plain.of(one) for one in samples]
    try:
        data = pickle.dumps((stage, plain))
    except Exception as error:  # of `__reduce__`, too
        return Reply(
            problem=f"it cannot be pickled for a worker ({type(error).__name__}: {error}): keep "
            f"what is open, and functions without a name, out of `__init__`; make them in `load`"
        )
    connection = _parent_of_workers()
    imported = [name for name in sys.modules if f"{name}.".startswith(_prefixes())]
    connection.send((imported, dict(os.environ), list(sys.path), data))
    if not connection.poll(_WAIT_S):
        _parent_of_workers.cache_clear()
        return Reply(problem=f"it gives no answer in a worker within {_WAIT_S} seconds")
    reply = connection.recv()
    if isinstance(reply, Reply):
        connection.recv()  # the end of the process
        return reply
    return Reply(problem=f"its worker process ended with exit code {reply}")


def _prefixes() -> tuple[str, ...]:
    """How the names of heavy modules begin, each followed by a full stop."""
    return tuple(f"{name}." for name in HEAVY)


@cache
def _parent_of_workers() -> Connection:
    """Start the process from which those of all workers are forked, and return its pipe."""
    _, connection = started(_fork_workers, name="parent of workers")
    atexit.register(connection.close)  # which ends it
    return connection


def _fork_workers(connection: Connection) -> None:
    """Fork a process for each stage that comes; it sends a `Reply`, then this one its exit code.

    What the owner has imported of heavy packages is imported once, for all of them. Each has the
    environment and the path that the owner has now, which may have changed since this process was
    started.
    """
    warnings.simplefilter("ignore")  # that libraries have threads, which sleep
    while True:
        try:
            imported, environment, path, data = connection.recv()
        except EOFError:
            return
        for name in imported:
            with suppress(Exception):  # what a library could not import there either
                import_module(name)
        child = os.fork()
        if child == 0:
            os.environ.clear()
            os.environ.update(environment)
            sys.path[:] = path
            _answer(connection, data)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        connection.send(os.waitstatus_to_exitcode(status))


def _answer(connection: Connection, data: bytes) -> None:
    """Answer in the process of a worker."""
    try:
        stage, plain = pickle.loads(data)
    except Exception as error:
        connection.send(Reply(problem=f"a worker cannot unpickle it: it raises {raised(error)}"))
        return
    try:
        connection.send(_reply(stage, [one.sample() for one in plain]))
    except Exception as error:
        connection.send(Reply(problem=f"in a worker it raises {raised(error)}"))


def _reply(stage: Stage[Any], samples: Sequence[Sample]) -> Reply:
    start = perf_counter()
    stage.load()
    loaded = perf_counter()
    node = Node[Any](name="stage", use="stage", stage=stage, fingerprint="stage")
    answers = ask(node, samples)
    first = perf_counter()
    ask(node, samples)
    return Reply(
        answers=[_sendable(one) for one in answers],
        load_s=loaded - start,
        call_s=perf_counter() - first,
        peak_mb=peak_mib(),
    )


def _sendable(answer: Answer) -> Answer:
    """Return an answer whose error is of a class that every process has."""
    if isinstance(answer, SampleError):
        return SampleError(answer.reason, answer.message, traceback=answer.traceback)
    return answer


@dataclass(frozen=True, kw_only=True)
class _Plain:
    """A sample that can be sent, with the bytes of its image."""

    data: bytes
    fields: dict[str, Any]

    @classmethod
    def of(cls, sample: Sample) -> _Plain:
        names = ("key", "width", "height", "sha256", "annotations", "labels", "metadata")
        fields = {name: getattr(sample, name) for name in names}
        return cls(
            data=bytes(sample.picture.data), fields={**fields, "upstream": dict(sample.upstream)}
        )

    def sample(self) -> Sample:
        return Sample(picture=Picture(self.data), **self.fields)

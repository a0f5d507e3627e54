"""A stage in a fresh process, as a build sends it there: it is pickled, loaded, and asked."""

from __future__ import annotations

import pickle
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.image.encoding import encode_png
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.core.stage import Stage
from florilegium.engine.execution.answer import Answer, ask
from florilegium.engine.execution.apart import started
from florilegium.engine.planning.graph import Node
from florilegium.testing.faults import raised

_WAIT_S = 600
_UNITS_IN_MIB = 1024 if sys.platform == "linux" else 1024**2
"""Of `ru_maxrss`."""


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
    process, connection = started(_serve, data, name="stage")
    try:
        if not connection.poll(_WAIT_S):
            return Reply(problem=f"it gives no answer in a worker within {_WAIT_S} seconds")
        reply: Reply = connection.recv()
        return reply
    except EOFError:
        process.join()
        return Reply(problem=f"its worker process ended with exit code {process.exitcode}")
    finally:
        process.kill()
        process.join()
        connection.close()


def _serve(connection: Connection, data: bytes) -> None:
    """Answer in the process of the worker."""
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
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _UNITS_IN_MIB,
    )


def _sendable(answer: Answer) -> Answer:
    """Return an answer whose error is of a class that every process has."""
    if isinstance(answer, SampleError):
        return SampleError(answer.reason, answer.message, traceback=answer.traceback)
    return answer


@dataclass(frozen=True, kw_only=True)
class _Plain:
    """A sample that can be sent: the pixels as PNG."""

    data: bytes
    fields: dict[str, Any]

    @classmethod
    def of(cls, sample: Sample) -> _Plain:
        names = ("key", "width", "height", "sha256", "annotations", "labels")
        fields = {name: getattr(sample, name) for name in names}
        return cls(
            data=encode_png(sample.image), fields={**fields, "upstream": dict(sample.upstream)}
        )

    def sample(self) -> Sample:
        return Sample(picture=Picture(self.data), **self.fields)

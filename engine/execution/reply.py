"""What the process of a worker answers to a call: a value or an error, and what it logged."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from florilegium.engine.core.errors import FlorilegiumError, RunError, WorkerDied
from florilegium.engine.execution.watch import Watch
from florilegium.engine.execution.worker_log import Entry, WorkerLog, log_entries
from florilegium.engine.untrusted.traces import message_of, unforeseen


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a call returned or raised; `trace` says where an error with a cause came from.

    `is_spent` asks for another process, as this one has too much memory.
    """

    value: Any = None
    error: FlorilegiumError | None = None
    trace: str = ""
    is_spent: bool = False
    log: tuple[Entry, ...] = ()

    def checked(self) -> Reply:
        """Log what the worker logged, and return the reply of a call that succeeded.

        Raises:
            FlorilegiumError: what the call raised.
        """
        log_entries(self.log)
        if self.error is not None:
            raise self.error from (_TraceOfWorker(self.trace) if self.trace else None)
        return self


class _TraceOfWorker(Exception):
    """Where an error came from, in the process of a worker."""


def reply_to(
    watch: Watch,
    log: WorkerLog,
    threads: str,
    function: Callable[..., Any],
    *arguments: Any,
    **options: Any,
) -> Reply:
    """Call a function of a worker in a thread of its watch, and return the reply."""
    try:
        value = watch.call(threads, function, *arguments, **options)
    except FlorilegiumError as error:
        has_trace = error.__cause__ is not None and not isinstance(error, WorkerDied)
        trace = traceback.format_exc() if has_trace else ""
        return Reply(error=_fit_to_send(error), trace=trace, log=log.take())
    except Exception as error:
        what = f"a worker failed: {unforeseen(error)}"
        return Reply(error=RunError(what), trace=traceback.format_exc(), log=log.take())
    return Reply(value=value, is_spent=watch.is_spent, log=log.take())


def _fit_to_send(error: FlorilegiumError) -> FlorilegiumError:
    if can_be_sent(error):
        return error
    return RunError(f"a worker failed: {type(error).__name__}: {message_of(error)}")


def can_be_sent(error: BaseException) -> bool:
    """Whether another process can make an error again: one of a stage may hold other arguments than
    its `__init__` takes."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True

"""Starting a process that stands apart from this one: from its terminal, its folder, its script."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from types import ModuleType
from typing import Any

_SAFE_PATH = "PYTHONSAFEPATH"
_MAIN = "__main__"
_CHILD = ("florilegium.engine.execution.child",)
_STARTING = threading.Lock()  # what `_apart` changes belongs to the whole process


def start_ahead(modules: Sequence[str] = _CHILD) -> None:
    """Have a server import what a worker needs, beside what this process goes on with: the first
    worker that is `started` then is there at once. One that runs already is left as it is.

    Raises:
        OSError: it cannot be started.
    """
    _context(modules)
    with _apart():
        forkserver.ensure_running()


def started(
    target: Callable[..., object],
    *arguments: Any,
    name: str,
    modules: Sequence[str] = _CHILD,
    is_daemon: bool = False,
) -> tuple[ForkServerProcess, Connection]:
    """Start a process that calls `target` with one end of a pipe and the arguments, and return it
    with the other end. It begins without threads or models; `modules` as in `start_ahead`. A
    daemon ends when this process ends in the normal way.

    Raises:
        OSError, EOFError: it cannot be started.
        AttributeError, TypeError, ValueError, PickleError: an argument cannot be pickled.
    """
    context = _context(modules)
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments), name=name, daemon=is_daemon)
    with _apart():
        process.start()
    theirs.close()
    return process, ours


def _context(modules: Sequence[str]) -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*modules])
    return context


@contextmanager
def _apart() -> Iterator[None]:
    """Start processes that ignore Ctrl-C of the terminal, which is meant for this process, that do
    not import modules from the current folder, and do not run the script of this process again."""
    with _STARTING:
        safe = os.environ.get(_SAFE_PATH)
        os.environ[_SAFE_PATH] = "1"
        resource_tracker.ensure_running()  # lets interrupts through when it is started
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        main = sys.modules[_MAIN]
        sys.modules[_MAIN] = ModuleType(_MAIN)
        try:
            yield
        finally:
            sys.modules[_MAIN] = main
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            if safe is None:
                del os.environ[_SAFE_PATH]
            else:
                os.environ[_SAFE_PATH] = safe

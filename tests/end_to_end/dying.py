"""A job in a process of its own that is killed at an exact file operation.

Python reports every opening, renaming and deleting of a file to audit hooks; the process kills
itself just before the chosen one, as if the power were cut.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.building import build

_WATCHED = {"open", "os.rename", "os.remove", "os.mkdir"}


Job = Callable[[], Any]
"""What is run; it can be pickled."""


def count_operations(source: Path, output: Path, keys: dict[str, Any]) -> int:
    """Build without being killed and return the number of operations on the output's files."""
    return operations_of(partial(build, source, output, **keys), output)


def build_and_die(source: Path, output: Path, keys: dict[str, Any], at: int) -> bool:
    """Build until the operation number `at`; tell whether the process was killed there."""
    return run_and_die(partial(build, source, output, **keys), output, at)


def operations_of(job: Job, output: Path) -> int:
    """Run a job to its end and return the number of operations on the output's files."""
    receiver, sender = context().Pipe(duplex=False)
    assert _run(job, output, sys.maxsize, sender) == 0
    return receiver.recv()


def run_and_die(job: Job, output: Path, at: int) -> bool:
    """Run a job until the operation number `at`; tell whether the process was killed there."""
    code = _run(job, output, at, None)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def context() -> Any:
    """Return the context of processes that are forked from one where all is imported already."""
    forkserver = get_context("forkserver")
    forkserver.set_forkserver_preload(
        ["webdataset", "florilegium.pipelines.report", "tests.end_to_end.dying", "tests.stages"]
    )
    return forkserver


def _run(job: Job, output: Path, at: int, sender: Any) -> int:
    process = context().Process(target=_child, args=(job, output, at, sender))
    process.start()
    process.join()
    code = process.exitcode
    process.close()
    return code


def _child(job: Job, output: Path, at: int, sender: Any) -> None:
    count = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in _WATCHED and str(arguments[0]).startswith(str(output)):
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

    sys.addaudithook(watch)
    job()
    if sender is not None:
        sender.send(count)

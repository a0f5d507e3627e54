"""The command line in a process of its own, which shows what it waits for on SIGUSR1."""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import sys
from contextlib import suppress
from typing import Any

from florilegium.pipelines.commands.main import main


def _show(*_: Any) -> None:
    """Write the stacks of all threads and coroutines to standard error."""
    faulthandler.dump_traceback(all_threads=True)
    with suppress(RuntimeError):  # no loop runs
        for task in asyncio.all_tasks():
            task.print_stack(file=sys.stderr)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _show)
    main()

"""Showing the log of a run on the terminal while the run goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from florilegium.engine.execution.log import logged_by
from florilegium.pipelines.terminal.console import ERR


class _TerminalLog(logging.Handler):
    """Prints entries on the console that the progress is on, above it."""

    def emit(self, record: logging.LogRecord) -> None:
        ERR.say(self.format(record))


@contextmanager
def log_shown(is_wanted: bool) -> Iterator[None]:
    """Print what `run.log` gets, and how far the run is, if that is wanted."""
    if not is_wanted:
        yield
        return
    with logged_by(_TerminalLog(), logging.INFO):
        yield

"""The log of a run, for those who have to mend what went wrong.

It has times, grows with every run that loses something, and is no part of what a dataset promises.
What strangers wrote is escaped in it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import StringIO

from engine.core.errors import FlorilegiumError, StorageError
from engine.records.publication import ShardStats
from engine.safety.escaped import escaped
from engine.safety.traces import traceback_of
from engine.storage.folder import Folder, storage_error

LOG = "run.log"
_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


class _LogFile(logging.FileHandler):
    """Raises what `logging` would print: a log that cannot be written stops the run."""

    def emit(self, record: logging.LogRecord) -> None:
        with self._as_storage():
            super().emit(record)

    def close(self) -> None:
        with self._as_storage():
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        raise

    @contextmanager
    def _as_storage(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise storage_error("write", self.baseFilename, error) from error


class RunLog:
    """The log of a run, below the name `run.log` in its output."""

    def __init__(self, handler: logging.Handler) -> None:
        formatter = logging.Formatter(_FORMAT, "%Y-%m-%dT%H:%M:%SZ")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
        self._logger = logging.Logger("florilegium")  # ours alone: no global state
        self._logger.addHandler(handler)

    def finished(self, stats: ShardStats) -> None:
        """Write down every input that a shard lost."""
        for letter in stats.dead_letters:
            what = f"{letter.key} ({letter.source}): {letter.stage}: {letter.reason}: "
            lines = [what + letter.message, *letter.traceback.split("\n")]
            self._logger.warning("%s: %s", stats.name, _entry(lines))

    def stopped(self, error: BaseException) -> None:
        """Write down why a run ends early, with the traceback of what was not foreseen."""
        is_foreseen = isinstance(error, FlorilegiumError) and error.__cause__ is None
        why = f"{type(error).__name__}: {error}" if is_foreseen else traceback_of(error)
        self._logger.error("the run stopped: %s", _entry(why.split("\n")))


def _entry(lines: Sequence[str]) -> str:
    """Join lines; those after the first are indented, so that none looks like an entry."""
    first, *others = (escaped(line) for line in lines if line)
    return "\n".join([first, *(one if one.startswith("  ") else f"  {one}" for one in others)])


@contextmanager
def run_log(output: Folder) -> Iterator[RunLog]:
    """Give the log of a run, which is continued; on object storage it is written at the end.

    Raises:
        StorageError: it cannot be written, and nothing else stopped the run.
    """
    text = StringIO()
    handler: logging.Handler
    if output.is_local:
        handler = _LogFile(output.path(LOG), encoding="utf-8", delay=True)
    else:
        handler = logging.StreamHandler(text)
    log = RunLog(handler)
    try:
        yield log
    except BaseException as error:
        with suppress(StorageError):  # if even that fails, what stopped the run is what is told
            try:
                log.stopped(error)
            finally:
                _finish(output, handler, text.getvalue())
        raise
    _finish(output, handler, text.getvalue())


def _finish(output: Folder, handler: logging.Handler, text: str) -> None:
    handler.close()
    if text:
        output.publish(LOG, (output.read(LOG) or b"") + text.encode())

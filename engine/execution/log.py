"""The log of a run: `run.log` beside the manifest.

It has what this process and the workers logged at WARNING and above, with shard and stage. It has
times, grows with every run that loses something, and is no part of what a dataset promises. What
comes from outside is escaped in it, and secrets are masked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import StringIO

from florilegium.engine.core.errors import FlorilegiumError, StorageError
from florilegium.engine.core.redaction import redacted
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.execution.worker_log import message_of_record, name_subject, trace_of
from florilegium.engine.storage.failure import storage_error
from florilegium.engine.storage.folder import Folder
from florilegium.engine.untrusted.escaped import escaped
from florilegium.engine.untrusted.traces import traceback_of

LOG = "run.log"
MAX_OF_LIBRARIES = 10_000
"""Entries of libraries and specialists in the log of one run, at most."""
_MAX_CHARACTERS = 10_000
_OURS = "florilegium.engine"
"""The logger above those of the engine."""

_log = logging.getLogger(__name__)


class EntryFormatter(logging.Formatter):
    """Writes a record so that only its first line looks like an entry, and no secret is in it."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%SZ")

    def format(self, record: logging.LogRecord) -> str:
        name = "" if _is_ours(record) else record.name
        subject = [getattr(record, "shard", ""), getattr(record, "stage", ""), name]
        text = redacted(": ".join([*filter(None, subject), message_of_record(record)]))
        lines = [*text[:_MAX_CHARACTERS].split("\n"), *trace_of(record).split("\n")]
        first, *others = (escaped(redacted(line)) for line in lines if line)
        indented = (line if line.startswith("  ") else f"  {line}" for line in others)
        head = f"{self.formatTime(record, self.datefmt)} {record.levelname:7} {first}"
        return "\n".join([head, *indented])


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


class _Bound(logging.Filter):
    """Leaves out what libraries log beyond a number of entries, and says so once."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if _is_ours(record):
            return True
        self._count += 1
        if self._count == MAX_OF_LIBRARIES + 1:
            _log.warning("more than %d entries of libraries: others are left out", self._count - 1)
        return self._count <= MAX_OF_LIBRARIES


def _is_ours(record: logging.LogRecord) -> bool:
    return f"{record.name}.".startswith(f"{_OURS}.")


@contextmanager
def logged_by(handler: logging.Handler, level: int) -> Iterator[None]:
    """Have a handler write what this process logs while the block runs, from a level on."""
    handler.setFormatter(EntryFormatter())
    handler.setLevel(level)
    handler.addFilter(name_subject)
    ours, root = logging.getLogger(_OURS), logging.getLogger()
    before = ours.level
    ours.setLevel(min(level, ours.getEffectiveLevel()))
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        ours.setLevel(before)


def log_dead_letters(shard: str, letters: Iterable[DeadLetter]) -> None:
    """Log each input that a shard lost, on one line, with its traceback below."""
    for letter in letters:
        what = f"{letter.key} ({letter.source}): {letter.stage}: {letter.reason}: {letter.message}"
        extra = {"shard": shard, "trace": letter.traceback}
        _log.warning("%s", what.replace("\n", "\\n"), extra=extra)


def _log_stop(error: BaseException) -> None:
    """Log why a run ends early, with the traceback of what was not foreseen."""
    is_foreseen = isinstance(error, FlorilegiumError) and error.__cause__ is None
    why = f"{type(error).__name__}: {error}" if is_foreseen else traceback_of(error)
    _log.error("the run stopped: %s", why)


@contextmanager
def run_log(output: Folder) -> Iterator[None]:
    """Write the log of a run, which is continued; on object storage it is written at the end.

    Raises:
        StorageError: it cannot be written, and nothing else stopped the run.
    """
    text = StringIO()
    handler: logging.Handler
    if output.is_local:
        handler = _LogFile(output.path(LOG), encoding="utf-8", delay=True)
    else:
        handler = logging.StreamHandler(text)
    handler.addFilter(_Bound())
    try:
        with logged_by(handler, logging.WARNING):
            try:
                yield
            except BaseException as error:
                with suppress(StorageError):  # what stopped the run is the error to report
                    _log_stop(error)
                raise
    except BaseException:
        with suppress(StorageError):
            _finish(output, handler, text.getvalue())
        raise
    _finish(output, handler, text.getvalue())


def _finish(output: Folder, handler: logging.Handler, text: str) -> None:
    handler.close()
    if text:
        output.publish(LOG, (output.read(LOG) or b"") + text.encode())

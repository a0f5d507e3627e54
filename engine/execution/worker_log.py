"""What is logged in a worker, on its way into the log of the run.

A worker keeps what its libraries log at WARNING and above, masked and bounded, with the shard and
the stage that it works on. The answer to a call takes it to the process of the run, which logs it
there. Knows nothing of files.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from dataclasses import dataclass, replace

from florilegium.engine.core.redaction import redacted
from florilegium.engine.untrusted.traces import traceback_of

MAX_ENTRIES = 100
"""Entries that one answer takes along, at most; of the others it has the number."""
MAX_CHARACTERS = 2000
"""Characters of the message of an entry, at most."""

_log = logging.getLogger(__name__)
_shard: ContextVar[str] = ContextVar("shard", default="")
_stage: ContextVar[str] = ContextVar("stage", default="")


class about(AbstractContextManager[None]):  # noqa: N801 - called like a function
    """Have what is logged in the block name a shard, a stage or both.

    There is one for every batch of a stage: a generator would cost three times as much.
    """

    __slots__ = ("_names", "_tokens")

    def __init__(self, *, shard: str = "", stage: str = "") -> None:
        self._names = (shard, stage)

    def __enter__(self) -> None:
        shard, stage = self._names
        self._tokens: tuple[Token[str] | None, Token[str] | None] = (
            _shard.set(shard) if shard else None,
            _stage.set(stage) if stage else None,
        )

    def __exit__(self, *raised: object) -> None:
        shard, stage = self._tokens
        if stage:
            _stage.reset(stage)
        if shard:
            _shard.reset(shard)


def name_subject(record: logging.LogRecord) -> bool:
    """Give a record the attributes `shard` and `stage`, as a filter of a handler does."""
    record.shard = getattr(record, "shard", _shard.get())
    record.stage = getattr(record, "stage", _stage.get())
    return True


def message_of_record(record: logging.LogRecord) -> str:
    """Return the message of a record; one that cannot be written is replaced by a remark."""
    try:
        return record.getMessage()
    except Exception:  # arguments that do not fit, or that cannot be written
        return "(its message cannot be written)"


def trace_of(record: logging.LogRecord) -> str:
    """Return the traceback that a record carries, or none."""
    error = record.exc_info[1] if record.exc_info else None
    return traceback_of(error) if error else str(getattr(record, "trace", ""))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A record of a worker as plain values; `created_s` is in seconds since 1970."""

    name: str
    level: int
    message: str
    created_s: float
    shard: str
    stage: str
    trace: str = ""


class WorkerLog(logging.Handler):
    """Keeps what is logged in this process until an answer takes it along."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.addFilter(name_subject)
        self._entries: list[Entry] = []
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._entries) == MAX_ENTRIES:
            self._left_out += 1
            return
        message = redacted(message_of_record(record))
        if len(message) > MAX_CHARACTERS:
            message = f"{message[:MAX_CHARACTERS]}... ({len(message)} characters)"
        entry = Entry(
            name=record.name,
            level=record.levelno,
            message=message,
            created_s=record.created,
            shard=getattr(record, "shard", ""),
            stage=getattr(record, "stage", ""),
            trace=trace_of(record),
        )
        self._entries.append(entry)

    def take(self) -> tuple[Entry, ...]:
        """Return the entries kept so far, and begin anew."""
        with self.lock:  # type: ignore[union-attr]  # `createLock` made one
            entries, left_out = tuple(self._entries), self._left_out
            self._entries, self._left_out = [], 0
        if left_out:
            message = f"{left_out} more messages, which are left out"
            last = replace(entries[-1], level=logging.WARNING, message=message, stage="", trace="")
            entries += (last,)
        return entries


def log_entries(entries: Sequence[Entry]) -> None:
    """Log in this process what was logged in a worker, with its time, shard and stage."""
    for entry in entries:
        record = logging.makeLogRecord(
            {
                "name": entry.name,
                "levelno": entry.level,
                "levelname": logging.getLevelName(entry.level),
                "msg": entry.message,
                "created": entry.created_s,
                "shard": entry.shard,
                "stage": entry.stage,
                "trace": entry.trace,
            }
        )
        _log.handle(record)  # not by the logger of that name, which a library may have silenced

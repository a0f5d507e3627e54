"""The progress of a run as a small file in its output, for whoever can read that.

    OUTPUT/progress.json               of a build of the whole dataset
           slices/3/progress.json      of slice 3, beside its lease

A run writes its file anew every few seconds and deletes it at its end: a finished dataset has none.
After a failure it stays, with the error; that of a killed run just gets old.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from florilegium.engine.core.errors import UsageError
from florilegium.engine.core.redaction import redacted
from florilegium.engine.execution.observer import (
    Fact,
    Observer,
    RunFailed,
    RunFinished,
    RunStarted,
    RunStopped,
)
from florilegium.engine.execution.progress import Progress
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import Holder
from florilegium.pipelines.telemetry.metrics import FAILED, RUNNING, STOPPED

_log = logging.getLogger(__name__)

PROGRESS = "progress.json"
"""The name of the file."""
LOCAL_S = 5.0
"""Seconds between two writes."""
REMOTE_S = 15.0
"""The same on object storage, where each write is a request that costs."""
MAX_BYTES = 1 << 20
"""Bytes of such a file, at most; it has a line for each stage."""
_MAX_NOTES = 20
_LONGEST = 1000  # characters of a text

_Count = Annotated[int, Field(ge=0, le=1 << 53)]
_Seconds = Annotated[float, Field(ge=0, lt=253_402_300_800, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class ProgressFile:
    """The state of a run at `written_s` (seconds since 1970), with the counters of `Progress`."""

    holder: Holder
    state: Literal["running", "failed", "stopped"]
    error: str
    written_s: _Seconds
    elapsed_s: _Seconds
    step: str
    current: str
    waiting: str
    notes: tuple[str, ...]
    shards: _Count
    shards_done: _Count
    shards_before: _Count
    inputs: _Count
    inputs_before: _Count
    unread: _Count
    dead_letters: _Count
    answered: Mapping[str, _Count]
    """By stage, in the order in which they run."""

    @classmethod
    def of(
        cls, progress: Progress, holder: Holder, *, state: str = RUNNING, error: str = ""
    ) -> ProgressFile:
        """Describe the state of a run; secrets in texts are masked, and long ones are cut."""
        return cls(
            holder=holder,
            state=state,  # type: ignore[arg-type]  # one of the constants
            error=_cut(error),
            written_s=time.time(),
            elapsed_s=progress.elapsed_s,
            step=_cut(progress.step),
            current=_cut(progress.current),
            waiting=_cut(progress.waiting),
            notes=tuple(map(_cut, progress.notes[-_MAX_NOTES:])),
            shards=progress.shards,
            shards_done=progress.shards_done,
            shards_before=progress.shards_before,
            inputs=progress.inputs,
            inputs_before=progress.inputs_before,
            unread=progress.unread,
            dead_letters=progress.dead_letters,
            answered={stage: progress.answered[stage] for stage in progress.stages},
        )

    @classmethod
    def read(cls, data: bytes) -> ProgressFile:
        """Read a file back.

        Raises:
            ValueError: it is damaged, or of another version.
        """
        return _FILE.validate_json(data, strict=True)

    def to_json(self) -> bytes:
        """Return the content of the file."""
        return json.dumps(asdict(self), indent=1).encode()

    @property
    def progress(self) -> Progress:
        """The counters again, to be displayed as those of a run in this process."""
        progress = Progress(
            shards=self.shards,
            shards_done=self.shards_done,
            shards_before=self.shards_before,
            inputs=self.inputs,
            inputs_before=self.inputs_before,
            unread=self.unread,
            dead_letters=self.dead_letters,
            stages=tuple(self.answered),
            started_s=time.monotonic() - self.elapsed_s,
            current=self.current,
            waiting=self.waiting,
            notes=list(self.notes),
            step=self.step,
        )
        progress.answered.update(self.answered)
        return progress


_FILE = TypeAdapter(ProgressFile)


class ProgressPublisher(Observer):
    """Writes the file of a run while it goes on, in a thread of its own."""

    def __init__(self, progress: Progress, folder: Folder) -> None:
        self._progress = progress
        self._folder = folder
        self._holder = Holder.this_process()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="progress", daemon=True)

    def observe(self, fact: Fact) -> None:
        match fact:
            case RunStarted():
                self._thread.start()
            case RunFinished() | RunFailed(error=UsageError()):  # then nothing was begun
                self._end()
                self._folder.remove(PROGRESS)
            case RunFailed(error=error):
                self._end()
                self._write(FAILED, str(error))
            case RunStopped():
                self._end()
                self._write(STOPPED)
            case _:
                pass  # `Progress` has it

    def _keep(self) -> None:
        pause_s = LOCAL_S if self._folder.is_local else REMOTE_S
        while True:
            try:
                self._write()
            except Exception as error:  # for display only: the next one may be written
                _log.warning("the progress of the run cannot be published: %s", error)
            if self._is_over.wait(pause_s):
                return

    def _write(self, state: str = RUNNING, error: str = "") -> None:
        file = ProgressFile.of(self._progress, self._holder, state=state, error=error)
        self._folder.publish(PROGRESS, file.to_json(), durable=False)

    def _end(self) -> None:
        self._is_over.set()
        self._thread.join()


def read_progress(folder: Folder) -> ProgressFile | None:
    """Return what the writer of a folder published; `None` without a file, or a damaged one.

    Raises:
        StorageError: the folder cannot be read.
    """
    if (folder.size(PROGRESS) or 0) > MAX_BYTES or (data := folder.read(PROGRESS)) is None:
        return None
    try:
        return ProgressFile.read(data)
    except ValueError:
        return None


def _cut(text: str) -> str:
    """Return a text that may be shown to others."""
    text = redacted(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."

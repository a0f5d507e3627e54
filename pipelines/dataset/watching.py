"""Watching a build from anywhere that reaches its output: what its writers publish, until the end.

A writer that was killed publishes nothing any more. Clocks of two machines differ, so one whose
time looks old is watched for a while before it counts as dead, as with leases.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from florilegium.engine.core.errors import RunError
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import LEASE_S, PARTS, RENEW_S, Holder, holder_of
from florilegium.engine.untrusted.escaped import visible
from florilegium.pipelines.dataset.lineage import datasets_of_round, round_numbers
from florilegium.pipelines.dataset.status import Status, read_status
from florilegium.pipelines.telemetry.metrics import FAILED, RUNNING
from florilegium.pipelines.telemetry.progress_file import (
    LOCAL_S,
    REMOTE_S,
    ProgressFile,
    read_progress,
)
from florilegium.pipelines.terminal.console import Terminal
from florilegium.pipelines.terminal.progress import duration, progress_table, summary, updated

LOOK_S = 1.0
"""Seconds between two looks."""
LOOK_REMOTE_S = 5.0
"""The same on object storage."""
_MISSED = 3
"""Writes that a writer may be late with before its silence is shown."""


@dataclass(frozen=True, kw_only=True)
class Writer:
    """A process that writes an output, and what it published last, `age_s` ago."""

    file: ProgressFile
    age_s: float
    is_alive: bool
    is_late: bool

    @property
    def lines(self) -> list[str]:
        """Its state, and whether it is silent."""
        late = f"no news for {duration(self.age_s)} of {self.file.holder}"
        return [summary(self.file.progress), *([late] if self.is_late else [])]

    @property
    def end(self) -> str:
        """How it ended."""
        what = f"{self.file.step}: it" if self.file.step else "it"
        again = "finished work is kept: run the same command again, it resumes"
        if self.file.state == FAILED:
            return f"{what} failed: {self.file.error}"
        if self.file.state == RUNNING:
            return (
                f"{what} was killed, its last news is {duration(self.age_s)} old; it was run by "
                f"{self.file.holder}; {again}"
            )
        return f"{what} was stopped; {again}"


@dataclass(frozen=True, kw_only=True)
class Look:
    """The writers of an output at one moment; `holder` is whose lease lives."""

    url: str
    writers: tuple[Writer, ...]
    holder: Holder | None

    @property
    def is_over(self) -> bool:
        """Whether nothing writes the output any more."""
        return self.holder is None and not any(writer.is_alive for writer in self.writers)

    @property
    def lines(self) -> list[str]:
        """The state of each writer; what is known where none shows its progress."""
        if not self.writers and self.holder:
            return [f"{self.url} is being written by {self.holder}"]
        return [line for writer in self.writers for line in writer.lines]

    def drawn(self) -> RenderableType:
        """Return the table of each writer, as its own terminal shows it."""
        if not self.writers:
            return Group(*map(visible, self.lines))
        return Group(*(part for writer in self.writers for part in _drawn(writer)))


def _drawn(writer: Writer) -> Iterator[RenderableType]:
    yield progress_table(writer.file.progress)
    for line in writer.lines[1:]:
        yield Text(visible(line), style="yellow")


class Watcher:
    """Looks at an output, and remembers since when its writers are silent."""

    def __init__(self, output: Folder) -> None:
        self._output = output
        self._beats: dict[str, tuple[float, float, bool]] = {}
        self.last = self.look()

    def look(self) -> Look:
        """Look at the output.

        Raises:
            StorageError: it cannot be read.
        """
        writers = tuple(
            self._writer(folder.url, file)
            for folder in _folders(self._output)
            if (file := read_progress(folder))
        )
        holder = holder_of(self._output)
        is_held = holder is not None and self._is_alive("", holder.renewed, holder)
        self.last = Look(url=self._output.url, writers=writers, holder=holder if is_held else None)
        return self.last

    def _writer(self, key: str, file: ProgressFile) -> Writer:
        is_alive = self._is_alive(key, file.written_s, file.holder) and file.state == RUNNING
        beat_s, seen_s, has_changed = self._beats[key]
        age_s = time.monotonic() - seen_s if has_changed else max(0.0, time.time() - beat_s)
        late_s = _MISSED * (LOCAL_S if self._output.is_local else REMOTE_S)
        return Writer(
            file=file,
            age_s=age_s,
            is_alive=is_alive,
            is_late=file.state == RUNNING and age_s > late_s,
        )

    def _is_alive(self, key: str, beat_s: float, holder: Holder) -> bool:
        """Whether a process may be alive that wrote at `beat_s`, by its clock."""
        now_s = time.monotonic()
        before_s, seen_s, has_changed = self._beats.get(key, (beat_s, now_s, False))
        if beat_s != before_s:
            seen_s, has_changed = now_s, True
        self._beats[key] = (beat_s, seen_s, has_changed)
        is_old = abs(time.time() - beat_s) > LEASE_S
        return not holder.has_ended and not (is_old and now_s - seen_s >= 2 * RENEW_S)


def watch(output: Folder, console: Terminal) -> Status:
    """Show the progress of a build until it has ended; return the status of the finished dataset.

    Raises:
        ConfigError: no dataset was started in the folder.
        RunError: the build failed, was stopped or killed, or there is none.
    """
    watcher = Watcher(output)

    def print_lines() -> None:
        for line in watcher.last.lines:
            console.say(line)

    if not console.is_terminal:
        print_lines()
    with updated(console, table=lambda: watcher.last.drawn(), lines=print_lines):
        while not watcher.last.is_over:
            time.sleep(LOOK_S if output.is_local else LOOK_REMOTE_S)
            watcher.look()
    return _finished(output, watcher.last)


def _finished(output: Folder, last: Look) -> Status:
    if last.writers:
        raise RunError(
            "\n".join([f"{output.url} is not finished:", *(one.end for one in last.writers)])
        )
    status = read_status(output)
    if not status.is_finished:
        raise RunError(
            f"nothing writes {output.url}, and {status.shards_done} of {status.shards} shards are "
            f"done: run the same command again, it resumes"
        )
    return status


def _folders(output: Folder) -> Iterator[Folder]:
    """Yield the output, its slices, and of a refinement the datasets of its last round."""
    yield output
    for part in sorted(map(int, filter(str.isdigit, output.names(PARTS)))):
        yield Folder(f"{output.url}/{PARTS}/{part}")
    for number in round_numbers(output)[-1:]:
        yield from datasets_of_round(output, number)

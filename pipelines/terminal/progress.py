"""Showing the progress of a run: a live table on a terminal, else a line every few seconds."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from florilegium.engine.core.counted import counted
from florilegium.engine.execution.progress import Progress
from florilegium.engine.untrusted.escaped import visible
from florilegium.pipelines.terminal.console import ERR, Terminal

PLAIN_INTERVAL_S = 5.0
_TOGETHER = "\u00a0"
"""A space at which no line ends."""


@contextmanager
def shown(progress: Progress) -> Iterator[None]:
    """Show the progress of a run on standard error while the block runs; after it, a summary and
    what was asked."""
    notes = _Notes(progress, ERR)
    try:
        with updated(ERR, table=lambda: progress_table(progress), lines=notes.and_summary):
            yield
    finally:
        notes.print()
    if ended := end_of(progress):
        ERR.say(ended)
    if asked := asked_of(progress):
        ERR.say(folded(asked, width=ERR.width))


class _Notes:
    """Prints each note of a run once."""

    def __init__(self, progress: Progress, console: Terminal) -> None:
        self._progress = progress
        self._console = console
        self._printed = 0

    def print(self) -> None:
        """Print the notes that are new."""
        new = self._progress.notes[self._printed :]
        self._printed += len(new)
        for note in new:
            self._console.say(note)

    def and_summary(self) -> None:
        """Print the notes that are new, and the state of the run."""
        self.print()
        self._console.say(summary(self._progress))


@contextmanager
def updated(
    console: Terminal, *, table: Callable[[], RenderableType], lines: Callable[[], None]
) -> Iterator[None]:
    """Show a table on a terminal while the block runs, always as it is now; elsewhere have lines
    printed every few seconds."""
    if console.is_terminal:
        live = Live(get_renderable=table, console=console, refresh_per_second=4, transient=True)
        with live:
            yield
        return
    stop = threading.Event()
    printer = threading.Thread(target=_print_lines, args=(lines, stop), daemon=True)
    printer.start()
    try:
        yield
    finally:
        stop.set()
        printer.join()


def _print_lines(lines: Callable[[], None], stop: threading.Event) -> None:
    while not stop.wait(PLAIN_INTERVAL_S):
        lines()


def summary(progress: Progress) -> str:
    """Return the state of a run in one line."""
    waiting = [progress.waiting] if progress.waiting else []
    if progress.current:
        current = f"{progress.current} ({progress.elapsed_s:.0f} s)"
        return ", ".join([*_step(progress), current, *waiting])
    to_go = progress.remaining_s
    left = [] if to_go is None else [f"{duration(to_go)} to go"]
    return ", ".join([*_step(progress), *_counts(progress), *left, *waiting])


def end_of(progress: Progress) -> str:
    """Return the result of a run or a training in one line; "" where nothing was counted."""
    if progress.shards or progress.shards_before:
        took = f"took {duration(progress.elapsed_s)}"
        return ", ".join([*_step(progress), *_counts(progress), took])
    return ", ".join([*_step(progress), progress.trained]) if progress.trained else ""


def asked_of(progress: Progress) -> str:
    """Return which stages were asked about how many samples, and which answers were reused: `asked:
    words 7; reused: nms 7; 2 shards unchanged`; "" where there was no stage to ask."""
    asked, reused = (
        [(name, counts[name]) for name in progress.stages if counts[name]]
        for counts in (progress.asked, progress.reused)
    )
    before = progress.shards_before
    parts = [f"asked: {_listed(asked) or 'nothing'}"]
    if reused:
        stages = counted(len(reused), "stage")
        parts.append(f"reused: {_listed(reused)}" if asked else f"{stages} reused")
    if before:
        parts.append(f"{counted(before, 'shard')} unchanged")
    return "; ".join(parts) if progress.stages else ""


def _listed(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name}{_TOGETHER}{count}" for name, count in counts)


def folded(text: str, *, width: int) -> str:
    """Return a line in as many as its width needs, the later ones indented; a name and its number
    stay together."""
    lines = textwrap.wrap(
        text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines).replace(_TOGETHER, " ")


def _step(progress: Progress) -> list[str]:
    return [progress.step] if progress.step else []


def _counts(progress: Progress) -> list[str]:
    before = progress.shards_before
    shards = f"shards {before + progress.shards_done}/{before + progress.shards}"
    through = min(map(progress.through, progress.stages), default=0)
    speed = [f"{progress.images_per_s:.1f} images/s"] if progress.images else []
    return [
        f"{shards} ({before} done before)" if before else shards,
        f"images {through}/{progress.total}",
        *speed,
        f"dead letters {progress.dead_letters}",
    ]


def progress_table(progress: Progress) -> RenderableType:
    """Return a bar for each stage, and the state of the run."""
    stages = Table.grid(padding=(0, 2))
    stages.add_column(overflow="fold")
    for name in progress.stages:
        through = progress.through(name)
        bar = ProgressBar(total=max(progress.total, 1), completed=through, width=30)
        stages.add_row(name, bar, f"{through}/{progress.total}")
    return Group(*progress.notes, stages, Text(visible(summary(progress)), style="bold"))


def duration(seconds: float) -> str:
    """Return a time as minutes and seconds, `2:05`, or with hours, `1:02:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

"""Showing a run's progress: a live table on a terminal, elsewhere a line every few seconds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from engine.progress import Progress

PLAIN_INTERVAL_S = 5.0


@contextmanager
def shown(progress: Progress) -> Iterator[None]:
    """Show a run's progress on standard error while the block runs."""
    console = Console(stderr=True)
    try:
        with _updated(progress, console):
            yield
    finally:
        _say_notes(progress, console)


def _say_notes(progress: Progress, console: Console) -> None:
    while progress.notes:
        console.print(progress.notes.pop(0), soft_wrap=True, highlight=False)


@contextmanager
def _updated(progress: Progress, console: Console) -> Iterator[None]:
    if console.is_terminal:
        live = Live(
            get_renderable=lambda: _table(progress),
            console=console,
            refresh_per_second=4,
            transient=True,
        )
        with live:
            yield
        return
    stop = threading.Event()
    printer = threading.Thread(target=_print_lines, args=(progress, console, stop), daemon=True)
    printer.start()
    try:
        yield
    finally:
        stop.set()
        printer.join()


def _print_lines(progress: Progress, console: Console, stop: threading.Event) -> None:
    while not stop.wait(PLAIN_INTERVAL_S):
        _say_notes(progress, console)
        console.print(summary(progress), soft_wrap=True, highlight=False)


def summary(progress: Progress) -> str:
    """Return the state of a run in one line."""
    step = [progress.step] if progress.step else []
    if progress.current:
        return ", ".join([*step, f"{progress.current} ({progress.elapsed_s:.0f} s)"])
    parts = [
        *step,
        f"shards {progress.shards_done}/{progress.shards}",
        f"images {min((progress.answered[name] for name in progress.stages), default=0)}",
        f"{progress.images_per_s:.1f} images/s",
        f"dead letters {progress.dead_letters}",
    ]
    if progress.remaining_s is not None:
        parts.append(f"{_duration(progress.remaining_s)} to go")
    return ", ".join(parts)


def _table(progress: Progress) -> RenderableType:
    stages = Table.grid(padding=(0, 2))
    for name in progress.stages:
        answered = progress.answered[name]
        bar = ProgressBar(total=max(progress.inputs, 1), completed=answered, width=30)
        stages.add_row(Text(name), bar, Text(f"{answered}/{progress.inputs}"))
    notes = [Text(note) for note in progress.notes]
    return Group(*notes, stages, Text(summary(progress), style="bold"))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

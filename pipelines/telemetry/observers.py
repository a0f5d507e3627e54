"""Who watches a run: what its runner and the environment of this process ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.execution.observer import Observer, Observers, observed
from engine.execution.progress import Progress
from engine.execution.run import Run, started
from pipelines.telemetry.metrics import MetricsObserver
from pipelines.telemetry.progress_file import BUILD, ProgressPublisher
from pipelines.telemetry.prometheus import METRICS_FILE, RayExporter, TextfileExporter


@contextmanager
def watched(run: Run, progress: Progress, *, writer: str = BUILD) -> Iterator[Observer]:
    """Let a run be seen while the block runs: publish its progress, and tell its observers; the
    block tells them itself of `RunFinished`. `writer` names its file of progress.

    Raises:
        UsageError: the environment asks for an observer that cannot be.
    """
    publisher = ProgressPublisher(progress, run.output, writer)
    observer = Observers(guests=(publisher, *observers_of(run)))
    with observed(observer, started(run, step=progress.step)):
        yield observer


def observers_of(run: Run) -> tuple[Observer, ...]:
    """Return the observers of a run.

    Raises:
        UsageError: the environment asks for one that cannot be.
    """
    return tuple(_observers(run))


def _observers(run: Run) -> Iterator[Observer]:
    if run.config.runner.kind == "ray":
        yield MetricsObserver(RayExporter())
    if path := os.environ.get(METRICS_FILE):
        yield MetricsObserver(TextfileExporter(Path(path)))

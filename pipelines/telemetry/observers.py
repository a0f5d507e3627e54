"""Who watches a run: what its runner and the environment of this process ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from engine.execution.observer import Observer
from engine.execution.run import Run
from pipelines.telemetry.metrics import MetricsObserver
from pipelines.telemetry.prometheus import METRICS_FILE, RayExporter, TextfileExporter


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

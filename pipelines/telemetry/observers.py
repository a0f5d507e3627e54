"""Who watches a run: what its runner and the environment of this process ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from florilegium.engine.core.redaction import redacted
from florilegium.engine.execution.observer import (
    Observer,
    Observers,
    RunFinished,
    RunStarted,
    observed,
)
from florilegium.engine.execution.preparation import Run
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import started
from florilegium.engine.planning.config import RunConfig
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.telemetry.metrics import MetricsObserver
from florilegium.pipelines.telemetry.progress_file import ProgressPublisher
from florilegium.pipelines.telemetry.prometheus import METRICS_FILE, RayExporter, TextfileExporter
from florilegium.pipelines.telemetry.services import lineage_of, tracing_of

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from florilegium.pipelines.telemetry.lineage_events import LineageRun

BUILD = "build"
"""What services call the command that makes one dataset."""


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The command that a run belongs to, as services know it; a build may belong to none."""

    lineage: LineageRun | None = None
    trace: Context | None = None


def watched(
    run: Run,
    progress: Progress,
    *,
    required: Sequence[Observer] = (),
    parent: Parent | None = None,
    folder: Folder | None = None,
) -> AbstractContextManager[Observer]:
    """Return the block in which a run is observed, and its progress published: in `folder`, by
    default the output. `RunFinished` is to be reported in the block; `parent` is the command that
    the run belongs to. `required` observers get all facts, too: their errors end the run.

    Raises:
        UsageError: the environment asks for an observer that cannot be.
    """
    publisher = ProgressPublisher(progress, folder or run.output)
    observer = Observers(*required, optional=(publisher, *observers_of(run, parent)))
    return observed(observer, started(run, step=progress.step))


def observers_of(run: Run, parent: Parent | None = None) -> tuple[Observer, ...]:
    """Return the observers of a run, before anything is written; `parent` is the command that it
    belongs to.

    Raises:
        UsageError: the environment asks for one that cannot be.
    """
    return tuple(_observers(run, parent or Parent()))


def _observers(run: Run, parent: Parent) -> Iterator[Observer]:
    if run.config.runner.may_be_ray:
        yield MetricsObserver(RayExporter())
    if path := os.environ.get(METRICS_FILE):
        yield MetricsObserver(TextfileExporter(Path(path)))
    if lineage := lineage_of(BUILD, run.output, parent.lineage):
        yield lineage
    if tracing := tracing_of(BUILD, parent.trace):
        yield tracing


@contextmanager
def command(name: str, config: RunConfig) -> Iterator[Parent]:
    """Observe a command that builds several datasets while the block runs; each is a run in it.

    Raises:
        UsageError: as `observers_of`.
    """
    output = Folder(config.output)
    lineage, tracing = lineage_of(name, output), tracing_of(name)
    observers = Observers(optional=[one for one in (lineage, tracing) if one])
    fact = RunStarted(
        sources=tuple(redacted(source.url) for source in config.source),
        output=redacted(output.url),
        recipe="",
        runner=config.runner.kind,
    )
    with observed(observers, fact):
        yield Parent(
            lineage=lineage.run if lineage else None, trace=tracing.context if tracing else None
        )
        observers.observe(RunFinished(manifest=None))

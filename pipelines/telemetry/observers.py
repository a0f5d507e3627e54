"""Who watches a run: what its runner and the environment of this process ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.errors import ConfigError, UsageError
from engine.core.redaction import redacted
from engine.execution.observer import Observer, Observers, RunFinished, RunStarted, observed
from engine.execution.progress import Progress
from engine.execution.run import Run, started
from engine.planning.config import RunConfig
from engine.planning.registry import require
from engine.storage.folder import Folder
from engine.untrusted.escaped import cut
from pipelines.telemetry.metrics import MetricsObserver
from pipelines.telemetry.progress_file import ProgressPublisher
from pipelines.telemetry.prometheus import METRICS_FILE, RayExporter, TextfileExporter

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from pipelines.telemetry.lineage import Lineage
    from pipelines.telemetry.lineage_events import LineageRun
    from pipelines.telemetry.tracing import Tracing

BUILD = "build"
_LINEAGE = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT__TYPE")
_TRACING = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
"""Environment variables that each service has for all programs."""
_PROTOCOL = "http/protobuf"
_NO_TRACES = "OTEL_TRACES_EXPORTER=none"


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The command that a run belongs to, as services know it."""

    lineage: LineageRun | None = None
    trace: Context | None = None


def watched(
    run: Run, progress: Progress, *, parent: Parent | None = None, folder: Folder | None = None
) -> AbstractContextManager[Observer]:
    """Return the block in which a run is seen: its progress is published, and its observers are
    told. The block tells them itself of `RunFinished`. The progress is published in `folder`, by
    default the output; `parent` is the command that the run belongs to.

    Raises:
        UsageError: the environment asks for an observer that cannot be.
    """
    publisher = ProgressPublisher(progress, folder or run.output)
    observer = Observers(guests=(publisher, *observers_of(run, parent)))
    return observed(observer, started(run, step=progress.step))


def observers_of(run: Run, parent: Parent | None = None) -> tuple[Observer, ...]:
    """Return the observers of a run.

    Raises:
        UsageError: the environment asks for one that is not installed or cannot be set up.
    """
    parent = parent or Parent()
    found = (
        *_metrics(run),
        _lineage(BUILD, run.output, parent.lineage),
        _tracing(BUILD, parent.trace),
    )
    return tuple(one for one in found if one)


@contextmanager
def command(name: str, config: RunConfig) -> Iterator[Parent]:
    """Observe a command that makes several datasets while the block runs; each is a run within it.

    Raises:
        UsageError: as `observers_of`.
    """
    output = Folder(config.output)
    lineage, tracing = _lineage(name, output), _tracing(name)
    observers = Observers(guests=[one for one in (lineage, tracing) if one])
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


def _metrics(run: Run) -> Iterator[MetricsObserver]:
    if run.config.runner.kind == "ray":
        yield MetricsObserver(RayExporter())
    if path := os.environ.get(METRICS_FILE):
        yield MetricsObserver(TextfileExporter(Path(path)))


def _lineage(name: str, output: Folder, parent: LineageRun | None = None) -> Lineage | None:
    if not _is_set(*_LINEAGE) or _is_true("OPENLINEAGE_DISABLED"):
        return None
    require("OpenLineage, which the environment asks for,", ("openlineage",), extra="lineage")
    with _set_up("OpenLineage", off="OPENLINEAGE_DISABLED=true"):
        from pipelines.telemetry.lineage import Lineage

        return Lineage(name, output, parent=parent)


def _tracing(name: str, parent: Context | None = None) -> Tracing | None:
    is_off = _is_true("OTEL_SDK_DISABLED") or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    if not _is_set(*_TRACING) or is_off:
        return None
    packages = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
    require("OpenTelemetry, which the environment asks for,", packages, extra="tracing")
    for variable in filter(os.environ.get, _PROTOCOLS):
        if os.environ[variable] != _PROTOCOL:
            raise ConfigError(
                f"{variable} = {cut(os.environ[variable])}: spans are sent by {_PROTOCOL} only: "
                f"set it to that, with the port of HTTP (4318), or set {_NO_TRACES}"
            )
    with _set_up("OpenTelemetry", off=_NO_TRACES):
        from pipelines.telemetry.tracing import Tracing

        return Tracing(name, parent=parent)


@contextmanager
def _set_up(what: str, *, off: str) -> Iterator[None]:
    """Name the environment where a library cannot use what it says."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # each library has its own
        raise ConfigError(
            f"{what} cannot be set up as its environment variables say: {error}; correct them, or "
            f"set {off}"
        ) from error


def _is_set(*variables: str) -> bool:
    return any(map(os.environ.get, variables))


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "").strip().lower() == "true"

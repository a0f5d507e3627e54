"""The trace of a run for OpenTelemetry: which shard waited for what, and how long stages took.

    build ── shard ─┬─ open
                    └─ call ── stage NAME

A call is as long as this process waited for it, for a free worker, too; the spans of its stages have
the clock of the worker. Spans name shards and stages, never an image, and no message of an error.
OpenTelemetry's environment variables say where spans go, how many are sampled, and which trace they
continue (`TRACEPARENT`). A collector that does not answer costs a warning and a few seconds at the
end of a run.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import (
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from engine.core.redaction import redacted
from engine.execution.observer import (
    CallFinished,
    Fact,
    Observer,
    RunFailed,
    RunFinished,
    RunStarted,
    RunStopped,
    ShardFinished,
    ShardOpened,
    ShardRestarted,
    ShardSkipped,
    WorkerLost,
)
from engine.results.manifest import Manifest
from pipelines.telemetry.sending import CLOSING_S, STOPPING_S, Warned, within

NAME = "florilegium"
_PARENT = ("traceparent", "tracestate")
"""Headers of W3C Trace Context; environment variables have them in capitals."""

Value = str | int | tuple[str, ...]


class Tracing(Observer):
    """Makes a span of a run, of its shards and of their calls, and sends them in batches."""

    def __init__(self, command: str, *, parent: Context | None = None) -> None:
        self._command = command
        self._parent = context_of_environment() if parent is None else parent
        self._exporter = _Exporter()
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer(NAME, version(NAME))
        self._shards: dict[str, Span] = {}
        self._skipped = 0

    @property
    def context(self) -> Context:
        """The context of spans within this run."""
        return set_span_in_context(self._run)

    def observe(self, fact: Fact) -> None:
        match fact:
            case RunStarted():
                self._start(fact)
            case ShardSkipped():
                self._skipped += 1
            case ShardOpened():
                self._open(fact)
            case CallFinished():
                self._call(fact)
            case WorkerLost():
                self._lose(fact)
            case ShardRestarted(shard=shard):
                self._end_shard(shard, Status(StatusCode.ERROR, "the shard starts again"))
            case ShardFinished():
                self._finish(fact)
            case RunFinished(manifest=manifest):
                self._end(Status(StatusCode.OK), CLOSING_S, manifest)
            case RunFailed(error=error):
                self._run.set_attribute("error.type", type(error).__name__)
                self._end(Status(StatusCode.ERROR, type(error).__name__), CLOSING_S)
            case RunStopped():
                self._end(Status(StatusCode.ERROR, "stopped"), STOPPING_S)
            case _:
                pass  # counters, which no span has

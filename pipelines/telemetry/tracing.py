"""The trace of a run for OpenTelemetry: which shard waited for what, and how long stages took.

    build ── shard ─┬─ open
                    └─ call ── stage NAME

A call is as long as this process waited for it, for a free worker, too; the spans of its stages
have the clock of the worker. Spans name shards and stages, never an image, and have no messages of
errors. OpenTelemetry's environment variables say where spans go, how many are sampled, and which
trace they continue (`TRACEPARENT`). A collector that does not answer costs a warning and a few
seconds at the end of a run.
"""

from __future__ import annotations

import logging
import os
import threading
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
from opentelemetry.trace import INVALID_SPAN, Span, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from florilegium.engine.core.counted import counted
from florilegium.engine.execution.observer import (
    CallFinished,
    Fact,
    Observer,
    RunFailed,
    RunFinished,
    RunStarted,
    RunStopped,
    ShardFinished,
    ShardMeasured,
    ShardOpened,
    ShardRestarted,
    ShardsSkipped,
    WorkerLost,
)
from florilegium.engine.results.manifest import Manifest
from florilegium.pipelines.telemetry.sending import CLOSING_S, STOPPING_S, Service

NAME = "florilegium"
_PARENT = ("traceparent", "tracestate")
"""Headers of W3C Trace Context; environment variables have them in capitals."""

_EXPORTER_LOG = logging.getLogger(OTLPSpanExporter.__module__)
logging.getLogger("opentelemetry").addHandler(logging.NullHandler())  # else it prints errors

Value = str | int | tuple[str, ...]


class Tracing(Observer):
    """Makes a span of a run, of its shards and of their calls, and sends them in batches."""

    def __init__(self, command: str, *, parent: Context | None = None) -> None:
        self._command = command
        self._parent = context_of_environment() if parent is None else parent
        self._service = Service("OpenTelemetry's collector")
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_Exporter(self._service)))
        self._tracer = self._provider.get_tracer(NAME, version(NAME))
        self._first_entry = _FirstEntry()
        self._run: Span = INVALID_SPAN
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
            case ShardsSkipped(shards=shards):
                self._skipped += shards
            case ShardOpened():
                self._open(fact)
            case CallFinished():
                self._call(fact)
            case WorkerLost():
                self._lose(fact)
            case ShardRestarted(shard=shard):
                self._end_shard(shard, Status(StatusCode.ERROR, "started again"))
            case ShardMeasured(shard=shard):
                self._end_shard(shard, Status(StatusCode.OK))
            case ShardFinished():
                self._finish(fact)
            case RunFinished(manifest=manifest, is_held_back=is_held_back):
                self._run.set_attributes(_named(is_held_back=is_held_back))
                self._end(Status(StatusCode.OK), CLOSING_S, manifest)
            case RunFailed(error=error):
                self._run.set_attribute("error.type", type(error).__name__)
                self._end(Status(StatusCode.ERROR, type(error).__name__), CLOSING_S)
            case RunStopped():
                self._end(Status(StatusCode.ERROR, "stopped"), STOPPING_S)
            case _:
                pass  # counters, which no span has

    def _start(self, fact: RunStarted) -> None:
        _EXPORTER_LOG.addFilter(self._first_entry)
        self._run = self._tracer.start_span(
            self._command,
            self._parent,
            attributes=_named(output=fact.output, recipe=fact.recipe, runner=fact.runner),
            start_time=_ns(fact.started_s),
        )
        if fact.step:
            self._run.set_attributes(_named(step=fact.step))

    def _open(self, fact: ShardOpened) -> None:
        span = self._tracer.start_span(
            "shard",
            self.context,
            attributes=_named(shard=fact.shard, inputs=fact.inputs, unread=fact.unread),
            start_time=_ns(fact.started_s),
        )
        self._shards[fact.shard] = span
        self._add("open", span, fact.started_s, fact.seconds)

    def _call(self, fact: CallFinished) -> None:
        call = self._add(
            "call",
            self._shards.get(fact.shard, self._run),
            fact.started_s,
            fact.seconds,
            pool=fact.pool,
            stages=fact.stages,
            samples=fact.samples,
        )
        for timing in fact.timings:
            self._add(
                f"stage {timing.stage}",
                call,
                timing.started_s,
                timing.seconds,
                stage=timing.stage,
                samples=timing.samples,
                batches=len(timing.batch_samples),
                failures=timing.failures,
            )

    def _lose(self, fact: WorkerLost) -> None:
        """Note that a worker died; without the message, which may name images."""
        span = self._shards.get(fact.shard, self._run)
        attributes = _named(
            shard=fact.shard, pool=fact.pool, stages=fact.stages, samples=fact.samples
        )
        span.add_event("worker lost", {**attributes, **_named(reason=fact.reason)})

    def _finish(self, fact: ShardFinished) -> None:
        stats, span = fact.stats, self._shards[fact.shard]
        reasons = Counter(letter.reason for letter in stats.dead_letters)
        for reason, count in sorted(reasons.items()):
            span.add_event("dead letters", _named(reason=reason, count=count))
        span.set_attributes(
            _named(
                samples=stats.samples,
                dead_letters=len(stats.dead_letters),
                annotations_kept=stats.annotations_kept,
                annotations_dropped=stats.annotations_dropped,
            )
        )
        self._end_shard(fact.shard, Status(StatusCode.OK))

    def _end_shard(self, shard: str, status: Status) -> None:
        if span := self._shards.pop(shard, None):
            span.set_status(status)
            span.end()

    def _end(self, status: Status, seconds: float, manifest: Manifest | None = None) -> None:
        """End all spans, and wait until they are sent."""
        for shard in tuple(self._shards):
            self._end_shard(shard, Status(StatusCode.ERROR, "not finished"))
        if manifest:
            totals = manifest.totals
            self._run.set_attributes(
                _named(samples=totals.samples, dead_letters=totals.dead_letters)
            )
        self._run.set_attributes(_named(shards_skipped=self._skipped))
        self._run.set_status(status)
        self._run.end()
        thread = threading.Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        self._service.wait_for(thread, seconds)
        _EXPORTER_LOG.removeFilter(self._first_entry)

    def _add(
        self, name: str, parent: Span, started_s: float, seconds: float, **attributes: Value
    ) -> Span:
        """Add a span that is over."""
        span = self._tracer.start_span(
            name,
            set_span_in_context(parent),
            attributes=_named(**attributes),
            start_time=_ns(started_s),
        )
        span.end(_ns(started_s + seconds))
        return span


class _Exporter(SpanExporter):
    """Sends spans by HTTP, and warns once where they do not arrive."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._spans = OTLPSpanExporter()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._spans.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self._service.warn(f"it did not take {counted(len(spans), 'span')}")
        return result

    def shutdown(self) -> None:
        self._spans.shutdown()  # type: ignore[no-untyped-call]


class _FirstEntry(logging.Filter):
    """Leaves one entry in the log of a run; a collector that is down makes several a batch."""

    def __init__(self) -> None:
        super().__init__()
        self._is_over = False

    def filter(self, _: logging.LogRecord) -> bool:
        is_first, self._is_over = not self._is_over, True
        return is_first


def context_of_environment() -> Context:
    """Return the context of the span that started this process, if it named one."""
    variables = {name: os.environ[name.upper()] for name in _PARENT if name.upper() in os.environ}
    return TraceContextTextMapPropagator().extract(variables)


def _resource() -> Resource:
    """Describe this program; what the environment says comes first."""
    ours = Resource.create({SERVICE_NAME: NAME, SERVICE_VERSION: version(NAME)})
    return ours.merge(OTELResourceDetector().detect())


def _named(**attributes: Value) -> Mapping[str, Value]:
    return {f"{NAME}.{name}": value for name, value in attributes.items()}


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)

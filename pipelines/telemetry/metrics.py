"""The metrics of a run, in one table, and what each fact of a run means for them.

Exporters, the documentation in `configs/deploy/metrics.md` and the check of `grafana.json` derive
from the table. Labels have few values: names of stages and pools, and short constants; never a key
or a URL. Knows nothing of how metrics are stored or sent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from florilegium.engine.execution.observer import (
    CallFinished,
    Fact,
    Observer,
    PoolsSeen,
    RunFailed,
    RunFinished,
    RunStarted,
    RunStopped,
    ShardFinished,
    ShardRestarted,
    ShardsSkipped,
    WorkerLost,
    WorkFound,
)

PREFIX = "florilegium_"
MAX_REASONS = 64
"""Values of the label `reason`; a stage may invent reasons, and further ones are `OTHER`."""
OTHER = "other"
RUNNING, FINISHED, FAILED, STOPPED = STATES = ("running", "finished", "failed", "stopped")
"""The states of a run."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A row of the table. The exported name of a counter ends with `_total`; `buckets` are the
    upper bounds of a histogram's."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def exported(self) -> tuple[str, ...]:
        """The names under which Prometheus has it."""
        suffixes = {
            "counter": ("_total",),
            "gauge": ("",),
            "histogram": ("_bucket", "_sum", "_count"),
        }
        return tuple(f"{self.name}{suffix}" for suffix in suffixes[self.kind])


_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"{PREFIX}{name}", kind="counter", help=text, labels=labels)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"{PREFIX}{name}", kind="gauge", help=text, labels=labels)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Metric:
    return Metric(
        name=f"{PREFIX}{name}", kind="histogram", help=text, labels=labels, buckets=buckets
    )


RUN = _gauge("run", "1 for the state of the run, 0 for the others", "state")
SHARDS = _gauge(
    "shards", "Shards of the run: `todo`, `done` by it, done `before` and left alone", "state"
)
INPUTS = _counter(
    "inputs",
    "Inputs of finished shards, by what became of them: `sample`, `dead_letter`",
    "outcome",
)
DEAD_LETTERS = _counter("dead_letters", "Inputs that became no sample", "stage", "reason")
ANNOTATIONS = _counter(
    "annotations", "Annotations of finished shards, by verdict: `kept`, `dropped`", "outcome"
)
SHARD_SECONDS = _histogram("shard_seconds", "Seconds from reading a shard to its end", _SECONDS)
SHARD_RESTARTS = _counter("shard_restarts", "Shards that started again, as their bytes were lost")
STAGE_SAMPLES = _counter("stage_samples", "Samples that a stage was asked about", "stage")
STAGE_SECONDS = _counter("stage_seconds", "Seconds in calls of a stage, over all workers", "stage")
STAGE_FAILURES = _counter("stage_failures", "Samples that a stage gave no answer for", "stage")
BATCH_SECONDS = _histogram("batch_seconds", "Seconds of one batch", _SECONDS, "stage")
BATCH_SAMPLES = _histogram("batch_samples", "Samples of one batch", _SIZES, "stage")
POOL_SLOTS = _gauge("pool_slots", "Calls that a pool of workers can run at once", "pool")
POOL_RUNNING = _gauge("pool_running", "Calls that run in a pool, or load their models", "pool")
POOL_QUEUED = _gauge("pool_queued", "Calls that wait for a free worker of a pool", "pool")
POOL_BUSY = _counter(
    "pool_busy_seconds",
    "Seconds in calls of stages, by pool, not by device: of workers that share a GPU, each counts",
    "pool",
)
WAITING = _gauge("waiting", "1 while workers wait for resources of the cluster, else 0")
WORKERS_LOST = _counter(
    "workers_lost", "Workers that died, or were ended because of a limit", "pool", "reason"
)
CALLS_REPEATED = _counter(
    "calls_repeated", "Calls that were made again, as the node of their worker was gone", "pool"
)
REQUESTS = _counter("requests", "Requests to a service", "stage")
TOKENS = _counter("tokens", "Tokens that a service charged, in and out together", "stage")
COST = _counter("cost", "Money for a service, in the currency of the stage's prices", "stage")

METRICS: tuple[Metric, ...] = (
    *(RUN, SHARDS, INPUTS, DEAD_LETTERS, ANNOTATIONS, SHARD_SECONDS, SHARD_RESTARTS),
    *(STAGE_SAMPLES, STAGE_SECONDS, STAGE_FAILURES, BATCH_SECONDS, BATCH_SAMPLES),
    *(POOL_SLOTS, POOL_RUNNING, POOL_QUEUED, POOL_BUSY, WAITING),
    *(WORKERS_LOST, CALLS_REPEATED, REQUESTS, TOKENS, COST),
)
"""All metrics, in the order of the documentation."""


class Exporter(ABC):
    """Where the values of metrics go."""

    @abstractmethod
    def record(self, metric: Metric, value: float, **labels: str) -> None:
        """Add a value to a counter or a histogram, or set a gauge."""

    @abstractmethod
    def flush(self, *, is_last: bool) -> None:
        """Values were recorded; `is_last` when no more will be."""


class MetricsObserver(Observer):
    """Turns the facts of a run into metrics."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter
        self._reasons: set[str] = set()
        self._done = self._before = 0

    def observe(self, fact: Fact) -> None:
        match fact:
            case RunStarted():
                self._set_state(RUNNING)
            case WorkFound():
                self._exporter.record(SHARDS, fact.shards, state="todo")
                self._exporter.record(SHARDS, self._done, state="done")
                self._exporter.record(SHARDS, self._before, state="before")
            case ShardsSkipped(shards=shards):
                self._before += shards
            case ShardRestarted():
                self._exporter.record(SHARD_RESTARTS, 1)
            case CallFinished():
                self._count_call(fact)
            case ShardFinished():
                self._count_shard(fact)
            case WorkerLost():
                reason = self._bounded(fact.reason)
                self._exporter.record(WORKERS_LOST, 1, pool=fact.pool, reason=reason)
            case PoolsSeen():
                self._see_pools(fact)
            case RunFinished():
                self._set_state(FINISHED)
            case RunFailed():
                self._set_state(FAILED)
            case RunStopped():
                self._set_state(STOPPED)
            case _:
                return
        self._exporter.flush(is_last=isinstance(fact, RunFinished | RunFailed | RunStopped))

    def _set_state(self, state: str) -> None:
        for one in STATES:
            self._exporter.record(RUN, float(one == state), state=one)

    def _count_call(self, call: CallFinished) -> None:
        record = self._exporter.record
        if call.repeats:
            record(CALLS_REPEATED, call.repeats, pool=call.pool)
        for timing in call.timings:
            stage = timing.stage
            record(STAGE_SAMPLES, timing.samples, stage=stage)
            record(STAGE_SECONDS, timing.seconds, stage=stage)
            record(STAGE_FAILURES, timing.failures, stage=stage)
            for samples, seconds in zip(timing.batch_samples, timing.batch_seconds, strict=True):
                record(BATCH_SAMPLES, samples, stage=stage)
                record(BATCH_SECONDS, seconds, stage=stage)
            record(POOL_BUSY, timing.seconds, pool=call.pool)
            if timing.spent.requests or timing.spent.tokens:
                record(REQUESTS, timing.spent.requests, stage=stage)
                record(TOKENS, timing.spent.tokens, stage=stage)
                record(COST, timing.spent.cost, stage=stage)

    def _count_shard(self, fact: ShardFinished) -> None:
        record, stats = self._exporter.record, fact.stats
        self._done += 1
        record(SHARDS, self._done, state="done")
        record(SHARD_SECONDS, fact.seconds)
        record(INPUTS, stats.samples, outcome="sample")
        record(INPUTS, len(stats.dead_letters), outcome="dead_letter")
        record(ANNOTATIONS, stats.annotations_kept, outcome="kept")
        record(ANNOTATIONS, stats.annotations_dropped, outcome="dropped")
        for letter in stats.dead_letters:
            record(DEAD_LETTERS, 1, stage=letter.stage, reason=self._bounded(letter.reason))

    def _see_pools(self, seen: PoolsSeen) -> None:
        record = self._exporter.record
        record(WAITING, float(bool(seen.waiting)))
        for load in seen.pools:
            record(POOL_SLOTS, load.width, pool=load.pool)
            record(POOL_RUNNING, load.running, pool=load.pool)
            record(POOL_QUEUED, load.queued, pool=load.pool)

    def _bounded(self, reason: str) -> str:
        if reason not in self._reasons and len(self._reasons) >= MAX_REASONS:
            return OTHER
        self._reasons.add(reason)
        return reason

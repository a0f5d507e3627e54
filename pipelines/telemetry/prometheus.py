"""Metrics for Prometheus: by Ray, which exports them on each node, or as a file.

The file is for the textfile collector of node_exporter
(https://github.com/prometheus/node_exporter#textfile-collector). Ray's names begin with `ray_`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.planning.registry import require
from florilegium.pipelines.telemetry.metrics import METRICS, Exporter, Metric

METRICS_FILE = "FLORILEGIUM_METRICS_FILE"
"""The environment variable that has the path of the file."""
RUN_LABEL = "run"
"""A label of all metrics in a file: its name without `.prom`. node_exporter reads all files of a
folder as one, and refuses two that have the same series."""
WRITE_S = 5.0
"""Seconds between two writes of the file."""


class TextfileExporter(Exporter):
    """Writes all metrics of a run into a file, in one piece, every few seconds and at the end.

    Raises:
        ConfigError: the file cannot be one that node_exporter reads.
        MissingPackage: `prometheus_client` is not installed.
    """

    def __init__(self, path: Path) -> None:
        require(METRICS_FILE, ("prometheus_client",), extra="metrics")
        from prometheus_client import CollectorRegistry

        if path.suffix != ".prom" or not path.parent.is_dir():
            raise ConfigError(
                f"{METRICS_FILE} = {str(path)!r}: name a file that ends with .prom, as "
                f"node_exporter reads no other, in a folder that exists"
            )
        self._path = path
        self._registry = CollectorRegistry()
        self._metrics = {metric.name: self._registered(metric) for metric in METRICS}
        self._written_s = 0.0

    def record(self, metric: Metric, value: float, **labels: str) -> None:
        one = self._metrics[metric.name].labels(**labels, **{RUN_LABEL: self._path.stem})
        match metric.kind:
            case "counter":
                one.inc(value)
            case "gauge":
                one.set(value)
            case "histogram":
                one.observe(value)

    def flush(self, *, is_last: bool) -> None:
        from prometheus_client import write_to_textfile

        if is_last or time.monotonic() - self._written_s >= WRITE_S:
            write_to_textfile(str(self._path), self._registry)
            self._written_s = time.monotonic()

    def _registered(self, metric: Metric) -> Any:
        import prometheus_client

        options: dict[str, Any] = {"buckets": metric.buckets} if metric.buckets else {}
        kind = getattr(prometheus_client, metric.kind.capitalize())
        labels = (*metric.labels, RUN_LABEL)
        return kind(metric.name, metric.help, labels, registry=self._registry, **options)


class RayExporter(Exporter):
    """Hands metrics to Ray while this process is connected to one; what comes before waits.

    Ray exports them from each node whose dashboard agent runs, which `ray[default]` brings, within
    10 seconds. It keeps no single values of a histogram: its `_sum` is a guess from the buckets.
    """

    def __init__(self) -> None:
        self._metrics: dict[str, Any] = {}
        self._early: list[tuple[Metric, float, dict[str, str]]] = []

    def record(self, metric: Metric, value: float, **labels: str) -> None:
        ray = sys.modules.get("ray")  # a build that needs none does not import it
        if ray is not None and ray.is_initialized():
            self._connect()
            self._record(metric, value, labels)
        elif not self._metrics:
            self._early.append((metric, value, labels))

    def flush(self, *, is_last: bool) -> None:
        """Do nothing: Ray sends values by itself."""

    def _connect(self) -> None:
        """Make the metrics, which have no effect before there is a Ray."""
        if self._metrics:
            return
        self._metrics = {metric.name: _of_ray(metric) for metric in METRICS}
        for early in self._early:
            self._record(*early)
        self._early = []

    def _record(self, metric: Metric, value: float, labels: dict[str, str]) -> None:
        one = self._metrics[metric.name]
        match metric.kind:
            case "counter" if value:  # Ray refuses to add nothing
                one.inc(value, tags=labels)
            case "gauge":
                one.set(value, tags=labels)
            case "histogram":
                one.observe(value, tags=labels)


def _of_ray(metric: Metric) -> Any:
    from ray.util import metrics

    options: dict[str, Any] = {"boundaries": list(metric.buckets)} if metric.buckets else {}
    kind = getattr(metrics, metric.kind.capitalize())
    return kind(metric.name, metric.help, tag_keys=metric.labels, **options)

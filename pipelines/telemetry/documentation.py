"""The table of metrics as a document: `python -m florilegium.pipelines.telemetry.documentation`."""

from __future__ import annotations

import sys

from florilegium.pipelines.telemetry.metrics import MAX_REASONS, METRICS, Metric
from florilegium.pipelines.telemetry.prometheus import METRICS_FILE, RUN_LABEL

_HEAD = f"""\
# Metrics of a build

* Under Ray they come with Ray's own, from the metrics port of the node where the build was started;
  their names begin with `ray_`. `ray[default]` has to be installed there. Ray collects them every
  10 seconds: of a Ray that ends with its build the last ones are lost, so take the file there.
* With any runner, the environment `{METRICS_FILE}=/var/lib/node_exporter/mine.prom`
  has a build write them into that file every few seconds, for the textfile collector of
  node_exporter. The extra `metrics` has to be installed. All have the label `{RUN_LABEL}`, the name
  of the file without `.prom`: give each build that runs at the same time a file of its own.

`grafana.json` draws them. Of the label `reason` there are at most {MAX_REASONS} values, further
ones are `other`. Ray guesses the `_sum` of a histogram from its buckets: for sums, take the
counters.

| metric | kind | labels | what it counts |
|---|---|---|---|
"""


def documentation() -> str:
    """Return the document."""
    return _HEAD + "".join(f"{_row(metric)}\n" for metric in METRICS)


def _row(metric: Metric) -> str:
    name = metric.exported[0] if metric.kind == "counter" else metric.name
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{name}` | {metric.kind} | {labels} | {metric.help} |"


if __name__ == "__main__":
    sys.stdout.write(documentation())

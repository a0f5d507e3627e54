"""What a real Ray exports of a build is in the table of metrics."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from florilegium.pipelines.telemetry.metrics import METRICS
from tests.conftest import ROOT

pytestmark = pytest.mark.timeout(300)


def test_ray_exports_the_metrics_of_a_build(album: Path, tmp_path: Path) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    scraped = subprocess.run(
        [sys.executable, "-m", "tests.cluster.scraped", album, tmp_path / "out"],
        cwd=ROOT,
        env={**own, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
    )
    assert scraped.returncode == 0, scraped.stderr
    known = {f"ray_{name}": metric for metric in METRICS for name in metric.exported}
    values: dict[tuple[str, ...], float] = {}
    names = set()
    for family in text_string_to_metric_families(scraped.stdout):
        for one in family.samples:
            if "florilegium" in one.name and not one.name.endswith("_created"):
                metric = known[one.name]
                names.add(metric.name)
                short = one.name.removeprefix("ray_florilegium_")
                values[short, *(one.labels[label] for label in metric.labels)] = one.value
    assert values["inputs_total", "sample"] == 11
    assert values["dead_letters_total", "trouble", "too_ugly"] == 1
    assert values["stage_samples_total", "bright"] == 12
    assert values["stage_failures_total", "trouble"] == 1
    assert values["batch_samples_count", "bright"] == 3
    assert values["shards", "todo"] == values["shards", "done"] == 3
    assert values["pool_slots", "cpu"] == 1
    assert values["pool_busy_seconds_total", "cpu"] > 0
    without = {"requests", "tokens", "cost", "workers_lost", "calls_repeated", "shard_restarts"}
    assert names == {metric.name for metric in METRICS} - {f"florilegium_{one}" for one in without}

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from florilegium.engine.core.errors import ConfigError, MissingPackage
from florilegium.engine.execution.observer import (
    Fact,
    RunFailed,
    RunFinished,
    RunStopped,
    WorkerLost,
)
from florilegium.engine.execution.preparation import prepare
from florilegium.pipelines.build import build_dataset
from florilegium.pipelines.telemetry import prometheus
from florilegium.pipelines.telemetry.metrics import MAX_REASONS, METRICS, MetricsObserver
from florilegium.pipelines.telemetry.observers import observers_of
from florilegium.pipelines.telemetry.prometheus import METRICS_FILE, TextfileExporter
from tests.building import configure
from tests.pipelines.telemetry.facts import FACTS, STARTED

Series = dict[tuple[str, str], float]
FINISHED = RunFinished(manifest=None)


def read(path: Path) -> Series:
    """Return the values of a file by name and labels; bounds of buckets have no other labels."""
    families = text_string_to_metric_families(path.read_text("utf-8"))
    found: Series = {}
    for sample in (sample for family in families for sample in family.samples):
        assert sample.labels.pop("run") == path.stem
        if not sample.name.endswith("_created"):
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[sample.name.removeprefix("florilegium_"), labels] = sample.value
    return found


def observed(path: Path, facts: Iterable[Fact]) -> Series:
    observer = MetricsObserver(TextfileExporter(path))
    for fact in facts:
        observer.observe(fact)
    return read(path)


def test_each_fact_counts_where_it_belongs(tmp_path: Path) -> None:
    found = observed(tmp_path / "mine.prom", [*FACTS, FINISHED])
    series = {one: value for one, value in found.items() if "_bucket" not in one[0]}
    assert series == {
        ("run", "state=running"): 0,
        ("run", "state=finished"): 1,
        ("run", "state=failed"): 0,
        ("run", "state=stopped"): 0,
        ("shards", "state=todo"): 3,
        ("shards", "state=done"): 1,
        ("shards", "state=before"): 1,
        ("inputs_total", "outcome=sample"): 18,
        ("inputs_total", "outcome=dead_letter"): 2,
        ("dead_letters_total", "reason=too_ugly,stage=tagger"): 2,
        ("annotations_total", "outcome=kept"): 18,
        ("annotations_total", "outcome=dropped"): 1,
        ("shard_seconds_sum", ""): 12,
        ("shard_seconds_count", ""): 1,
        ("shard_restarts_total", ""): 1,
        ("stage_samples_total", "stage=tagger"): 20,
        ("stage_seconds_total", "stage=tagger"): 2.75,
        ("stage_failures_total", "stage=tagger"): 1,
        ("batch_seconds_sum", "stage=tagger"): 2.75,
        ("batch_seconds_count", "stage=tagger"): 3,
        ("batch_samples_sum", "stage=tagger"): 20,
        ("batch_samples_count", "stage=tagger"): 3,
        ("pool_slots", "pool=gpu"): 2,
        ("pool_running", "pool=gpu"): 2,
        ("pool_queued", "pool=gpu"): 5,
        ("pool_busy_seconds_total", "pool=gpu"): 2.75,
        ("waiting", ""): 1,
        ("workers_lost_total", "pool=gpu,reason=process_died"): 1,
        ("calls_repeated_total", "pool=gpu"): 1,
        ("requests_total", "stage=tagger"): 20,
        ("tokens_total", "stage=tagger"): 3000,
        ("cost_total", "stage=tagger"): 0.5,
    }
    assert found["batch_seconds_bucket", "le=0.5,stage=tagger"] == 2
    assert found["batch_samples_bucket", "le=4.0,stage=tagger"] == 1
    names = {name for metric in METRICS for name in metric.exported}
    assert {f"florilegium_{name}" for name, _ in found} == names, "the table has no other metrics"


@pytest.mark.parametrize(
    ("end", "state"),
    [(FINISHED, "finished"), (RunFailed(error=OSError()), "failed"), (RunStopped(), "stopped")],
)
def test_the_file_has_how_the_run_ended(tmp_path: Path, end: Fact, state: str) -> None:
    found = observed(tmp_path / "mine.prom", [STARTED, end])
    states = {labels: value for (name, labels), value in found.items() if name == "run"}
    assert {labels for labels, value in states.items() if value} == {f"state={state}"}


def test_the_file_is_written_every_few_seconds_in_one_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    monkeypatch.setattr(prometheus.time, "monotonic", lambda: now_s)
    path = tmp_path / "mine.prom"
    observer = MetricsObserver(TextfileExporter(path))
    *before, finished = FACTS
    for fact in before:
        observer.observe(fact)
    assert read(path)["run", "state=running"] == 1
    assert ("shards", "state=todo") not in read(path), "no five seconds have passed"
    now_s += prometheus.WRITE_S
    observer.observe(finished)
    assert read(path)["shards", "state=todo"] == 3
    assert [one.name for one in tmp_path.iterdir()] == ["mine.prom"]


def test_a_stage_that_invents_reasons_does_not_make_series_without_end(tmp_path: Path) -> None:
    lost = [
        WorkerLost(shard="", pool="cpu", stages=(), samples=1, reason=f"reason_{n}", message="")
        for n in range(MAX_REASONS + 10)
    ]
    found = observed(tmp_path / "mine.prom", [*lost, lost[0], FINISHED])
    counts = {labels: value for (name, labels), value in found.items() if name.startswith("work")}
    assert len(counts) == MAX_REASONS + 1
    assert counts["pool=cpu,reason=other"] == 10
    assert counts["pool=cpu,reason=reason_0"] == 2


def test_a_build_writes_the_file_that_the_environment_names(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "album.prom"
    monkeypatch.setenv(METRICS_FILE, str(path))
    stages = {"trouble": {"use": "tests.stages:Trouble", "key": "cup", "how": "refuse"}}
    run = prepare(configure(album, tmp_path / "out", shard_size=5, specialists=stages))
    build_dataset(run)
    found = read(path)
    assert found["inputs_total", "outcome=sample"] == 11
    assert found["dead_letters_total", "reason=too_ugly,stage=trouble"] == 1
    assert found["stage_samples_total", "stage=trouble"] == 12
    assert found["shards", "state=done"] == found["shards", "state=todo"] == 3
    assert found["run", "state=finished"] == 1


@pytest.mark.parametrize("name", ["metrics.txt", "no/such/folder.prom"])
def test_a_file_that_node_exporter_does_not_read_is_refused(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run = prepare(configure(album, tmp_path / "out"))
    monkeypatch.setenv(METRICS_FILE, str(tmp_path / name))
    with pytest.raises(ConfigError, match=r"ends with \.prom"):
        observers_of(run)


def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("florilegium.engine.planning.registry.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"florilegium\[metrics\]"):
        TextfileExporter(tmp_path / "mine.prom")


def test_values_from_before_ray_was_there_are_handed_to_it(
    ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[tuple[str, float, dict[str, str]]] = []

    def note(self: Any, value: float, tags: dict[str, str]) -> None:
        recorded.append((self.info["name"], value, tags))

    monkeypatch.setattr("ray.util.metrics.Metric._record", note)
    is_there = False
    monkeypatch.setattr("ray.is_initialized", lambda: is_there)
    observer = MetricsObserver(prometheus.RayExporter())
    for fact in FACTS[:3]:
        observer.observe(fact)
    assert recorded == []
    is_there = True
    for fact in FACTS[3:]:
        observer.observe(fact)
    assert ("florilegium_shards", 3, {"state": "todo"}) in recorded
    assert ("florilegium_batch_samples", 4, {"stage": "tagger"}) in recorded
    assert {name for name, _, _ in recorded} == {metric.name for metric in METRICS}
    is_there, count = False, len(recorded)
    observer.observe(FINISHED)
    assert len(recorded) == count, "the Ray is gone"

"""A catalogue that speaks OpenLineage learns what a run read and wrote, and how it ended."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from openlineage.client import event_v2, facet_v2

from florilegium.engine.core.errors import ConfigError, MissingPackage, RunError
from florilegium.engine.execution.observer import RunFinished, RunStarted, observed
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.planning.slices import Slice
from florilegium.engine.results.contract import SAMPLE_COLUMNS
from florilegium.engine.results.manifest import Manifest
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.build import build_dataset, build_slice, finish_slices
from florilegium.pipelines.telemetry.lineage import Lineage
from florilegium.pipelines.telemetry.observers import command, observers_of
from tests.building import configure, contents, finished, one_slice
from tests.receiver import Receiver

WORLD = "shape_world://5?seed=1&px=32"
PARENT = "airflow/dag.task/0190c0de-0000-7000-8000-000000000001"
"""As a scheduler names its run: namespace, job and run."""


def built(output: Path, **keys: Any) -> Manifest:
    return build_dataset(prepare(configure(WORLD, output, shard_size=2, **keys)))


def events_of(receiver: Receiver) -> list[dict[str, Any]]:
    return [received.json for received in receiver.received]


@pytest.fixture
def listening(receiver: Receiver) -> Receiver:
    """A receiver that the environment names."""
    os.environ["OPENLINEAGE_URL"] = receiver.url
    return receiver


@pytest.fixture
def run_started(tmp_path: Path) -> RunStarted:
    return RunStarted(
        sources=("s3://bucket/photos",), output=str(tmp_path), recipe="", runner="local"
    )


def test_a_build_is_a_run_with_its_datasets_and_their_numbers(
    listening: Receiver, tmp_path: Path
) -> None:
    manifest = built(tmp_path / "out")
    assert [received.path for received in listening.received] == ["/api/v1/lineage"] * 2
    start, complete = events_of(listening)
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == complete["run"]["runId"]
    for event in (start, complete):
        job = {"namespace": event["job"]["namespace"], "name": event["job"]["name"]}
        assert job == {"namespace": "florilegium", "name": f"build:{tmp_path / 'out'}"}
        assert [(one["namespace"], one["name"]) for one in event["inputs"]] == [
            ("shape_world://5", "?seed=1&px=32")
        ]
        (output,) = event["outputs"]
        assert (output["namespace"], output["name"]) == ("file", str(tmp_path / "out"))
        fields = output["facets"]["schema"]["fields"]
        assert [field["name"] for field in fields] == [column.name for column in SAMPLE_COLUMNS]
    document = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    (output,) = complete["outputs"]
    assert output["facets"]["version"]["datasetVersion"] == document["digest"]
    files = [*(tmp_path / "out" / "shards").iterdir()]
    size = sum(file.stat().st_size for file in files)
    written = output["outputFacets"]["outputStatistics"]
    assert (written["rowCount"], written["size"], written["fileCount"]) == (5, size, 9)
    quality = output["facets"]["dataQualityMetrics"]
    assert (quality["rowCount"], quality["bytes"], quality["fileCount"]) == (5, size, 9)
    assert (
        quality["columnMetrics"]["key"] | {"count": 5, "distinctCount": 5}
        == (quality["columnMetrics"]["key"])
    )
    ours = output["facets"]["florilegium_annotations"]
    assert (ours["inputs"], ours["samples"], ours["deadLetters"]) == (5, 5, {})
    assert ours["tasks"] == manifest.totals.tasks == {"object_detection": {"kept": 5, "dropped": 0}}


def test_the_end_of_a_build_in_slices_is_the_run_that_wrote_the_dataset(
    listening: Receiver, album: Path, tmp_path: Path
) -> None:
    for text in ("1/2", "2/2"):
        one_slice(album, tmp_path / "out", text)
    finished(album, tmp_path / "out")
    events = events_of(listening)
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"] * 3
    rows = [one["outputFacets"].get("outputStatistics") for one in events[-1]["outputs"]]
    assert [row["rowCount"] for row in rows] == [12]


def test_a_build_that_finds_nothing_to_do_wrote_no_rows(
    listening: Receiver, tmp_path: Path
) -> None:
    built(tmp_path / "out")
    built(tmp_path / "out")
    *_, complete = events_of(listening)
    (output,) = complete["outputs"]
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 0
    assert output["facets"]["dataQualityMetrics"]["rowCount"] == 5


def test_slices_are_runs_of_their_own_and_the_last_step_has_the_numbers(
    listening: Receiver, tmp_path: Path
) -> None:
    run = prepare(configure(WORLD, tmp_path / "out", shard_size=2))
    for number in (1, 2):
        build_slice(run, Slice(number=number, of=2))
    finish_slices(run)
    events = events_of(listening)
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"] * 3
    rows = [
        event["outputs"][0]["facets"].get("dataQualityMetrics", {}).get("rowCount")
        for event in events
    ]
    assert rows == [None, None, None, None, None, 5]
    assert events[-1]["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 5


def test_inputs_that_were_lost_are_counted_by_reason(
    listening: Receiver, album: Path, tmp_path: Path
) -> None:
    source = tmp_path / "photos"
    source.mkdir()
    (source / "whole.jpg").write_bytes((album / "cat.jpg").read_bytes())
    (source / "broken.jpg").write_bytes(b"no image")
    build_dataset(prepare(configure(source, tmp_path / "out", max_dead_letter_share=0.5)))
    *_, complete = events_of(listening)
    ours = complete["outputs"][0]["facets"]["florilegium_annotations"]
    assert (ours["inputs"], ours["samples"]) == (2, 1)
    assert sum(ours["deadLetters"].values()) == 1


def test_a_failure_has_its_message_without_secrets(
    listening: Receiver, run_started: RunStarted, tmp_path: Path
) -> None:
    lineage = Lineage("build", Folder(str(tmp_path)))
    with pytest.raises(TimeoutError), observed(lineage, run_started):
        raise TimeoutError("https://user:hunter2@host/photos.tar does not answer")
    start, fail = events_of(listening)
    assert (start["eventType"], fail["eventType"]) == ("START", "FAIL")
    message = fail["run"]["facets"]["errorMessage"]
    assert message["message"] == "TimeoutError: https://***@host/photos.tar does not answer"
    assert message["programmingLanguage"] == "PYTHON"


def test_a_run_that_is_stopped_is_aborted(
    listening: Receiver, run_started: RunStarted, tmp_path: Path
) -> None:
    lineage = Lineage("build", Folder(str(tmp_path)))
    with pytest.raises(KeyboardInterrupt), observed(lineage, run_started):
        raise KeyboardInterrupt
    assert [event["eventType"] for event in events_of(listening)] == ["START", "ABORT"]


def test_a_run_belongs_to_the_one_that_a_scheduler_names(
    listening: Receiver, tmp_path: Path
) -> None:
    os.environ["OPENLINEAGE_PARENT_ID"] = PARENT
    os.environ["OPENLINEAGE_NAMESPACE"] = "photos"
    built(tmp_path / "out")
    for event in events_of(listening):
        parent = event["run"]["facets"]["parent"]
        assert (parent["job"]["namespace"], parent["job"]["name"]) == ("airflow", "dag.task")
        assert parent["run"]["runId"] == PARENT.rpartition("/")[2]
        assert event["job"]["namespace"] == "photos"


@pytest.mark.parametrize("parent", ["one", "airflow/dag/no-uuid", PARENT.partition("/")[2]])
def test_a_parent_that_is_none_stops_a_run_before_it_starts(
    parent: str, listening: Receiver, tmp_path: Path
) -> None:
    os.environ["OPENLINEAGE_PARENT_ID"] = parent
    with pytest.raises(ConfigError, match=r"it is NAMESPACE/JOB/RUN_ID"):
        built(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not listening.received


def test_builds_of_a_longer_command_belong_to_its_run(listening: Receiver, tmp_path: Path) -> None:
    os.environ["OPENLINEAGE_PARENT_ID"] = PARENT
    run = prepare(configure(WORLD, tmp_path / "out"))
    with command("refine", run.config) as parent:
        (lineage,) = observers_of(run, parent)
        lineage.observe(RunStarted(sources=(), output="", recipe="", runner="local"))
        lineage.observe(RunFinished(manifest=None))
    by_job: dict[str, list[Any]] = {}
    for event in events_of(listening):
        by_job.setdefault(event["job"]["name"].partition(":")[0], []).append(event)
    assert [event["eventType"] for event in by_job["refine"]] == ["START", "COMPLETE"]
    child, _ = by_job["build"]
    of_child, of_refine = (
        event["run"]["facets"]["parent"]["run"]["runId"] for event in (child, *by_job["refine"][:1])
    )
    assert of_child == by_job["refine"][0]["run"]["runId"]
    assert of_refine == PARENT.rpartition("/")[2]


def test_a_receiver_that_is_down_costs_a_warning_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("florilegium.pipelines.telemetry.lineage.CLOSING_S", 0.2)
    built(tmp_path / "without")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # nothing listens there
        os.environ["OPENLINEAGE_URL"] = f"http://127.0.0.1:{held.getsockname()[1]}"
        built(tmp_path / "out")
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    what = "it took nothing within 0.2 s; the dataset is not affected"
    assert warnings == [f"warning the receiver of OpenLineage: {what}"]
    there, wanted = contents(tmp_path / "out"), contents(tmp_path / "without")
    assert there.keys() == wanted.keys()
    assert all(there[name] == wanted[name] for name in there if name.startswith("shards/"))


def test_a_receiver_that_refuses_is_warned_of_once(
    listening: Receiver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listening.status = 403
    built(tmp_path / "out")
    assert len(listening.received) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(lines) == 1
    assert "HTTPError: 403" in lines[0]


def test_a_receiver_that_failed_before_is_hardly_waited_for(
    listening: Receiver,
    run_started: RunStarted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("florilegium.pipelines.telemetry.sending.STOPPING_S", 0.1)
    lineage, listening.status = Lineage("build", Folder(str(tmp_path))), 403
    lineage.observe(run_started)
    while not (printed := capsys.readouterr().err):
        threading.Event().wait(0.01)
    assert "HTTPError: 403" in printed
    listening.hang()
    began_s = time.monotonic()
    lineage.observe(RunFinished(manifest=None))
    assert time.monotonic() - began_s < 5, "not the ten seconds of a service that is well"


def test_a_receiver_that_never_answers_is_not_waited_for(
    listening: Receiver,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("florilegium.pipelines.telemetry.lineage.CLOSING_S", 0.2)
    listening.hang()
    built(tmp_path / "out")
    assert "it took nothing within 0.2 s" in capsys.readouterr().err


def test_a_key_of_the_environment_is_sent_to_the_receiver_alone(
    listening: Receiver, tmp_path: Path
) -> None:
    os.environ["OPENLINEAGE_API_KEY"] = "key-of-the-catalogue"
    built(tmp_path / "out")
    headers = [received.headers["authorization"] for received in listening.received]
    assert headers == ["Bearer key-of-the-catalogue"] * 2
    assert not any(b"key-of-the-catalogue" in received.body for received in listening.received)


def test_without_its_package_a_build_does_not_start(
    listening: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("florilegium.engine.planning.registry.find_spec", lambda _: None)
    with pytest.raises(MissingPackage, match=r"OpenLineage.*pip install 'florilegium\[lineage\]'"):
        built(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_settings_that_make_no_client_stop_a_run_before_it_starts(tmp_path: Path) -> None:
    os.environ["OPENLINEAGE_URL"] = "nowhere"
    with pytest.raises(ConfigError, match=r"OpenLineage cannot be set up .*OPENLINEAGE_DISABLED"):
        built(tmp_path / "out")


def test_it_can_be_switched_off(listening: Receiver, tmp_path: Path) -> None:
    os.environ["OPENLINEAGE_DISABLED"] = "true"
    built(tmp_path / "out")
    assert not listening.received


def test_events_have_the_structure_of_the_specification(
    listening: Receiver, tmp_path: Path
) -> None:
    """Each facet has exactly the fields of the class that the client generates from its schema."""
    built(tmp_path / "out")
    with (
        pytest.raises(RunError),
        observed(
            Lineage("build", Folder(str(tmp_path))),
            RunStarted(sources=(), output="", recipe="", runner="local"),
        ),
    ):
        raise RunError("no images")
    for event in events_of(listening):
        assert event["schemaURL"].endswith("#/$defs/RunEvent")
        assert event["producer"].startswith("pkg:generic/florilegium@")
        event_v2.Run(runId=event["run"]["runId"])  # raises unless it is a UUID
        assert event_v2.RunState(event["eventType"])
        (output,) = event["outputs"]
        facets = {
            **event["run"]["facets"],
            **event["job"]["facets"],
            **output["facets"],
            **output["outputFacets"],
        }
        for name, facet in facets.items():
            assert facet["_schemaURL"].startswith("https://openlineage.io/spec/"), name
            if name != "tags":  # the client adds it
                assert facet["_producer"] == event["producer"], name
            of_class = CLASSES.get(name)
            if of_class is not None:
                given = {key: value for key, value in facet.items() if not key.startswith("_")}
                of_class(**given)


CLASSES: dict[str, Any] = {
    "processing_engine": facet_v2.processing_engine_run.ProcessingEngineRunFacet,
    "errorMessage": facet_v2.error_message_run.ErrorMessageRunFacet,
    "jobType": facet_v2.job_type_job.JobTypeJobFacet,
    "schema": facet_v2.schema_dataset.SchemaDatasetFacet,
    "documentation": facet_v2.documentation_dataset.DocumentationDatasetFacet,
    "version": facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet,
    "dataQualityMetrics": facet_v2.data_quality_metrics_dataset.DataQualityMetricsDatasetFacet,
    "outputStatistics": (
        facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet
    ),
}

"""A collector of OpenTelemetry gets the trace of a run: shards, calls, and seconds by stage."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from florilegium.engine.core.errors import ConfigError, MissingPackage, RunError
from florilegium.engine.core.spent import Spent
from florilegium.engine.execution.observer import (
    CallFinished,
    Fact,
    RunFailed,
    RunFinished,
    RunStarted,
    RunStopped,
    ShardOpened,
    ShardRestarted,
    WorkerLost,
    observed,
)
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.timing import StageTiming
from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.build import build_dataset
from florilegium.pipelines.telemetry.observers import command, observers_of
from florilegium.pipelines.telemetry.tracing import Tracing
from tests.building import DESCRIBED, configure, contents
from tests.receiver import Receiver

WORLD = "shape_world://5?seed=1&px=32"
STARTED = RunStarted(
    sources=("photos",), output="out", recipe="abc", runner="local", started_s=100.0
)
OPENED = ShardOpened(shard="000000", inputs=3, unread=1, answered={}, started_s=101.0, seconds=0.5)


def built(source: Path | str, output: Path, **keys: Any) -> None:
    build_dataset(prepare(configure(source, output, **{"shard_size": 2, **keys})))


def spans_of(receiver: Receiver) -> list[Span]:
    return [
        span
        for received in receiver.received
        for resource in ExportTraceServiceRequest.FromString(received.body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def values(attributes: Any) -> dict[str, Any]:
    """Return attributes as plain values, without the name of the program before their names."""
    return {one.key.removeprefix("florilegium."): _value(one.value) for one in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    plain = getattr(value, kind)
    return [_value(one) for one in plain.values] if kind == "array_value" else plain


def seconds(span: Span) -> tuple[float, float]:
    return span.start_time_unix_nano / 1e9, span.end_time_unix_nano / 1e9


def named(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span.name == name]


@pytest.fixture
def collecting(receiver: Receiver) -> Receiver:
    """A collector that the environment names."""
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.url
    return receiver


def traced(*facts: Fact) -> None:
    tracing = Tracing("build")
    for fact in facts:
        tracing.observe(fact)


def test_a_build_is_one_trace_from_the_run_to_each_call_of_a_stage(
    collecting: Receiver, album: Path, tmp_path: Path
) -> None:
    built(album, tmp_path / "out", specialists=DESCRIBED, shard_size=5)
    assert {received.path for received in collecting.received} == {"/v1/traces"}
    spans = spans_of(collecting)
    by_id = {span.span_id: span for span in spans}
    (run,) = named(spans, "build")
    assert not run.parent_span_id
    assert {span.trace_id for span in spans} == {run.trace_id}
    assert run.status.code == Status.STATUS_CODE_OK
    assert (
        values(run.attributes).items()
        >= {
            "output": str(tmp_path / "out"),
            "runner": "in_process",
            "samples": 12,
            "dead_letters": 0,
        }.items()
    )
    shards = named(spans, "shard")
    assert {span.parent_span_id for span in shards} == {run.span_id}
    found = {values(span.attributes)["shard"]: values(span.attributes) for span in shards}
    assert sorted(found) == ["000000", "000001", "000002"]
    assert [found[name]["samples"] for name in sorted(found)] == [5, 5, 2]
    assert found["000000"]["annotations_kept"] == 10
    for name in ("bright", "describe"):
        stages = named(spans, f"stage {name}")
        assert sum(values(span.attributes)["samples"] for span in stages) == 12
        for span in stages:
            call = by_id[span.parent_span_id]
            assert (call.name, by_id[call.parent_span_id].name) == ("call", "shard")
            assert name in values(call.attributes)["stages"]
            began, ended = seconds(span)
            assert began <= ended
            assert seconds(call)[0] - 0.1 <= began
            assert ended <= seconds(call)[1] + 0.1


def test_a_stage_took_the_seconds_that_its_worker_measured(collecting: Receiver) -> None:
    timing = StageTiming(
        stage="detector",
        started_s=103.0,
        batch_samples=(2, 1),
        batch_seconds=(1.0, 0.25),
        failures=1,
        spent=Spent(),
    )
    call = CallFinished(
        shard="000000",
        pool="gpu",
        stages=("detector",),
        samples=3,
        started_s=102.0,
        seconds=3.0,
        timings=(timing,),
    )
    traced(STARTED, OPENED, call, RunStopped())
    spans = spans_of(collecting)
    (run,), (shard,) = named(spans, "build"), named(spans, "shard")
    (opened,), (waited,), (stage,) = (
        named(spans, name) for name in ("open", "call", "stage detector")
    )
    assert seconds(run)[0] == 100.0
    assert seconds(shard)[0] == 101.0
    assert seconds(opened) == (101.0, 101.5)
    assert seconds(waited) == (102.0, 105.0)
    assert seconds(stage) == (103.0, 104.25)
    assert values(stage.attributes) == {
        "stage": "detector",
        "samples": 3,
        "batches": 2,
        "failures": 1,
    }
    assert values(waited.attributes) == {"pool": "gpu", "stages": ["detector"], "samples": 3}


def test_no_span_names_an_image(collecting: Receiver, album: Path, tmp_path: Path) -> None:
    source = tmp_path / "photos"
    source.mkdir()
    for file in album.glob("*.jpg"):
        (source / f"private_{file.name}").write_bytes(file.read_bytes())
    (source / "private_broken.jpg").write_bytes(b"no image")
    built(source, tmp_path / "out", max_dead_letter_share=0.9)
    (sample, *_) = open_dataset(str(tmp_path / "out"))
    assert sample.key.startswith("private_")
    assert not any(b"private_" in received.body for received in collecting.received)
    events = [event for span in spans_of(collecting) for event in span.events]
    assert [(event.name, values(event.attributes)["count"]) for event in events] == [
        ("dead letters", 1)
    ]


def test_a_failure_is_the_status_of_the_run(collecting: Receiver) -> None:
    secret = "private.jpg at https://user:hunter2@host cannot be read"
    traced(STARTED, OPENED, RunFailed(error=RunError(secret)))
    spans = spans_of(collecting)
    (run,), (shard,) = named(spans, "build"), named(spans, "shard")
    assert run.status == Status(code=Status.STATUS_CODE_ERROR, message="RunError")
    assert shard.status == Status(code=Status.STATUS_CODE_ERROR, message="not finished")
    sent = b"".join(received.body for received in collecting.received)
    assert b"private.jpg" not in sent
    assert b"hunter2" not in sent


def test_a_version_that_is_held_back_is_told_from_one_that_is_published(
    collecting: Receiver,
) -> None:
    traced(STARTED, RunFinished(manifest=None, is_held_back=True))
    (run,) = named(spans_of(collecting), "build")
    assert run.status == Status(code=Status.STATUS_CODE_OK)
    assert values(run.attributes)["is_held_back"] is True


def test_dead_workers_and_restarts_are_seen_where_they_happened(collecting: Receiver) -> None:
    lost = WorkerLost(
        shard="000000",
        pool="gpu",
        stages=("detector",),
        samples=3,
        reason="worker_died",
        message="asked about private.jpg, it died",
    )
    restarted = ShardRestarted(shard="000000", reason="a node left with private.jpg")
    traced(STARTED, OPENED, lost, restarted, OPENED, RunStopped())
    spans = spans_of(collecting)
    assert [span.status.message for span in named(spans, "shard")] == [
        "started again",
        "not finished",
    ]
    first, _ = named(spans, "shard")
    assert [values(event.attributes) for event in first.events] == [
        {
            "shard": "000000",
            "pool": "gpu",
            "stages": ["detector"],
            "samples": 3,
            "reason": "worker_died",
        }
    ]
    assert not any(b"private.jpg" in received.body for received in collecting.received)


def test_a_trace_of_the_environment_goes_on(collecting: Receiver) -> None:
    os.environ["TRACEPARENT"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    traced(STARTED, RunStopped())
    (run,) = spans_of(collecting)
    assert run.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert run.parent_span_id.hex() == "b7ad6b7169203331"


def test_builds_of_a_longer_command_are_in_its_trace(collecting: Receiver, tmp_path: Path) -> None:
    run = prepare(configure(WORLD, tmp_path / "out"))
    with command("refine", run.config) as parent:
        (tracing,) = observers_of(run, parent)
        with pytest.raises(KeyboardInterrupt), observed(tracing, STARTED):
            raise KeyboardInterrupt
    spans = spans_of(collecting)
    (build,), (refine,) = named(spans, "build"), named(spans, "refine")
    assert (build.trace_id, build.parent_span_id) == (refine.trace_id, refine.span_id)
    assert refine.status.code == Status.STATUS_CODE_OK


def test_the_environment_names_the_service(collecting: Receiver) -> None:
    traced(STARTED, RunStopped())
    os.environ["OTEL_SERVICE_NAME"] = "photos"
    os.environ["OTEL_RESOURCE_ATTRIBUTES"] = "team=vision"
    traced(STARTED, RunStopped())
    ours, named_by_user = (
        values(ExportTraceServiceRequest.FromString(one.body).resource_spans[0].resource.attributes)
        for one in collecting.received
    )
    assert ours["service.name"] == "florilegium"
    assert (named_by_user["service.name"], named_by_user["team"]) == ("photos", "vision")


def test_headers_of_the_environment_reach_the_collector_alone(collecting: Receiver) -> None:
    os.environ["OTEL_EXPORTER_OTLP_HEADERS"] = "x-api-key=key-of-the-collector"
    traced(STARTED, RunStopped())
    (received,) = collecting.received
    assert received.headers["x-api-key"] == "key-of-the-collector"
    assert b"key-of-the-collector" not in received.body


def test_a_collector_that_is_down_costs_a_warning_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("florilegium.pipelines.telemetry.tracing.CLOSING_S", 0.2)
    built(WORLD, tmp_path / "without")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # nothing listens there
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{held.getsockname()[1]}"
        built(WORLD, tmp_path / "out")
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(lines) == 1
    assert "OpenTelemetry's collector" in lines[0]
    there, wanted = contents(tmp_path / "out"), contents(tmp_path / "without")
    assert there.keys() == wanted.keys()
    assert all(there[name] == wanted[name] for name in there if name.startswith("shards/"))


def test_a_collector_that_refuses_is_warned_of_once(
    collecting: Receiver,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
    collecting.status = 400
    built(WORLD, tmp_path / "out")
    assert len(collecting.received) > 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(lines) == 1
    assert "it did not take 2 spans" in lines[0]


def test_a_collector_that_never_answers_is_not_waited_for(
    collecting: Receiver,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("florilegium.pipelines.telemetry.tracing.CLOSING_S", 0.2)
    collecting.hang()
    built(WORLD, tmp_path / "out")
    assert "it took nothing within 0.2 s" in capsys.readouterr().err


def test_without_its_package_a_build_does_not_start(
    collecting: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("florilegium.engine.planning.registry.find_spec", lambda _: None)
    with pytest.raises(MissingPackage, match=r"pip install 'florilegium\[tracing\]'"):
        built(WORLD, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "'grpc': spans are sent by http/protobuf only"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "OpenTelemetry cannot be set up .* positive integer"),
    ],
)
def test_settings_that_make_no_exporter_stop_a_run_before_it_starts(
    variable: str, value: str, reason: str, collecting: Receiver, tmp_path: Path
) -> None:
    os.environ[variable] = value
    with pytest.raises(ConfigError, match=reason):
        built(WORLD, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("variable", "value"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")]
)
def test_it_can_be_switched_off(
    variable: str, value: str, collecting: Receiver, tmp_path: Path
) -> None:
    os.environ[variable] = value
    assert observers_of(prepare(configure(WORLD, tmp_path / "out"))) == ()

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from engine.core.errors import ConfigError, StorageError
from engine.execution.observer import Fact, RunFailed, RunFinished, RunStopped
from engine.execution.progress import Progress
from engine.execution.run import prepare
from engine.storage.folder import Folder
from engine.storage.lease import Holder
from pipelines.build import build_dataset
from pipelines.telemetry.progress_file import (
    MAX_BYTES,
    PROGRESS,
    ProgressFile,
    ProgressPublisher,
    read_progress,
)
from pipelines.terminal.progress import summary
from tests.building import build, configure
from tests.pipelines.telemetry.facts import FACTS, STARTED
from tests.processes import wait_for


def progress_of(facts: tuple[Fact, ...] = FACTS[:4]) -> Progress:
    progress = Progress(current="", step="round 1", notes=["no GPU here"])
    progress.started_s -= 1000
    for fact in facts:
        progress.observe(fact)
    progress.open("000001", inputs=20, unread=1)
    progress.answer("000001", "tagger", 12)
    return progress


@pytest.fixture
def output(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "out"))


def published(output: Folder, *facts: Fact, writer: str = "build") -> ProgressPublisher:
    """Publish the progress of a run that has started, and so on."""
    publisher = ProgressPublisher(progress_of(), output, writer)
    publisher.observe(STARTED)
    assert wait_for(lambda: output.exists(f"{PROGRESS}/{writer}.json"), seconds=20)
    for fact in facts:
        publisher.observe(fact)
    return publisher


def test_a_run_is_displayed_from_its_file_as_it_displays_itself() -> None:
    progress = progress_of()
    data = ProgressFile.of(progress, Holder.this_process()).to_json()
    again = ProgressFile.read(data).progress
    assert summary(again) == summary(progress)
    assert summary(again).startswith("round 1, shards 1/4 (1 done before), images 33/40, ")
    assert (again.stages, again.through("tagger")) == (("tagger",), 33)
    assert again.notes == ["no GPU here"]


def test_texts_are_without_secrets_and_short() -> None:
    waiting = "held by train.py --key=sk-0123456789abcdefghijklmnop"
    progress = Progress(waiting=waiting, step="x" * 9999)
    file = ProgressFile.of(progress, Holder.this_process(), error="https://me:secret@host/bucket")
    assert b"sk-0123456789" not in file.to_json()
    assert b"me:secret" not in file.to_json()
    assert len(file.step) < 1100


def test_the_file_is_there_while_the_run_goes_on(output: Folder) -> None:
    publisher = published(output)
    assert read_progress(output)["build"].state == "running"
    assert read_progress(output)["build"].holder.is_on(Holder.this_process())
    publisher.observe(RunFinished(manifest=None))
    assert read_progress(output) == {}


def test_a_part_that_is_done_leaves_the_files_of_others_and_the_end_of_all_leaves_none(
    output: Folder, album: Path, tmp_path: Path
) -> None:
    first, second = (published(output, writer=f"slice_{n}") for n in (1, 2))
    first.observe(RunFinished(manifest=None))
    assert read_progress(output).keys() == {"slice_2"}
    second.observe(RunFailed(error=StorageError("the disk is full")))
    assert read_progress(output)["slice_2"].error == "the disk is full"
    manifest = build(album, tmp_path / "whole")
    published(output, RunFinished(manifest=manifest), writer="build")
    assert PROGRESS not in output.names()


@pytest.mark.parametrize(
    ("end", "state"), [(RunFailed(error=OSError("broken")), "failed"), (RunStopped(), "stopped")]
)
def test_the_file_says_how_a_run_ended_that_did_not_finish(
    output: Folder, end: Fact, state: str
) -> None:
    published(output, end)
    file = read_progress(output)["build"]
    assert (file.state, file.error) == (state, "broken" if state == "failed" else "")


def test_a_file_that_cannot_be_written_is_no_error_of_the_run(
    output: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any, **options: Any) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(output, "publish", full)
    publisher = ProgressPublisher(Progress(), output)
    with caplog.at_level(logging.WARNING):
        publisher.observe(STARTED)
        publisher.observe(RunFinished(manifest=None))
    (record,) = caplog.records
    assert record.message == "the progress of the run cannot be published: the disk is full"


@pytest.mark.parametrize(
    "change", [{"shards": -1}, {"elapsed_s": "soon"}, {"state": "fine"}, {"answered": [1]}]
)
def test_a_damaged_file_is_left_out(output: Folder, change: dict[str, Any]) -> None:
    document = json.loads(ProgressFile.of(progress_of(), Holder.this_process()).to_json())
    output.publish(f"{PROGRESS}/good.json", json.dumps(document).encode())
    output.publish(f"{PROGRESS}/bad.json", json.dumps(document | change).encode())
    output.publish(f"{PROGRESS}/cut.json", json.dumps(document).encode()[:-20])
    output.publish(f"{PROGRESS}/large.json", json.dumps(document).encode() + b" " * MAX_BYTES)
    assert read_progress(output).keys() == {"good"}


def test_a_finished_dataset_has_no_file_and_a_failed_build_has_one(
    album: Path, tmp_path: Path
) -> None:
    output = Folder(str(tmp_path / "out"))
    refused = {"trouble": {"use": "tests.stages:Unloadable"}}
    with pytest.raises(ConfigError, match="fetch them first"):
        build_dataset(prepare(configure(album, tmp_path / "out", specialists=refused)))
    assert "fetch them first" in read_progress(output)["build"].error
    build_dataset(prepare(configure(album, tmp_path / "out")))
    assert PROGRESS not in output.names()

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import ConfigError, RunError, StorageError
from florilegium.engine.execution.observer import Fact, RunFailed, RunFinished, RunStopped
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import Holder
from florilegium.pipelines.build import build_dataset
from florilegium.pipelines.telemetry.progress_file import (
    MAX_BYTES,
    PROGRESS,
    ProgressFile,
    ProgressPublisher,
    read_progress,
)
from florilegium.pipelines.terminal.progress import summary
from tests.building import configure
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


def file_of(output: Folder) -> ProgressFile:
    file = read_progress(output)
    assert file
    return file


def published(output: Folder, *facts: Fact) -> ProgressPublisher:
    """Publish the progress of a run that has started, and so on."""
    publisher = ProgressPublisher(progress_of(), output)
    publisher.observe(STARTED)
    assert wait_for(lambda: output.exists(PROGRESS), seconds=20)
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
    assert file_of(output).state == "running"
    assert file_of(output).holder.is_on(Holder.this_process())
    publisher.observe(RunFinished(manifest=None))
    assert read_progress(output) is None


def test_a_run_that_was_refused_leaves_no_file(output: Folder) -> None:
    published(output, RunFailed(error=ConfigError("no such stage")))
    assert output.names() == []


@pytest.mark.parametrize(
    ("end", "state"), [(RunFailed(error=OSError("broken")), "failed"), (RunStopped(), "stopped")]
)
def test_the_file_says_how_a_run_ended_that_did_not_finish(
    output: Folder, end: Fact, state: str
) -> None:
    published(output, end)
    file = file_of(output)
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
    output.publish(PROGRESS, json.dumps(document).encode())
    assert file_of(output).shards == 3
    output.publish(PROGRESS, json.dumps(document | change).encode())
    assert read_progress(output) is None


@pytest.mark.parametrize("change", [lambda data: data[:-20], lambda data: data + b" " * MAX_BYTES])
def test_a_file_that_is_cut_or_too_large_is_left_out(
    output: Folder, change: Callable[[bytes], bytes]
) -> None:
    data = ProgressFile.of(progress_of(), Holder.this_process()).to_json()
    output.publish(PROGRESS, change(data))
    assert read_progress(output) is None


def test_a_failed_build_leaves_its_file_and_a_finished_one_has_none(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = Folder(str(tmp_path / "out"))
    run = prepare(configure(album, tmp_path / "out"))
    with monkeypatch.context() as broken:
        broken.setattr("tests.stages.Brightest.load", lambda self: int("no number"))
        with pytest.raises(RunError, match="cannot be loaded"):
            build_dataset(run)
    assert file_of(output).error.startswith("stage 'bright' cannot be loaded: ValueError")
    build_dataset(run)
    assert PROGRESS not in output.names()

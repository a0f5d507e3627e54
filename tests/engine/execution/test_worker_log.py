"""What is logged in a worker comes to the log of the run, whole or counted."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import ConfigError, RunError
from florilegium.engine.execution import log as run_logging
from florilegium.engine.execution import worker_log
from florilegium.engine.execution.log import LOG, run_log
from florilegium.engine.execution.reply import Reply, reply_to
from florilegium.engine.execution.watch import Watch
from florilegium.engine.execution.worker_log import WorkerLog, about, log_entries
from florilegium.engine.storage.folder import Folder
from tests.building import build, contents

LIBRARY = logging.getLogger("library.models")


@pytest.fixture
def kept() -> Iterator[WorkerLog]:
    """The log of a worker, in this process."""
    root, handler = logging.getLogger(), WorkerLog()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)


def lines_of(folder: Path) -> list[str]:
    """Return the lines of a log; entries without their time."""
    text = (folder / LOG).read_text("utf-8")
    return [re.sub(r"^20\S+Z ", "", line) for line in text.splitlines()]


def warnings_of(folder: Path, album: Path) -> list[str]:
    return [
        line
        for path in sorted(album.iterdir())
        for line in (
            f"WARNING 000000: dark: library.models: {path.stem} is dark",
            "  2026-01-01 ERROR forged token=[key]",
        )
    ]


def test_what_a_specialist_logs_has_its_shard_and_stage(
    album: Path, tmp_path: Path, runner: dict[str, object]
) -> None:
    stages = {"dark": {"use": "tests.stages:Warns"}}
    build(album, tmp_path / "out", specialists=stages, runner=runner)
    assert lines_of(tmp_path / "out") == warnings_of(tmp_path, album)
    build(album, tmp_path / "here", specialists=stages)
    assert lines_of(tmp_path / "here") == lines_of(tmp_path / "out")
    assert contents(tmp_path / "here") == contents(tmp_path / "out")


def test_what_was_logged_before_a_model_could_not_be_loaded_is_kept(
    album: Path, tmp_path: Path, runner: dict[str, object]
) -> None:
    stages = {"broken": {"use": "tests.stages:WarnsAndCannotLoad"}}
    with pytest.raises(ConfigError, match="not there"):
        build(album, tmp_path / "out", specialists=stages, runner=runner)
    first, second = lines_of(tmp_path / "out")[:2]
    assert first.endswith("broken: library.models: an old format")
    assert second.endswith("the run stopped: ConfigError: the weights are not there")


def test_an_answer_takes_a_bounded_number_of_entries_and_counts_the_others(
    kept: WorkerLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_log, "MAX_ENTRIES", 3)
    for number in range(8):
        LIBRARY.warning("number %d", number)
    messages = [entry.message for entry in kept.take()]
    assert messages == [
        "number 0", "number 1", "number 2", "5 more messages, which are left out"
    ]  # fmt: skip
    assert kept.take() == ()


def test_a_long_message_is_cut_and_one_that_cannot_be_written_is_named(kept: WorkerLog) -> None:
    LIBRARY.warning("x" * 10_000)
    kept.handle(logging.makeLogRecord({"msg": "%d", "args": ("no number",)}))
    long, wrong = kept.take()
    assert len(long.message) < 2100
    assert long.message.endswith("... (10000 characters)")
    assert wrong.message == "(its message cannot be written)"


def test_entries_pass_between_processes_and_keep_their_traceback(
    kept: WorkerLog, tmp_path: Path
) -> None:
    with about(shard="000007", stage="detector"):
        try:
            int("seven")
        except ValueError:
            LIBRARY.exception("it failed")
    entries = pickle.loads(pickle.dumps(kept.take()))
    with run_log(Folder(str(tmp_path))):
        log_entries(entries)
    lines = lines_of(tmp_path)
    assert lines[0] == "ERROR   000007: detector: library.models: it failed"
    assert lines[-1] == "  ValueError: invalid literal for int() with base 10: 'seven'"


def test_subjects_end_with_their_block(kept: WorkerLog) -> None:
    with about(shard="a"), about(stage="inner"):
        LIBRARY.warning("in")
    LIBRARY.warning("out")
    assert [(one.shard, one.stage) for one in kept.take()] == [("a", "inner"), ("", "")]


def test_an_error_brings_what_was_logged_before_it(kept: WorkerLog) -> None:
    def fail() -> None:
        LIBRARY.warning("soon")
        raise KeyError("x")

    reply = reply_to(Watch(), kept, "stages", fail)
    assert [entry.message for entry in reply.log] == ["soon"]
    with pytest.raises(RunError, match="a worker failed: KeyError: 'x'") as raised:
        Reply(error=reply.error, trace=reply.trace).checked()
    assert "in fail" in str(raised.value.__cause__)


def test_libraries_cannot_fill_the_disk_and_the_engine_is_still_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_logging, "MAX_OF_LIBRARIES", 2)
    ours: Any = logging.getLogger("florilegium.engine.somewhere")
    with run_log(Folder(str(tmp_path))):
        for number in range(5):
            LIBRARY.warning("number %d", number)
        ours.warning("a worker died")
    assert lines_of(tmp_path) == [
        "WARNING library.models: number 0",
        "WARNING library.models: number 1",
        "WARNING more than 2 entries of libraries: others are left out",
        "WARNING a worker died",
    ]


def test_a_level_that_the_program_sets_hides_no_loss(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.CRITICAL)
    try:
        with run_log(Folder(str(tmp_path))):
            logging.getLogger("florilegium.engine.somewhere").warning("lost")
    finally:
        root.setLevel(before)
    assert lines_of(tmp_path) == ["WARNING lost"]
    assert logging.getLogger("florilegium.engine").level == logging.NOTSET

"""`status --watch` beside a build in another process."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset import watching
from florilegium.pipelines.verify.verify import verify_dataset
from tests.end_to_end.conftest import Command

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def building(
    album: Path, tmp_path: Path, written: Callable[..., Path], started: Start
) -> subprocess.Popen[str]:
    """A build that waits at its second shard until `go_on` is written."""
    for name in ("reached", "go_on"):
        os.mkfifo(tmp_path / f"pipe.{name}")
    waiting = {
        "use": "tests.end_to_end.waiting:Waiting",
        "key": "flower",
        "pipe": str(tmp_path / "pipe"),
        "log": str(tmp_path / "log"),
    }
    config = written(album, tmp_path / "out", specialists={"waiting": waiting})
    process = started("build", config)
    (tmp_path / "pipe.reached").read_text("utf-8")
    return process


def test_a_build_elsewhere_is_watched_to_its_end(
    building: subprocess.Popen[str],
    tmp_path: Path,
    florilegium: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sleep = time.sleep

    def go_on(seconds: float) -> None:
        if (tmp_path / "pipe.go_on").exists():
            (tmp_path / "pipe.go_on").write_text("", "utf-8")
            (tmp_path / "pipe.go_on").unlink()
        sleep(0.05)

    monkeypatch.setattr(watching.time, "sleep", go_on)
    ended = florilegium("status", tmp_path / "out", "--watch", "--json")
    assert ended.code == 0, ended.err
    assert ended.err.startswith("shards ") or ended.err.startswith("listing the source")
    assert '"is_finished": true' in ended.out
    assert building.wait(60) == 0
    assert not (tmp_path / "out" / "progress.json").exists()
    assert list(verify_dataset(Folder(str(tmp_path / "out")))) == []


def test_watching_a_build_that_is_killed_ends_with_an_error(
    building: subprocess.Popen[str], tmp_path: Path, florilegium: Command
) -> None:
    building.kill()
    building.wait()
    ended = florilegium("status", tmp_path / "out", "--watch")
    assert ended.code == 1
    assert "it was killed, its last news is 0:" in ended.err
    assert f"process {building.pid}, since " in ended.err

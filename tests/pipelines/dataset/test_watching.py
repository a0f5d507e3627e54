"""Watching a build: what is shown of its writers, and when it is over. No time passes here."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from engine.core.errors import ConfigError, RunError
from engine.execution.progress import Progress
from engine.results.manifest import RECIPE
from engine.storage.folder import Folder
from engine.storage.lease import Holder, writing
from pipelines.dataset import watching
from pipelines.dataset.watching import Watcher, watch
from pipelines.telemetry.progress_file import PROGRESS, ProgressFile
from pipelines.terminal.console import ERR
from tests.building import build


@dataclass
class Clock:
    """The time of the watcher; while it sleeps, other things happen."""

    now_s: float = field(default_factory=time.time)
    meanwhile: Callable[[], object] = lambda: None

    def time(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.meanwhile()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    one = Clock()
    monkeypatch.setattr(watching, "time", one)
    return one


@pytest.fixture
def output(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "out"))


ELSEWHERE = replace(Holder.this_process(), user="ann", host="node7", pid=42, command="florilegium")


def publish(
    output: Folder,
    *,
    done: int = 1,
    writer: str = "build",
    holder: Holder = ELSEWHERE,
    written_s: float | None = None,
    state: str = "running",
    error: str = "",
) -> None:
    progress = Progress(shards=4, shards_done=done, current="", stages=("tagger",))
    file = ProgressFile.of(progress, holder, state=state, error=error)
    file = file if written_s is None else replace(file, written_s=written_s)
    output.publish(f"{PROGRESS}/{writer}.json", file.to_json())


def ended(output: Folder) -> str:
    with pytest.raises(RunError) as error:
        watch(output, ERR)
    return str(error.value)


def test_a_build_is_watched_until_its_dataset_is_finished(
    album: Path, output: Folder, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    done = 0

    def meanwhile() -> None:
        nonlocal done
        done += 1
        if done < 3:
            publish(output, done=done, written_s=clock.now_s)
            return
        output.remove(f"{PROGRESS}/build.json")
        build(album, Path(output.url), shard_size=6)

    clock.meanwhile = meanwhile
    publish(output, done=0)
    status = watch(output, ERR)
    assert (status.is_finished, status.shards_done, done) == (True, 2, 3)
    assert capsys.readouterr().err.startswith("shards 0/4, images 0/0")


def test_a_finished_dataset_is_over_at_once(album: Path, output: Folder, clock: Clock) -> None:
    build(album, Path(output.url))
    assert watch(output, ERR).is_finished


def test_where_nothing_was_started_there_is_nothing_to_watch(output: Folder, clock: Clock) -> None:
    with pytest.raises(ConfigError, match="holds no dataset"):
        watch(output, ERR)


def test_a_build_that_is_not_finished_and_not_running_is_an_error(
    album: Path, output: Folder, clock: Clock
) -> None:
    manifest = build(album, Path(output.url), shard_size=6)
    output.publish(RECIPE, manifest.recipe.encode())
    assert "nothing writes" in ended(output)
    assert "2 of 2 shards are done" in ended(output)


def test_the_error_of_a_build_is_that_of_watching_it(output: Folder, clock: Clock) -> None:
    publish(output, state="failed", error="all of the first 100 images failed")
    assert "build: it failed: all of the first 100 images failed" in ended(output)
    publish(output, state="stopped")
    assert "build: it was stopped; finished work is kept" in ended(output)


def test_a_silent_writer_elsewhere_is_late_first_and_then_dead(
    output: Folder, clock: Clock
) -> None:
    publish(output, written_s=clock.now_s - 100)
    watcher = Watcher(output)
    assert not watcher.last.is_over, "its clock may be wrong: it is watched for a while"
    assert watcher.last.lines[-1].startswith("no news for 1:40 of ann on node7, process 42, since")
    clock.sleep(29)
    assert not watcher.look().is_over
    clock.sleep(2)
    assert watcher.look().is_over
    assert "build: it was killed, its last news is 2:4" in ended(output)
    assert "it was run by ann on node7, process 42" in ended(output)


def test_a_writer_whose_clock_is_wrong_is_alive_while_it_writes(
    output: Folder, clock: Clock
) -> None:
    publish(output, written_s=clock.now_s - 3600)
    watcher = Watcher(output)
    for _ in range(40):
        clock.sleep(5)
        publish(output, written_s=clock.now_s - 3600)
        assert not watcher.look().is_over
    assert len(watcher.last.lines) == 1, "its news is new"


def test_a_writer_that_ended_on_this_machine_is_dead_at_once(output: Folder, clock: Clock) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    publish(output, holder=replace(Holder.this_process(), pid=process.pid))
    assert "it was killed" in ended(output)


def test_several_writers_are_shown_side_by_side(output: Folder, clock: Clock) -> None:
    publish(output, writer="slice_1", done=1)
    publish(output, writer="slice_2", done=2, state="failed", error="no memory")
    watcher = Watcher(output)
    assert [line.partition(",")[0] for line in watcher.last.lines] == [
        "slice_1: shards 1/4",
        "slice_2: shards 2/4",
    ]
    assert not watcher.last.is_over, "one of them goes on"


def test_a_writer_that_shows_no_progress_yet_is_named(output: Folder, clock: Clock) -> None:
    with writing(output):
        last = Watcher(output).last
    assert not last.is_over
    assert last.lines == [f"{output.url} is being written by {last.holder}"]
    assert Watcher(output).last.is_over


def test_of_a_refinement_the_last_round_is_watched(output: Folder, clock: Clock) -> None:
    for number in (2, 10):
        publish(Folder(f"{output.url}/rounds/{number}"), done=number)
    publish(Folder(f"{output.url}/rounds/10/candidates/0"), done=3)
    shown = [line.partition(",")[0] for line in Watcher(output).last.lines]
    assert shown == ["shards 10/4", "shards 3/4"]

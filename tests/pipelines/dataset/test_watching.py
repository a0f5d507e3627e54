"""Watching a build: what is shown of its writers, and when it is over. No time passes here."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from florilegium.engine.core.errors import ConfigError, RunError
from florilegium.engine.execution.observer import (
    Fact,
    Observer,
    Observers,
    RunFinished,
    ShardFinished,
)
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.results.manifest import RECIPE
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import PARTS, Holder, writing
from florilegium.pipelines.build import put_in_place
from florilegium.pipelines.dataset import watching
from florilegium.pipelines.dataset.watching import Watcher, watch
from florilegium.pipelines.telemetry.observers import watched
from florilegium.pipelines.telemetry.progress_file import PROGRESS, ProgressFile
from florilegium.pipelines.terminal.console import ERR
from tests.building import build, configure
from tests.processes import wait_for


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
    step: str = "",
    holder: Holder = ELSEWHERE,
    written_s: float | None = None,
    state: str = "running",
    error: str = "",
) -> None:
    progress = Progress(shards=4, shards_done=done, current="", stages=("tagger",), step=step)
    file = ProgressFile.of(progress, holder, state=state, error=error)
    file = file if written_s is None else replace(file, written_s=written_s)
    output.publish(PROGRESS, file.to_json())


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
        output.remove(PROGRESS)
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
    assert "it failed: all of the first 100 images failed" in ended(output)
    publish(output, state="stopped")
    assert "it was stopped; finished work is kept" in ended(output)


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
    assert "it was killed, its last news is 2:4" in ended(output)
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


def test_slices_are_shown_side_by_side(output: Folder, clock: Clock) -> None:
    one, two = (Folder(f"{output.url}/{PARTS}/{number}") for number in (1, 2))
    publish(one, step="slice 1/2", done=1)
    publish(two, step="slice 2/2", done=2, state="failed", error="no memory")
    watcher = Watcher(output)
    assert [line.partition(", images")[0] for line in watcher.last.lines] == [
        "slice 1/2, shards 1/4",
        "slice 2/2, shards 2/4",
    ]
    assert not watcher.last.is_over, "one of them goes on"
    publish(one, step="slice 1/2", state="stopped")
    assert ended(output).splitlines()[1:] == [
        "slice 1/2: it was stopped; finished work is kept: run the same command again, it resumes",
        "slice 2/2: it failed: no memory",
    ]


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
    output.publish("rounds/10/candidates/audit.jsonl", b"{}\n")  # a file beside the datasets
    shown = [line.partition(",")[0] for line in Watcher(output).last.lines]
    assert shown == ["shards 10/4", "shards 3/4"]


def test_a_stranger_who_writes_the_file_does_not_steer_the_terminal(
    output: Folder, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    steering = "\x1b]0;pwn\x07\u202e"
    holder = replace(ELSEWHERE, user=steering, command=steering)
    publish(output, step=steering, holder=holder, written_s=clock.now_s - 100, state="running")
    with pytest.raises(RunError):
        watch(output, ERR)
    ERR.print(Watcher(output).last.drawn())
    printed = capsys.readouterr().err
    assert "\x1b" not in printed
    assert "\u202e" not in printed
    assert printed.count(r"\x1b]0;pwn\x07") >= 4


def test_a_build_into_a_bucket_is_watched_from_there(album: Path, bucket: str) -> None:
    """No time is made up here: the clock that decides is that of this machine."""
    output = Folder(f"{bucket}/out")
    run = prepare(configure(album, output.url, shard_size=6))
    progress, looks = Progress(), list[list[str]]()

    class Looking(Observer):
        def observe(self, fact: Fact) -> None:
            if isinstance(fact, ShardFinished):
                looks.append(Watcher(Folder(output.url)).last.lines)

    with watched(run, progress) as observer:
        assert wait_for(lambda: output.exists(PROGRESS), seconds=20)
        manifest = execute(run, progress, observer=Observers(observer, Looking()))
        put_in_place(run, manifest)
        observer.observe(RunFinished(manifest=manifest))
    assert [len(lines) for lines in looks] == [1, 1]
    assert watch(output, ERR).shards_done == 2
    assert PROGRESS not in output.names()

"""The progress of a run while it runs, and its summary at the end."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.pipelines.terminal.progress import end_of, shown, summary
from tests.building import BRIGHTEST, configure

STAGES = {**BRIGHTEST, "trouble": {"use": "tests.stages:Trouble", "key": "cup", "how": "refuse"}}


def run(source: Path, output: Path) -> Progress:
    progress = Progress()
    with shown(progress):
        execute(prepare(configure(source, output, specialists=STAGES, shard_size=5)), progress)
    return progress


@pytest.fixture
def photos(album: Path, tmp_path: Path) -> Path:
    """Twelve photographs, of which a stage refuses one, and two files that are no images."""
    folder = Path(shutil.copytree(album, tmp_path / "photos"))
    for name in ("empty.jpg", "text.png"):
        (folder / name).write_bytes(b"" if name == "empty.jpg" else b"no image")
    return folder


def test_the_summary_counts_all_images_failed_ones_too(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = run(photos, tmp_path / "out")
    printed = capsys.readouterr().err
    assert printed.startswith("shards 3/3, images 14/14, ")
    assert "dead letters 3, took 0:0" in printed
    assert [progress.through(name) for name in ("bright", "trouble")] == [14, 14]


def test_earlier_shards_are_counted(
    photos: Path, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(photos, tmp_path / "out")
    capsys.readouterr()
    run(photos, tmp_path / "out")
    again = capsys.readouterr().err
    assert again.startswith("shards 3/3 (3 done before), images 14/14, dead letters 3, took 0:0")
    shutil.copy(album / "cat.jpg", photos / "new.jpg")
    run(photos, tmp_path / "out")
    assert capsys.readouterr().err.startswith("shards 4/4 (3 done before), images 15/15, ")


def test_a_failed_run_prints_no_summary(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(shards=2, stages=("a",), current="")
    with pytest.raises(ValueError, match="broken"), shown(progress):
        raise ValueError("broken")
    assert "took" not in capsys.readouterr().err


def test_a_waiting_run_shows_what_it_waits_for() -> None:
    progress = Progress(shards=2, stages=("a",), waiting="waiting for 2 GPUs: held by train.py")
    assert summary(progress).endswith("waiting for 2 GPUs: held by train.py")
    progress.current = ""
    assert summary(progress).endswith("dead letters 0, waiting for 2 GPUs: held by train.py")


def test_a_training_ends_with_its_last_step() -> None:
    progress = Progress(step="round 1, 2 students")
    progress.train("student 1", 10, 20, 0.5)
    progress.train("student 1", 20, 20, 0.25)
    progress.train("student 0", 20, 20, 0.125)
    ended = "round 1, 2 students, student 0: step 20 of 20, loss 0.125; student 1: step 20 of 20, "
    assert end_of(progress) == ended + "loss 0.250"


def test_progress_without_counts_has_no_summary() -> None:
    assert end_of(Progress(current="measuring")) == ""

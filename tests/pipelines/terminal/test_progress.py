"""The progress of a run while it runs, and its summary at the end."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.execution.observer import ShardOpened, ShardRestarted
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.pipelines.terminal.progress import asked_of, end_of, folded, shown, summary
from tests.building import BRIGHT_ENOUGH, BRIGHTEST, configure

STAGES = {**BRIGHTEST, "trouble": {"use": "tests.stages:Trouble", "key": "cup", "how": "refuse"}}


def run(source: Path, output: Path, *, retry: bool = False, **keys: Any) -> Progress:
    progress = Progress()
    config = configure(source, output, **{"specialists": STAGES, "shard_size": 5, **keys})
    with shown(progress):
        execute(prepare(config), progress, retry=retry)
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


def test_the_last_line_tells_what_was_asked_and_what_was_reused(
    photos: Path, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def last_line(**keys: Any) -> str:
        run(photos, tmp_path / "out", **keys)
        return capsys.readouterr().err.splitlines()[-1]

    assert last_line() == "asked: bright 12, trouble 12"
    assert last_line() == "asked: nothing; 3 shards unchanged"
    assert last_line(retry=True) == "asked: trouble 1; reused: bright 12, trouble 11"
    measured = "asked: enough 11; reused: bright 12, trouble 12"
    assert last_line(filters=BRIGHT_ENOUGH) == measured
    loose = {"enough": {**BRIGHT_ENOUGH["enough"], "minimum": 0.1}}
    assert last_line(filters=loose) == "asked: nothing; 3 stages reused"
    shutil.copy(album / "cat.jpg", photos / "new.jpg")
    added = "asked: bright 1, trouble 1, enough 1; 3 shards unchanged"
    assert last_line(filters=loose) == added


def test_answers_under_another_gate_are_reused_and_only_what_is_new_is_asked(
    album: Path, tmp_path: Path
) -> None:
    texts = {"use": "tests.enriching:Texts", "log": str(tmp_path / "log")}
    stages = {**BRIGHTEST, "texts": texts}
    first = run(album, tmp_path / "out", specialists=stages, filters=BRIGHT_ENOUGH)
    kept = first.asked["texts"]
    assert (0 < kept < 12, first.reused["texts"]) == (True, 0)
    loose = {"enough": {**BRIGHT_ENOUGH["enough"], "minimum": 0.0}}
    second = run(album, tmp_path / "out", specialists=stages, filters=loose)
    assert (second.asked["texts"], second.reused["texts"]) == (12 - kept, kept)


def test_what_was_asked_stays_readable_with_many_stages() -> None:
    names = tuple(f"specialist_{number}" for number in range(20))
    counts = Counter(dict.fromkeys(names, 1000))
    text = asked_of(Progress(stages=names, asked=counts, reused=counts))
    lines = folded(text, width=80).split("\n")
    assert lines[0].startswith("asked: specialist_0 1000, specialist_1 1000, ")
    assert max(map(len, lines)) <= 80
    assert all(line.startswith("  ") and line[2] != " " for line in lines[1:])
    assert all(line.endswith((" 1000,", " 1000;", "reused:", " 1000")) for line in lines)
    assert " ".join(line.strip() for line in lines).count(" 1000") == 40


def test_a_shard_that_starts_again_does_not_reuse_what_this_run_asked() -> None:
    progress = Progress(stages=("a",))
    for stored in (2, 7):
        progress.observe(opened(stored))
        progress.observe(ShardRestarted(shard="0", reason="its bytes were lost"))
    assert (progress.reused, progress.answered) == ({"a": 2}, {"a": 0})


def opened(stored: int) -> ShardOpened:
    return ShardOpened(
        shard="0", inputs=9, unread=0, answered={"a": stored}, started_s=0.0, seconds=0.0
    )


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

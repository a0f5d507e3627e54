from __future__ import annotations

import re
from pathlib import Path

import pytest

from florilegium.engine.core.errors import RunError
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.execution.log import LOG, log_dead_letters, run_log
from florilegium.engine.storage.folder import Folder
from tests.building import build


def fail(folder: Folder) -> None:
    with run_log(folder):
        try:
            int("seven")
        except ValueError as error:
            raise RunError("stage 'x' cannot be loaded") from error


def text(folder: Path) -> str:
    return (folder / LOG).read_text("utf-8")


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_what_every_run_lost_is_added_to_the_log(tmp_path: Path, kind: str) -> None:
    folder = Folder(str(tmp_path) if kind == "local" else f"memory://{tmp_path}")
    for key in ("first", "second"):
        letter = DeadLetter(key=key, source="x.jpg", stage="source", reason="empty", message="!")
        with run_log(folder):
            log_dead_letters("000000", [letter])
    written = (folder.read(LOG) or b"").decode()
    lines = [re.sub("-[0-9a-f]{16}", "", line.partition("Z ")[2]) for line in written.splitlines()]
    assert lines == [
        "WARNING 000000: first (x.jpg): source: empty: !",
        "WARNING 000000: second (x.jpg): source: empty: !",
    ]


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_why_a_run_stopped_is_written_down(tmp_path: Path, kind: str) -> None:
    folder = Folder(str(tmp_path) if kind == "local" else f"memory://{tmp_path}")
    with pytest.raises(RunError):
        fail(folder)
    written = (folder.read(LOG) or b"").decode()
    assert "ERROR   the run stopped: " in written
    assert "ValueError: invalid literal for int()" in written
    assert written.endswith("RunError: stage 'x' cannot be loaded\n")


def test_an_error_that_explains_itself_has_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(RunError), run_log(Folder(str(tmp_path))):
        raise RunError("too many images failed")
    assert text(tmp_path).endswith("the run stopped: RunError: too many images failed\n")


def test_a_run_that_loses_nothing_writes_no_log(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path / "out")
    assert not (tmp_path / "out" / LOG).exists()


def test_a_failure_inside_a_stage_is_logged_with_its_traceback(album: Path, tmp_path: Path) -> None:
    trouble = {"use": "tests.stages:Trouble", "key": "cup", "how": "raise"}
    build(album, tmp_path / "out", specialists={"trouble": trouble})
    written = text(tmp_path / "out")
    assert (
        "cup (cup.jpg): trouble: stage_failed: ValueError: this image is not to my tas" in written
    )
    assert "  tests/stages.py, line " in written
    assert '    raise ValueError("this image is not to my taste")' in written


def test_what_strangers_wrote_is_escaped(tmp_path: Path) -> None:
    letter = DeadLetter(
        key="k",
        source="\x1b[2J.jpg",
        stage="s",
        reason="r",
        message="a\nb",
        traceback="  c\x1b\n  d",
    )
    with run_log(Folder(str(tmp_path))):
        log_dead_letters("000000-", [letter])
    written = text(tmp_path).partition("WARNING 000000-")[2].partition(": ")[2].splitlines()
    assert written[:3] == [r"k (\x1b[2J.jpg): s: r: a\nb", r"  c\x1b", "  d"]

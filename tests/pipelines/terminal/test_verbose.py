"""`--verbose` shows what the log of a run gets, escaped and masked."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from florilegium.pipelines.terminal.verbose import log_shown
from tests.building import build

STAGES = {"dark": {"use": "tests.stages:Warns"}}


def test_the_log_is_shown_where_it_is_wanted(
    album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with log_shown(True):
        build(album, tmp_path / "out", specialists=STAGES)
    shown = capsys.readouterr().err
    assert "WARNING 000000: dark: library.models: cat is dark\n  2026-01-01 ERROR forged" in shown
    assert "hf_x" not in shown
    assert "INFO    000000-" in shown, "a shard that is finished"
    assert (tmp_path / "out" / "run.log").read_text("utf-8").count("INFO") == 0
    with log_shown(False):
        build(album, tmp_path / "again", specialists=STAGES)
    assert capsys.readouterr().err == ""


def test_what_it_prints_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    with log_shown(True):
        logging.getLogger("library").warning("[bold]\x1b[2J\u202e")
    assert "[bold]\\x1b[2J\\u202e" in capsys.readouterr().err

"""Trials of small stages on a few small images, by the command and by its function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from florilegium.engine.planning.config import RunConfig
from florilegium.pipelines.commands.main import app
from florilegium.pipelines.trial.trial import Trial, prepare_trial, run_trial
from tests.building import configure

BRIGHTEST = "tests.stages:Brightest"
DESCRIBE = "tests.stages:Describe"
TROUBLE = "tests.stages:Trouble"
BRIGHT_ENOUGH = "tests.stages:BrightEnough"

Try = Callable[..., Trial]
Command = Callable[..., Result]


@pytest.fixture
def images(album: Path) -> list[str]:
    """Two images of the album, of 96 x 64 and of 50 x 40 pixels."""
    return [str(album / "cat.jpg"), str(album / "cup_corner.png")]


@pytest.fixture
def tried(tmp_path: Path) -> Try:
    """Try a stage on images, with the options of `prepare_trial`."""

    def run(use: str, images: list[str], **options: Any) -> Trial:
        prepared = prepare_trial(use, images, scratch=tmp_path / "scratch", **options)
        return run_trial(prepared, on_step=lambda step: None)

    return run


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `florilegium try` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *arguments: CliRunner().invoke(app, ["try", *map(str, arguments)])


def config_of(**stages: Any) -> RunConfig:
    """Return a config with these sections; its source and output are nowhere."""
    return configure("/nowhere", "/nowhere/out", **stages)


def config_file(path: Path, **stages: Any) -> Path:
    """Write such a config."""
    path.write_text(yaml.safe_dump({"source": "/nowhere", "output": "/nowhere/out", **stages}))
    return path

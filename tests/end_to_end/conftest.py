"""A finished quickstart over a few photographs, and the command line as a user has it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from PIL import Image

from florilegium.engine.execution.preparation import prepare
from florilegium.pipelines.build import build_dataset
from florilegium.pipelines.commands.main import main
from tests.configs import load_config
from tests.conftest import ROOT

QUICKSTART = ROOT / "configs" / "quickstart.yaml"
EXIF_ORIENTATION = 0x0112


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def florilegium(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Call the command line in this process, as its entry point does."""

    def call(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["florilegium", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else int(code is not None), *capsys.readouterr())

    return call


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write a config of small stages and return its path."""

    def write(source: Path, output: Path, **keys: Any) -> Path:
        document = {
            "source": str(source),
            "output": str(output),
            "runner": "in_process",
            "shard_size": 5,
            "specialists": {"bright": {"use": "tests.stages:Brightest"}},
            **keys,
        }
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def holiday(photographs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures: JPEG and PNG, one turned by EXIF, one with a caption, one with little in it."""
    folder = tmp_path_factory.mktemp("holiday")
    Image.new("RGB", (120, 90), (127, 127, 127)).save(folder / "a_grey.png")
    for name, suffix in (("cat", "jpg"), ("motorcycle", "png"), ("pagoda", "jpg"), ("page", "png")):
        with Image.open(photographs[name]) as photograph:
            small = photograph.convert("RGB")
        small.thumbnail((420, 420))
        small.save(folder / f"{name}.{suffix}")
    (folder / "pagoda.txt").write_text("Eine Pagode in Peking.", encoding="utf-8")
    with Image.open(photographs["cup"]) as photograph:
        turned = photograph.convert("RGB").resize((400, 280)).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6  # to be turned by 90 degrees clockwise
    turned.save(folder / "turned_cup.jpg", exif=exif)
    return folder


@pytest.fixture(scope="session")
def quickstart(holiday: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished dataset of the quickstart's stages over these pictures. Read only."""
    output = tmp_path_factory.mktemp("quickstart") / "out"
    changes = {"source": str(holiday), "output": str(output), "shard_size": 4}
    config = load_config(QUICKSTART, changes=changes, overrides=["runner.kind=in_process"])
    build_dataset(prepare(config))
    return output

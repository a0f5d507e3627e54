"""Shipped configs by name: used, listed and printed, from any folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from florilegium.engine.core.errors import ConfigError
from florilegium.pipelines.commands.loading import load
from florilegium.pipelines.commands.main import main
from florilegium.pipelines.commands.shipped import config_file, config_path, first_sentence
from tests.conftest import ROOT

NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))
RUNS = [name for name in NAMES if not name.endswith("train")]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder that has nothing of ours."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["florilegium", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize("name", RUNS)
def test_a_shipped_config_is_loaded_by_its_name(name: str) -> None:
    loaded = load(Path(name), overrides=None, no_plugins=False, source="shape_world://4")
    assert loaded.document == {
        **yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text("utf-8")),
        "source": "shape_world://4",
    }


def test_a_file_comes_before_a_shipped_config_and_a_folder_does_not(elsewhere: Path) -> None:
    (elsewhere / "quickstart").mkdir()
    assert config_path(Path("quickstart")).samefile(ROOT / "configs" / "quickstart.yaml")
    (elsewhere / "quickstart").rmdir()
    (elsewhere / "quickstart").write_text("source: mine\n", "utf-8")
    assert config_path(Path("quickstart")) == Path("quickstart")
    (elsewhere / "configs").mkdir()
    (elsewhere / "configs" / "train.yaml").write_text("source: mine\n", "utf-8")
    assert config_path(Path("train")).samefile(ROOT / "configs" / "train.yaml")
    assert config_path(Path("configs/train.yaml")) == Path("configs/train.yaml")


def test_a_name_with_a_separator_is_a_path(elsewhere: Path) -> None:
    with pytest.raises(ConfigError, match="quickstart' is no file and no shipped config"):
        config_file("./quickstart")
    (elsewhere / "quickstart").write_text("source: mine\n", "utf-8")
    assert config_file("./quickstart") == Path("quickstart")
    assert config_file("train") == Path("train")


@pytest.mark.parametrize("given", ["quickstrat", "quickstart.yaml", "configs/quickstart.yaml"])
def test_what_is_neither_a_file_nor_a_name_is_an_error_with_the_nearest_name(given: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config_path(Path(given))
    message = f"'{given}' is no file and no shipped config; did you mean 'quickstart'?"
    assert str(refused.value) == f"{message} (shipped: {', '.join(NAMES)})"


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("mein.yaml", "; did you mean the file 'mine.yaml'?"),
        ("min", "; did you mean the file 'mine.yaml'?"),
        ("runs/nigth.yaml", "; did you mean the file 'runs/night.yml'?"),
        ("quickstrat", "; did you mean 'quickstart'?"),
        ("0123", ""),
    ],
)
def test_a_file_beside_is_named_and_the_shipped_configs_once(
    elsewhere: Path, given: str, hint: str
) -> None:
    (elsewhere / "runs").mkdir()
    for name in ("mine.yaml", "quick.yaml", "mein.txt", "runs/night.yml"):
        (elsewhere / name).write_text("source: mine\n", "utf-8")
    with pytest.raises(ConfigError) as refused:
        config_path(Path(given))
    shipped = f" (shipped: {', '.join(NAMES)})"
    assert str(refused.value) == f"'{given}' is no file and no shipped config{hint}{shipped}"


@pytest.mark.parametrize("command", ["build", "plan", "refresh", "refine", "submit", "train"])
def test_every_command_that_takes_a_config_knows_the_names(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {
        "submit": ["submit", "quickstrat", "--address", "http://127.0.0.1:9"],
        "train": ["train", "dataset", "quickstrat", "--output", "out"],
    }.get(command, [command, "quickstrat"])
    assert call(monkeypatch, *words) == 2
    assert "did you mean 'quickstart'?" in capsys.readouterr().err


def test_an_export_takes_its_options_from_a_shipped_config(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--format", "florence2", "--config", "trian", "--output", "out")
    assert call(monkeypatch, "export", "dataset", *options) == 2
    assert "did you mean 'train'?" in capsys.readouterr().err


def test_configs_lists_every_one_with_its_first_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "configs") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    found = [" ".join(line.split()) for line in lines]
    assert "train Fine-tune Florence-2 on a finished dataset" in found
    assert all(len(line.split()) > 3 for line in lines)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("# One a.b thing. Another.\nsource: x\n", "One a.b thing"),
        ("# yaml-language-server: $schema=x.json\n# Over\n# two lines:\n", "Over two lines"),
        ("source: x\n", ""),
    ],
)
def test_the_first_sentence_is_that_of_the_comment_on_top(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


@pytest.mark.parametrize("name", NAMES)
def test_a_config_is_printed_byte_for_byte(
    name: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert call(monkeypatch, "configs", name) == 0
    assert capfdbinary.readouterr().out == (ROOT / "configs" / f"{name}.yaml").read_bytes()


def test_an_unknown_name_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "configs", "../pyproject") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no shipped config is called '../pyproject'" in captured.err

"""The commands that show what is installed."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path

import pytest

from florilegium.pipelines.commands.main import main
from florilegium.pipelines.reference.plugins import (
    EXPORT_FORMATS,
    IMPORT_FORMATS,
    RULES,
    SOURCES,
    STAGES,
)
from florilegium.pipelines.reference.stage_list import stage_lines

PLUGIN = '''
from florilegium import Specialist, StageConfig


class OwlConfig(StageConfig):
    least: float
    """Lowest score, 0..1."""


class Owl(Specialist[OwlConfig]):
    """Finds owls."""

    Config = OwlConfig
    produces = ("tag",)

    def predict(self, samples):
        return [[] for _ in samples]
'''


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run a command in this process; return its exit code and what it printed."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["florilegium", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        done = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, done.out, done.err

    return run


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("stages", STAGES),
        ("sources", SOURCES),
        ("rules", RULES),
        ("exporters", EXPORT_FORMATS),
        ("importers", IMPORT_FORMATS),
    ],
)
def test_a_command_lists_what_is_installed_and_describes_one(call, command, kind) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = call(command)
    assert code == 0
    assert all(name in out for name in kind.names())
    assert all(len(line) <= 80 for line in out.splitlines())
    code, out, _ = call(command, "--json")
    assert [one["name"] for one in json.loads(out)] == kind.names()
    name = kind.names()[0]
    code, out, _ = call(command, name)
    assert (code, out.splitlines()[0]) == (0, name)
    assert "in a config" in out or not kind.describe(name).stanza
    code, out, _ = call(command, name, "--json")
    assert json.loads(out) == json.loads(json.dumps(kind.describe(name).to_json()))


def test_a_stage_in_a_folder_is_described(call, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "owl_of_mine.py").write_text(PLUGIN, encoding="utf-8")
    code, out, err = call("stages", "owl_of_mine:Owl")
    assert code == 2
    assert "cannot be imported" in err
    code, out, _ = call("stages", "owl_of_mine:Owl", "--plugin-path", str(tmp_path))
    assert code == 0
    assert "  least: number; required\n      Lowest score, 0..1. [asked again]\n" in out
    assert "    use: owl_of_mine:Owl\n      least: LEAST\n" in out


def test_a_name_that_is_not_installed_ends_with_2_and_a_hint(call) -> None:  # type: ignore[no-untyped-def]
    assert call("sources", "foldr")[0] == 2
    assert "did you mean 'folder'" in call("sources", "foldr")[2]
    assert "did you mean 'union'" in call("rules", "unoin")[2]


def test_a_stage_whose_options_must_be_given_does_not_break_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owl_to_list.py").write_text(PLUGIN, encoding="utf-8")
    folder = tmp_path / "owls-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: owls\nVersion: 1\n")
    (folder / "entry_points.txt").write_text("[florilegium.stages]\nowl = owl_to_list:Owl\n")
    monkeypatch.syspath_prepend(tmp_path)
    lines = list(stage_lines())
    first = lines.index("owl  specialist")
    assert lines[first + 1 : first + 3] == ["    Finds owls.", "    image -> tag"]


def test_the_list_of_stages_has_three_lines_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    use = "florilegium.specialists.online.azure_ocr.AzureOcr.needs"
    monkeypatch.setattr(use, ("not_a_package",))
    lines = list(stage_lines())
    heads = [line.split()[:2] for line in lines if not line.startswith(" ")]
    assert len(lines) == 3 * len(heads) == 3 * len(STAGES.names())
    assert ["nms", "filter"] in [[name, kind.rstrip(";")] for name, kind in heads]
    assert "azure_ocr  specialist; needs florilegium[azure]" in lines
    assert max(map(len, lines)) <= 80


def test_the_schema_is_printed_as_json(call) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = call("schema", "train")
    assert code == 0
    assert json.loads(out)["$id"] == "urn:florilegium:config:train"
    assert call("schema", "trian")[0] == 2


def test_help_has_all_commands_below_headings(call) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = call("--help")
    assert code == 0
    headings = ["Build", "Look at a dataset", "Use and keep it", "Refine Florence-2"]
    headings += ["List and describe", "Plugins and this machine"]
    assert [line[2:].strip("─╮ ") for line in out.splitlines() if line[:1] == "╭"][1:] == headings


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("stages", "stages [OPTIONS] [NAME]"),
        ("schema", "schema [OPTIONS] [KIND]"),
        ("configs", "configs [OPTIONS] [NAME]"),
        ("try", "try [OPTIONS] STAGE IMAGE..."),
        ("build", "build [OPTIONS] CONFIG"),
    ],
)
def test_arguments_have_names_in_capitals(call, command: str, usage: str) -> None:  # type: ignore[no-untyped-def]
    first = call(command, "--help")[1].strip().splitlines()[0]
    assert re.sub("[{}]", "", first.partition("florilegium ")[2]).strip() == usage


def test_a_wrong_choice_is_one_error(call) -> None:  # type: ignore[no-untyped-def]
    code, _, err = call("new", "stage", "x")
    assert code == 2
    assert "Invalid value for 'KIND': 'stage' is not one of 'specialist'" in err


def test_what_is_logged_without_a_log_is_labelled(call, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)  # `main` sets it
    monkeypatch.setattr("florilegium.engine.planning.registry.SLOW_IMPORT_S", 0.0)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # without those of pytest
    assert "warning importing florilegium.engine.sources.folder took" in call("sources")[2]

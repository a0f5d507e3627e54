"""The command `doctor`: what it prints, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from florilegium.pipelines.commands import doctor as command
from florilegium.pipelines.commands.main import app
from florilegium.pipelines.doctor.finding import ABSENT, OK, PROBLEM, WARNING, Finding
from florilegium.pipelines.doctor.table import conclusion, topic_tables
from tests.pipelines.commands.test_tables import printed
from tests.pipelines.doctor.conftest import Install


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["doctor", *map(str, arguments)])


def finding(level: Any, name: str = "atlas", *, cure: str = "") -> Finding:
    return Finding(topic="maps", name=name, level=level, text="old", cure=cure)


def test_the_quickstart_can_be_built_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = run()
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].startswith("quickstart can be built")
    titles = ["config", "packages", "extras", "plugins", "machine", "models", "folders"]
    assert [line.strip() for line in lines if line.strip() in titles] == titles


def test_a_missing_package_of_the_quickstart_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("florilegium.specialists.ocr.rapidocr.RapidOcr.needs", ("not_a_package",))
    done = run()
    assert done.exit_code == 1
    assert "-> pip install 'florilegium[starter]'" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("quickstart cannot be built: 1 problem")


def test_a_config_of_ones_own_is_checked_with_its_models(album: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    stage = "{use: detector, model: someone/never-fetched}"
    path.write_text(f"source: nowhere\noutput: {tmp_path}/out\nspecialists:\n  boxes: {stage}\n")
    done = run("--config", path, "--source", album, "--json")
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert report["is_ready"] is False
    problems = [one for one in report["findings"] if one["level"] == PROBLEM]
    assert [(one["topic"], one["name"], one["cure"]) for one in problems] == [
        ("models", "someone/never-fetched", "hf download someone/never-fetched")
    ]


def test_no_command_is_run_on_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    assert run("--json").exit_code == 0


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_secret_in_the_error_of_a_plugin_is_masked(
    install: Install, options: tuple[str, ...]
) -> None:
    site = install("maps", "1.0", points={"florilegium.stages": "mine = leaks_in_a_test:Mine"})
    error = "cannot read https://me:hunter-22@maps.example/x?token=abc-123-def"
    (site / "leaks_in_a_test.py").write_text(f"raise OSError({error!r})")
    done = run(*options)
    assert "".join(done.stdout.split()).count("maps.example/x?token=***") == 1
    assert "hunter-22" not in done.output
    assert "abc-123" not in done.output


def test_what_is_to_be_done_comes_first_with_its_cure() -> None:
    findings = [
        finding(OK, "a"),
        finding(ABSENT, "b", cure="pip install b"),
        finding(WARNING, "c", cure="raise it"),
        finding(PROBLEM, "d", cure="hf download d\nhf download e"),
    ]
    [table] = topic_tables(findings)
    lines = [line.rstrip() for line in printed(table).splitlines()]
    assert lines == [
        "maps",
        "problem  d: old",
        "         -> hf download d",
        "         -> hf download e",
        "warning  c: old",
        "         -> raise it",
        "absent   b: old",
        "         -> pip install b",
        "ok       a: old",
    ]


def test_many_that_are_fine_are_one_paragraph_and_nothing_else_is() -> None:
    levels = (OK, ABSENT, WARNING)
    findings = [finding(level, f"{level}{n}") for level in levels for n in range(5)]
    [table] = topic_tables(findings)
    text = printed(table)
    assert sum(line.startswith("warning") for line in text.splitlines()) == 5
    assert sum(line.startswith("absent") for line in text.splitlines()) == 5
    assert sum(line.startswith("ok ") for line in text.splitlines()) == 1
    assert all(f"{level}{n}" in text for level in levels for n in range(5))


@pytest.mark.parametrize(
    ("levels", "line"),
    [
        ([OK, ABSENT], "mine can be built"),
        ([OK, WARNING], "mine can be built, 1 warning"),
        ([PROBLEM, PROBLEM, WARNING], "mine cannot be built: 2 problems, 1 warning"),
    ],
)
def test_the_last_line_says_whether_a_build_can_start(levels: list[Any], line: str) -> None:
    assert conclusion([finding(level) for level in levels], "mine") == line


def test_files_with_the_names_of_shipped_configs_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cluster", "quickstart"):
        (tmp_path / name).write_text("a cluster: of mine")
    assert "cluster" in command._shipped()
    assert run().exit_code == 0


def test_configs_that_build_nothing_are_not_asked_for_stages() -> None:
    assert "train" not in command._shipped()
    assert "fld5b" in command._shipped()

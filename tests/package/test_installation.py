"""The wheel in an environment of its own, used from a project that has folders `engine`,
`pipelines`, `specialists` and `configs`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.package.conftest import FOLDERS, Command


def test_the_command_line_and_the_package_are_those_of_the_wheel(
    run: Command, environment: Path
) -> None:
    assert "build vision datasets" in run("florilegium", "--help").stdout.lower()
    code = (
        "import florilegium, florilegium.engine, florilegium.pipelines, florilegium.specialists\n"
        "from florilegium import Specialist, open_dataset\n"
        "print(florilegium.pipelines.__file__)"
    )
    done = run("python", "-c", code)
    assert done.stderr == ""
    assert done.stdout.startswith(str(environment))


IMPORTS = """
import importlib
for name in {names!r}:
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(f"{{type(error).__name__}}: {{error}}")
"""
"""A program that says of each package why it cannot be imported."""


def test_a_project_gets_its_own_packages(run: Command) -> None:
    done = run("python", "-c", IMPORTS.format(names=FOLDERS))
    assert done.stdout.splitlines() == [f"ImportError: {name} of the project" for name in FOLDERS]


def test_elsewhere_there_is_no_package_of_these_names(environment: Path) -> None:
    command = [str(environment / "bin" / "python"), "-c", IMPORTS.format(names=FOLDERS)]
    done = subprocess.run(command, cwd="/", env={}, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        f"ModuleNotFoundError: No module named {name!r}" for name in FOLDERS
    ]


@pytest.mark.parametrize("runner", ["in_process", "local"])
def test_a_dataset_is_built(run: Command, tmp_path: Path, runner: str) -> None:
    """With `local` in a worker process. The word list is that of the package."""
    config = tmp_path / "mine.yaml"
    stages = "specialists: {shapes_colour: }\nfilters: {blacklist: }\n"
    config.write_text(f"{stages}source: shape_world://4?seed=1\noutput: {tmp_path / 'out'}\n")
    done = run("florilegium", "build", config, "--runner", runner)
    assert done.returncode == 0, done.stderr
    totals = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))["totals"]
    assert (totals["samples"], totals["dead_letters"]) == (4, 0)
    boxes = totals["tasks"]["object_detection"]
    assert boxes["kept"] > 0
    assert boxes["dropped"] == 0


def test_a_copy_of_a_shipped_config_reads_the_files_of_the_package(
    run: Command, tmp_path: Path
) -> None:
    printed = run("florilegium", "configs", "quickstart")
    assert printed.stdout == (ROOT / "configs" / "quickstart.yaml").read_text("utf-8")
    copy = tmp_path / "mine.yaml"
    copy.write_text(printed.stdout, "utf-8")
    options = ("--source", tmp_path / "pictures", "--output", tmp_path / "out", "--dry-run")
    (tmp_path / "pictures").mkdir()
    shutil.copy(ROOT / "docs" / "pictures" / "report.png", tmp_path / "pictures")
    mine, named = (run("florilegium", "build", one, *options) for one in (copy, "quickstart"))
    assert mine.returncode == 0, mine.stderr
    assert mine.stdout == named.stdout
    assert "blacklist" in mine.stdout


def test_a_checkout_without_links_is_an_error_with_the_cure(tmp_path: Path) -> None:
    """Git writes a link as a file with the path that it leads to, where there are no links."""
    package = tmp_path / "florilegium"
    package.mkdir()
    shutil.copy(ROOT / "florilegium" / "__init__.py", package)
    (package / "engine").write_text("../engine", "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", "import florilegium.engine"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "git config core.symlinks true" in done.stderr

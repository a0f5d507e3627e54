"""The plugin package is installed, passes its own tests, and its stages run in a build."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from florilegium import open_dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.verify.verify import verify_dataset
from tests.conftest import ROOT
from tests.docs.examples.conftest import EXAMPLES
from tests.docs.page import run_command


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has put the package, without an index."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(EXAMPLES / "plugin", folder / "sources")  # pip builds in there
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"),
        *("--no-build-isolation", "--disable-pip-version-check"),
        *("--target", str(folder / "site"), str(folder / "sources")),
    ]
    subprocess.run(command, check=True)
    return folder / "site"


def test_its_own_tests_pass(installed: Path) -> None:
    paths = [str(installed), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=installed.parent / "sources",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stdout
    assert "4 passed" in told.stdout


def test_its_stages_run_in_a_build(
    installed: Path,
    script: Callable[[str], ModuleType],
    small_photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(installed))
    model = script("plugin/tests/conftest.py").write_checkpoint(tmp_path / "models" / "tables")
    output = tmp_path / "out"
    run_command(
        *("florilegium", "build", str(EXAMPLES / "plugin" / "tables.yaml")),
        *("--source", str(small_photographs), "--output", str(output), "--runner", "in_process"),
        *("--set", f"specialists.document_tables.model={model}"),
        *("--set", "specialists.document_tables.least_score=0.3"),
    )
    assert list(verify_dataset(Folder(str(output)))) == []
    rows = [
        row
        for table in open_dataset(str(output)).select(verdict="all").tables()
        for row in table.to_pylist()
    ]
    assert {row["key"] for row in rows} == {path.stem for path in small_photographs.iterdir()}
    assert {row["label"] for row in rows} <= {"table", "table rotated"}
    assert {row["key"] for row in rows if "nested_tables" in str(row["verdicts"])}
    assert {row["model"] for row in rows} == {"tables"}
    assert len({row["revision"] for row in rows}) == 1

"""The public API: the names that the package offers to its users."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import subprocess
import sys
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import florilegium
from florilegium.engine.core.errors import RunError, UsageError
from florilegium.testing import photo

ROOT = Path(__file__).parents[1]
NAMES = """
ADDED API_VERSION Annotation CONTENT Case ConfigError Dataset DatasetSample DeadLetter
ExportConfig Exported Exporter Filter Florence2Prompt Folder Item MaskRLE Measurement MissingModel
MissingPackage RUNTIME Reading Rule RuleOptions Sample SampleColumns SampleError SampleFilter
SelectedDataset Source SourceConfig Specialist StageConfig Statements StorageError THRESHOLD Task
UsageError Verdicts build maybe one_of open_dataset
"""
"""What users may rely on: a name that goes, or means something else, raises `API_VERSION`."""


def test_the_public_api_has_these_names() -> None:
    assert florilegium.__all__ == NAMES.split()


def test_each_name_is_documented() -> None:
    for name in florilegium.__all__:
        found = getattr(florilegium, name)
        is_constant = name.isupper()
        assert is_constant or inspect.getdoc(found), name


def test_the_names_that_mypy_sees_are_those_that_are_there() -> None:
    tree = ast.parse(Path(florilegium.__file__).read_text("utf-8"))
    (seen,) = [one for one in tree.body if isinstance(one, ast.If)]
    imports = [one for one in seen.body if isinstance(one, ast.ImportFrom)]
    modules = {alias.name: one.module for one in imports for alias in one.names}
    assert sorted(modules) == florilegium.__all__
    for name, module in modules.items():
        assert module is not None
        assert getattr(florilegium, name) is getattr(import_module(module), name)


def test_importing_one_module_imports_no_other() -> None:
    code = "import sys, florilegium.engine.core.errors; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_name_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        florilegium.nonsense  # noqa: B018


SCRIPT = """
import florilegium
config = {{"source": {source!r}, "output": {output!r}, "specialists": {stages!r}}}
config["runner"] = "local"
dataset = florilegium.build(config)
print(len(list(dataset)))
"""
STAGES = {"bright": {"use": "tests.stages:Brightest"}}


def test_a_build_leaves_the_mapping_that_it_is_given_alone() -> None:
    config = {"source": "/nowhere", "output": "out", "specialists": {"a": {}}, "filters": {}}
    before = deepcopy(config)
    with pytest.raises(UsageError, match="/nowhere does not exist"):
        florilegium.build(config, overrides=["specialists.a=null", "specialists.b.side=3"])
    assert config == before


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two drawn photographs."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(photo(seed=number)).save(folder / f"{number}.png")
    return folder


def test_a_script_builds_a_dataset_in_a_line(photos: Path, tmp_path: Path) -> None:
    text = SCRIPT.format(source=str(photos), output=str(tmp_path / "out"), stages=STAGES)
    (tmp_path / "script.py").write_text(text, "utf-8")
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


def test_a_config_is_a_file_or_a_mapping_with_overrides(photos: Path, tmp_path: Path) -> None:
    document = {"source": "nowhere", "output": "nowhere", "specialists": STAGES}
    (tmp_path / "run.yaml").write_text(json.dumps(document), "utf-8")
    options: dict[str, Any] = {"source": str(photos), "overrides": ["runner.kind=in_process"]}
    of_file = florilegium.build(tmp_path / "run.yaml", output=tmp_path / "one", **options)
    of_keys = florilegium.build(document, output=tmp_path / "two", **options)
    assert [one.annotations for one in of_file] == [one.annotations for one in of_keys]
    assert len(list(of_keys)) == 2


def test_a_name_that_is_no_config_is_an_error() -> None:
    with pytest.raises(florilegium.ConfigError, match="did you mean 'quickstart'"):
        florilegium.build("quikstart")


def test_a_notebook_builds_beside_its_own_loop(photos: Path, tmp_path: Path) -> None:
    config = {"source": str(photos), "runner": "in_process", "specialists": STAGES}

    async def cell() -> int:
        return len(list(florilegium.build(config, output=tmp_path / "out")))

    assert asyncio.run(cell()) == 2


def test_too_many_lost_images_are_an_error(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    config = {"source": str(photos), "runner": "in_process", "specialists": STAGES}
    with pytest.raises(RunError, match="1 of 3 images failed"):
        florilegium.build(config, output=tmp_path / "out")

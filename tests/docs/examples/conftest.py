"""A small dataset with boxes that a script can learn from, scripts, and the installed plugin."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from tests.building import build
from tests.conftest import ROOT

EXAMPLES = ROOT / "docs" / "examples"


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 drawn scenes in shards of 10, with the boxes that a specialist found in them."""
    output = tmp_path_factory.mktemp("scenes") / "out"
    world = {"kind": "shape_world", "count": 160, "px": 64, "seed": 5, "difficulty": "easy"}
    build([world], output, specialists={"shapes_colour": {}}, shard_size=10)
    return output


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a script of an example by its path below `docs/examples`."""

    def load(name: str) -> ModuleType:
        path = EXAMPLES / name
        spec = spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
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

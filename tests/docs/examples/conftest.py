"""A small dataset with boxes that a script can learn from."""

from __future__ import annotations

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

"""The public API: the names that the package offers to its users."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import florilegium


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

"""What a stage or a service needs is looked for before anything starts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from florilegium.engine.core.errors import MissingPackage, PlanError
from florilegium.engine.planning.registry import find_stage, require


def test_a_package_within_one_that_is_missing_is_missing() -> None:
    with pytest.raises(MissingPackage, match=r"needs absent\.part, not .*'florilegium\[tracing\]'"):
        require("a service", ("json", "absent.part"), extra="tracing")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a module `of_a_plugin` where Python finds it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return lambda text: (tmp_path / "of_a_plugin.py").write_text(text) and None


def refusal(use: str) -> str:
    with pytest.raises(PlanError) as caught:
        find_stage(use)
    return str(caught.value)


def test_a_module_that_raises_has_its_own_traceback(module: Callable[[str], None]) -> None:
    module("def make():\n    return undefined\nStage = make()\n")
    first, *trace = refusal("of_a_plugin:Stage").splitlines()
    assert first.endswith(": NameError: name 'undefined' is not defined")
    frames = [line.rpartition("of_a_plugin.py")[2] for line in trace if ", line " in line]
    assert frames == ['", line 3, in <module>', '", line 2, in make']


def test_a_package_that_a_plugin_needs_is_not_a_folder_to_search(
    module: Callable[[str], None],
) -> None:
    module("import not_a_package_at_all\n")
    message = refusal("of_a_plugin:Stage")
    assert "plugin-path" not in message
    assert 'of_a_plugin.py", line 1, in <module>' in message


@pytest.mark.parametrize("use", ["nowhere_to_be_found:Stage", "nowhere_to_be_found.deep:Stage"])
def test_a_module_that_is_not_found_may_lie_in_a_folder(use: str) -> None:
    assert refusal(use).endswith("Name that: `--plugin-path .`, or `plugin_path: .` in the config")


@pytest.mark.parametrize("text", ["", "def f(:\n"])
def test_where_no_code_of_the_plugin_ran_there_is_no_traceback(
    module: Callable[[str], None], text: str
) -> None:
    module(text)
    assert len(refusal("of_a_plugin:Stage").splitlines()) == 1

"""Plugins: those that cannot be imported, are none, or are slow."""

from __future__ import annotations

import itertools
import sys
from importlib.metadata import EntryPoints, distributions
from pathlib import Path

import pytest

from florilegium.pipelines.doctor import plugins
from florilegium.pipelines.doctor.finding import OK, PROBLEM, WARNING, Finding
from tests.pipelines.doctor.conftest import Install, by_name

STAGES = "florilegium.stages"
TASKS = "florilegium.tasks"


@pytest.fixture(autouse=True)
def _forget_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "maps_of_a_test", raising=False)


@pytest.fixture
def other_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the plugins of a package `maps` alone."""

    def points(group: str) -> EntryPoints:
        found = list(distributions(name="maps"))
        return EntryPoints(point for one in found for point in one.entry_points.select(group=group))

    monkeypatch.setattr(plugins, "entry_points", points)


def found(install: Install, module: str, points: dict[str, str]) -> dict[str, Finding]:
    site = install("maps", "1.0", points=points)
    Path(site, "maps_of_a_test.py").write_text(module)
    return by_name(plugins.plugin_findings())


def test_our_own_are_one_line() -> None:
    [finding] = [one for one in plugins.plugin_findings() if one.name == "florilegium"]
    assert finding.level == OK
    count, *_ = finding.text.split()
    assert int(count) >= 45


@pytest.mark.usefixtures("other_only")
def test_another_package_is_named_with_each_of_its_plugins(install: Install) -> None:
    points = {
        STAGES: "mine = maps_of_a_test:Mine",
        "florilegium.tasks": "maps = maps_of_a_test:MAP",
    }
    module = (
        "from tests.stages import Silent\n"
        "from florilegium.engine.core.task import Task\n"
        "class Mine(Silent): pass\n"
        "MAP = Task(name='maps', kind='text')\n"
    )
    findings = found(install, module, points)
    assert {one.level for one in findings.values()} == {OK}
    assert findings["stage mine"].text.startswith("of maps: imported in 0.")
    assert findings["task maps"].text.startswith("of maps: imported in 0.")
    assert findings["florilegium"].text.startswith("0 built in")


@pytest.mark.usefixtures("other_only")
@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("import not_a_package_at_all", "ModuleNotFoundError: No module named 'not_a_package_at_"),
        ("raise RuntimeError('no map')", "RuntimeError: no map"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("", "AttributeError: module 'maps_of_a_test' has no attribute 'Mine'"),
        ("Mine = 3", "maps_of_a_test:Mine is no stage"),
        ("class Mine: pass", "maps_of_a_test:Mine is no stage"),
        (
            "from tests.stages import Silent\nclass Mine(Silent): api_version = 99",
            "maps_of_a_test:Mine is written for version 99 of the plugin API",
        ),
    ],
)
def test_one_that_cannot_be_used_is_a_problem(install: Install, module: str, text: str) -> None:
    finding = found(install, module, {STAGES: "mine = maps_of_a_test:Mine"})["stage mine"]
    assert finding.level == PROBLEM
    assert text in finding.text
    assert "of maps" in finding.text
    assert finding.cure.endswith("pip uninstall maps")


@pytest.mark.usefixtures("other_only")
def test_one_that_takes_long_to_import_is_a_warning(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = itertools.count(step=6.0)
    monkeypatch.setattr(plugins, "perf_counter", lambda: next(seconds))
    module = "from tests.stages import Silent as Mine\n"
    finding = found(install, module, {STAGES: "mine = maps_of_a_test:Mine"})["stage mine"]
    assert (finding.level, finding.text) == (WARNING, "of maps: imported in 6.0 s")
    assert "load()" in finding.cure

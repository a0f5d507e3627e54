"""A plugin that fails is reported with its own file and line, whatever part of it fails."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.api import API_VERSION
from florilegium.engine.core.errors import ConfigError, PlanError, RunError
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.planning import registry
from florilegium.engine.planning.registry import find_stage
from florilegium.engine.sources.source import Source
from florilegium.pipelines.export.exporter import Exporter
from florilegium.pipelines.merge.rules import Rule
from tests.building import build, configure

PLUGIN = """
from typing import Annotated

from florilegium import CONTENT, Source, Specialist, StageConfig


class Sound(Specialist):
    produces = ("tag",)

    def predict(self, samples):
        return [[] for _ in samples]


class FailsToBeMade(Sound):
    def __init__(self, config):
        super().__init__(config)
        self.scale = 1 / len(self.reads)


class FailsToLoad(Sound):
    def load(self):
        self.weights = {}["weights"]


class FailsToTell(Sound):
    def revision(self):
        return [][0]


class FailsToPredict(Sound):
    def predict(self, samples):
        return [int(one.key) for one in samples]


class Weights(StageConfig):
    weights: Annotated[str, CONTENT] = ""


class UnnamedWeights(Sound):
    Config = Weights


class OfTomorrow(Sound):
    api_version = 99


class OfYesterday(Sound):
    api_version = 0


class Place(Source):
    def __init__(self, config, *, shard_size):
        self.rows = open("/nowhere/rows.csv")

    def items(self):
        return iter(())

    def read(self, item):
        return iter(())
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The name of a module of plugins that can be imported during a test."""
    name = f"acme_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(PLUGIN, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def lines_of(error: BaseException) -> list[str]:
    """Return the lines of a traceback in a message, which are those of the plugin only."""
    lines = str(error).splitlines()
    assert not any("/engine/" in line for line in lines), str(error)
    return [line.strip() for line in lines[1:]]


def run(album: Path, tmp_path: Path, module: str, name: str) -> Any:
    """Build with a stage of the module."""
    return build(album, tmp_path / "out", specialists={"it": {"use": f"{module}:{name}"}})


def test_an_error_in_a_constructor(album: Path, tmp_path: Path, module: str) -> None:
    with pytest.raises(PlanError, match="cannot be made: ZeroDivisionError") as raised:
        run(album, tmp_path, module, "FailsToBeMade")
    place, code, *_ = lines_of(raised.value)
    assert place == f'File "{tmp_path}/{module}.py", line 17, in __init__'
    assert code == "self.scale = 1 / len(self.reads)"


def test_an_error_in_load(album: Path, tmp_path: Path, module: str) -> None:
    with pytest.raises(RunError, match="'it' cannot be loaded: KeyError: 'weights'") as raised:
        run(album, tmp_path, module, "FailsToLoad")
    place, *_ = lines_of(raised.value)
    assert place == f'File "{tmp_path}/{module}.py", line 22, in load'
    log = (tmp_path / "out" / "run.log").read_text("utf-8")
    assert f'File "{tmp_path}/{module}.py", line 22, in load' in log


def test_an_error_in_what_names_the_model(album: Path, tmp_path: Path, module: str) -> None:
    with pytest.raises(PlanError, match="revision of stage 'it' cannot be read: Index") as raised:
        run(album, tmp_path, module, "FailsToTell")
    assert lines_of(raised.value)[1] == "return [][0]"


def test_weights_that_no_revision_names(album: Path, tmp_path: Path, module: str) -> None:
    use = {"use": f"{module}:UnnamedWeights"}
    build(album, tmp_path / "out", specialists={"it": use})
    with pytest.raises(PlanError, match="'weights' is marked CONTENT, and its revision"):
        build(album, tmp_path / "out", specialists={"it": {**use, "weights": "other"}})


def test_an_error_about_an_image(album: Path, tmp_path: Path, module: str) -> None:
    manifest = run(album, tmp_path, module, "FailsToPredict")
    letter = next(letter for _, letter in manifest.dead_letters)
    assert f"{module}.py, line 32, in predict" in letter.traceback
    assert "engine/" not in letter.traceback
    log = (tmp_path / "out" / "run.log").read_text("utf-8")
    assert "return [int(one.key) for one in samples]" in log


def test_an_error_in_an_import(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}_b.py").write_text("def read():\n    return {}['key']\n\nread()\n")
    with pytest.raises(
        PlanError, match=r"^stage '[^']*' cannot be imported: KeyError: 'key'"
    ) as raised:
        find_stage(f"{module}_b:Sound")
    assert f'File "{tmp_path}/{module}_b.py", line 2, in read' in lines_of(raised.value)
    assert "plugin_path" not in str(raised.value)


def test_a_module_that_ends_python_is_an_error(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}_ends.py").write_text("raise SystemExit(0)\n")
    with pytest.raises(PlanError, match=r"cannot be imported: SystemExit: 0"):
        find_stage(f"{module}_ends:Sound")


def test_a_missing_package_of_a_plugin_is_named_with_the_line_that_imports_it(
    tmp_path: Path, module: str
) -> None:
    (tmp_path / f"{module}_c.py").write_text("import nowhere_at_all\n")
    with pytest.raises(PlanError, match="No module named 'nowhere_at_all'") as raised:
        find_stage(f"{module}_c:Sound")
    assert f'File "{tmp_path}/{module}_c.py", line 1, in <module>' in lines_of(raised.value)


def test_an_error_in_the_constructor_of_a_source(tmp_path: Path, module: str) -> None:
    source = {"url": "rows", "kind": f"{module}:Place"}
    with pytest.raises(ConfigError, match="cannot be opened: FileNotFoundError") as raised:
        prepare(configure([source], tmp_path / "out"))
    assert 'self.rows = open("/nowhere/rows.csv")' in lines_of(raised.value)


def test_a_slow_import_is_reported(
    module: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        find_stage(f"{module}:Sound")
        assert not caplog.messages
        monkeypatch.setattr(registry, "SLOW_IMPORT_S", 0.0)
        find_stage(f"{module}:Sound")
    (line,) = caplog.messages
    assert line.startswith(f"importing {module} took 0 s")


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("OfTomorrow", "version 99 of the plugin API.* has version 1: install a newer florilegium"),
        ("OfYesterday", "version 0 of .*: install a newer version of the plugin"),
    ],
)
def test_a_plugin_for_another_version_of_the_api_is_refused(
    module: str, name: str, cure: str
) -> None:
    with pytest.raises(PlanError, match=cure):
        find_stage(f"{module}:{name}")


def test_every_kind_of_plugin_has_a_version(module: str) -> None:
    kinds = (find_stage(f"{module}:Sound"), Source, Exporter, Rule)
    assert {one.api_version for one in kinds} == {API_VERSION}

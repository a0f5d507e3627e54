"""Formats are found by their entry points."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.planning.registry import installed_names
from florilegium.pipelines.export.exporter import (
    EXPORTERS,
    ExportConfig,
    Exported,
    Exporter,
    export,
    find_exporter,
)
from florilegium.pipelines.export.selected import SelectedDataset


class Keys(Exported):
    """The names of samples."""

    def __init__(self, count: int) -> None:
        self.count = count

    def summary(self) -> Iterator[str]:
        yield f"{self.count} keys"

    def warnings(self) -> Iterator[str]:
        return iter(())


class KeyList(Exporter[ExportConfig, Keys]):
    """A format of a plugin."""

    def write(self, dataset: SelectedDataset, output: Path) -> Keys:
        keys = [sample.key for sample in dataset]
        (output / "keys.txt").write_text("\n".join(keys))
        return Keys(len(keys))


@pytest.fixture
def _plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="keys", value=f"{__name__}:KeyList", group=EXPORTERS)
    monkeypatch.setattr("florilegium.engine.planning.registry.entry_points", lambda group: [point])


@pytest.mark.usefixtures("_plugin")
def test_a_format_of_a_plugin_is_found_and_used(scenes: Path, tmp_path: Path) -> None:
    exporter = find_exporter("keys")
    exported = export(str(scenes), exporter(ExportConfig()), tmp_path / "deep" / "out")
    assert list(exported.summary()) == ["14 keys"]
    assert len((tmp_path / "deep" / "out" / "keys.txt").read_text().splitlines()) == 14


def test_an_unknown_format_names_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="unknown export format 'cooc', did you mean 'coco'"):
        find_exporter("cooc")


def test_only_what_is_installed_is_a_format() -> None:
    with pytest.raises(ConfigError, match="unknown export format"):
        find_exporter(f"{__name__}:KeyList")


@pytest.mark.parametrize("name", installed_names(EXPORTERS))
def test_every_format_has_options_that_refuse_unknown_keys(name: str) -> None:
    assert find_exporter(name).Config.model_config["extra"] == "forbid"

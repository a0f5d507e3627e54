"""A stage of another package: one file and one entry point, nothing of ours is touched."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import PlanError
from engine.registry import find_stage, stage_names
from tests.building import build, shard_file
from tests.end_to_end.conftest import Command

STAGE = '''
from engine.annotation import Annotation
from engine.stage import Specialist, StageConfig


class ShapeConfig(StageConfig):
    """How images are called."""

    wide: str = "landscape"
    """What a wide image is called."""


class Shape(Specialist[ShapeConfig]):
    """Tells wide images from tall ones."""

    Config = ShapeConfig
    produces = ("tag",)

    def predict(self, samples):
        return [[self._tag(sample)] for sample in samples]

    def _tag(self, sample):
        name = self.config.wide if sample.width > sample.height else "portrait"
        return Annotation(kind="text", task="tag", text=name, label=name)
'''
ENTRY_POINTS = """
[florilegium.stages]
acme_shape = acme_shapes:Shape
acme_broken = acme_shapes:Absent
acme_missing = acme_nowhere:Shape
acme_number = acme_shapes:StageConfig
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution that is installed for the length of a test."""
    folder = tmp_path / "site"
    info = folder / "acme_shapes-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "acme_shapes.py").write_text(STAGE, encoding="utf-8")
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme-shapes\nVersion: 1.0\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(ENTRY_POINTS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_a_stage_of_another_package_is_found_by_name_and_speaks(
    album: Path, tmp_path: Path, acme: Path
) -> None:
    manifest = build(album, tmp_path / "out", specialists={"acme_shape": {"wide": "broad"}})
    assert manifest.totals.specialists == {"acme_shape": {"dropped": 0, "kept": 12}}
    assert b'"label":"broad"' in shard_file(tmp_path / "out", ".tar").read_bytes()


def test_own_stages_in_the_current_folder_are_found(
    album: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    florilegium: Command,
    written: Callable[..., Path],
) -> None:
    (tmp_path / "own_shapes.py").write_text(STAGE, encoding="utf-8")
    config = written(album, tmp_path / "out", specialists={"shape": {"use": "own_shapes:Shape"}})
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    told = florilegium("build", config)
    assert told.code == 0, told.err
    assert "12 images = 12 samples" in " ".join(told.out.split())


def test_it_is_listed_and_its_options_are_checked(
    acme: Path, album: Path, tmp_path: Path, florilegium: Command, written: object
) -> None:
    assert "acme_shape" in stage_names()
    config = written(album, tmp_path / "out", specialists={"acme_shape": {"wyde": "x"}})  # type: ignore[operator]
    told = florilegium("build", config)
    assert told.code == 2
    assert "did you mean 'wide'" in told.err


def test_a_typing_error_in_its_name_finds_it(acme: Path) -> None:
    with pytest.raises(PlanError, match="did you mean 'acme_shape'"):
        find_stage("acme_shap")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("acme_broken", "cannot be imported from 'acme_shapes:Absent'"),
        ("acme_missing", "cannot be imported from 'acme_nowhere:Shape'"),
        ("acme_number", "'acme_shapes:StageConfig' is not a stage"),
    ],
)
def test_a_plugin_that_is_broken_is_named(acme: Path, name: str, told: str) -> None:
    with pytest.raises(PlanError, match=told):
        find_stage(name)


def test_a_broken_plugin_does_not_hide_the_others(acme: Path, florilegium: Command) -> None:
    told = florilegium("stages")
    assert told.code == 0, told.err
    assert "rapidocr" in told.out
    assert "acme_shape" in told.out


def test_without_the_package_its_name_is_unknown() -> None:
    assert "acme_shape" not in stage_names()
    with pytest.raises(PlanError, match="unknown stage 'acme_shape'"):
        find_stage("acme_shape")

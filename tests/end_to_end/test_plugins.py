"""A stage of another package: one file and one entry point, nothing of ours is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from florilegium.engine.core.errors import PlanError
from florilegium.engine.planning.registry import find_stage, stage_names
from tests.building import build, shard_file
from tests.end_to_end.conftest import ROOT, Command

Written = Callable[..., Path]

STAGE = '''
from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.stage import Specialist, StageConfig


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


EVIL = "from pathlib import Path\nPath({mark!r}).write_text('ran')\n" + STAGE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder one stands in, with a stage that leaves a mark when it is imported."""
    folder = tmp_path / "here"
    info = folder / "evil.egg-info"
    info.mkdir(parents=True)
    mark = str(tmp_path / "mark")
    for name in ("own_shapes", "json", "evil_source"):
        (folder / f"{name}.py").write_text(EVIL.format(mark=mark), encoding="utf-8")
    (info / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[florilegium.stages]\nevil = own_shapes:Shape\nrapidocr = own_shapes:Shape\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(folder)
    yield folder
    sys.modules.pop("own_shapes", None)


OWN = {"shape": {"use": "own_shapes:Shape"}}


@pytest.mark.parametrize("how", ["config", "list", "option"])
def test_own_stages_are_found_in_the_folder_that_is_asked_for(
    album: Path, tmp_path: Path, folder: Path, florilegium: Command, written: Written, how: str
) -> None:
    keys: dict[str, Any] = {"config": {"plugin_path": "."}, "list": {"plugin_path": ["."]}}
    config = written(album, tmp_path / "out", specialists=OWN, **keys.get(how, {}))
    ended = florilegium("build", config, *(["--plugin-path", "."] if how == "option" else []))
    assert ended.code == 0, ended.err
    assert "12 images = 12 samples" in " ".join(ended.out.split())


@pytest.mark.attack("configs")
@pytest.mark.parametrize("use", ["own_shapes:Shape", "evil"])
def test_the_folder_one_stands_in_is_not_searched(
    album: Path, tmp_path: Path, folder: Path, florilegium: Command, written: Written, use: str
) -> None:
    config = written(album, tmp_path / "out", specialists={"shape": {"use": use}})
    ended = florilegium("build", config)
    assert ended.code == 2
    assert "plugin_path: ." in ended.err if ":" in use else "unknown stage 'evil'" in ended.err
    assert not (tmp_path / "mark").exists()
    assert "evil" not in stage_names()


@pytest.mark.attack("configs")
@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"specialists": OWN}, "specialists.shape.use = 'own_shapes:Shape' names a module"),
        ({"filters": OWN}, "filters.shape.use = 'own_shapes:Shape' names a module"),
        ({"kind": "own_shapes:Shape"}, "source.kind = 'own_shapes:Shape' names a module"),
        ({"specialists": {"rapidocr": {}}, "plugin_path": "."}, "plugin_path = ['.']"),
        ({"specialists": {"shape": {"use": ["own_shapes:Shape"]}}}, "names a module"),
    ],
)
@pytest.mark.parametrize("command", ["build", "plan", "dry run", "refine"])
def test_without_plugins_only_what_is_installed_is_run(
    album: Path,
    tmp_path: Path,
    folder: Path,
    florilegium: Command,
    keys: dict[str, Any],
    named: str,
    command: str,
) -> None:
    document = {"specialists": {"rapidocr": {}}, **keys}
    source: Any = str(album)
    if "kind" in document:
        source = {"url": source, "kind": document.pop("kind")}
    if command == "refine":
        document["refine"] = {"students": {"one": {}}, "train": {"model": "m"}}
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump({"source": source, "output": "out", **document}))
    arguments = ["build", config, "--dry-run"] if command == "dry run" else [command, config]
    ended = florilegium(*arguments, "--no-plugins")
    assert ended.code == 2
    assert named in ended.err
    assert "--no-plugins allows what is installed only" in ended.err
    assert not (tmp_path / "mark").exists()


@pytest.mark.attack("configs")
def test_a_plan_or_a_student_brings_no_plugin_either(
    album: Path, tmp_path: Path, folder: Path, florilegium: Command, written: Written
) -> None:
    config = written(album, tmp_path / "out", specialists={"rapidocr": {}})
    plan = tmp_path / "plan.yaml"
    plan.write_text("plugin_path: .\nspecialists: {rapidocr: {use: 'own_shapes:Shape'}}\n")
    ended = florilegium("build", config, "--plan", plan, "--no-plugins")
    assert (ended.code, "names a module" in ended.err) == (2, True)
    students = {"one": {"use": "own_shapes:Shape"}}
    refined = {"students": students, "train": {"model": "m"}}
    config = written(album, tmp_path / "out", specialists={"rapidocr": {}}, refine=refined)
    ended = florilegium("refine", config, "--no-plugins")
    assert (ended.code, "refine.students.one.use" in ended.err) == (2, True)
    assert not (tmp_path / "mark").exists()


@pytest.mark.attack("configs")
def test_a_dry_run_imports_no_module_and_says_so(
    album: Path, tmp_path: Path, folder: Path, florilegium: Command, written: Written
) -> None:
    stages = {**OWN, "grabcut": {}, "bare": {"use": "own_shapes:Shape", "reads": ["shape"]}}
    judges = {"judge": {"use": "own_shapes:Shape", "anything": 1}, "nms": {}}
    config = written(
        album, tmp_path / "out", specialists=stages, filters=judges, plugin_path=str(folder)
    )
    ended = florilegium("build", config, "--dry-run")
    assert ended.code == 0, ended.err
    assert "not imported" in ended.out
    assert "shape is own_shapes:Shape, a module, which a dry run does not import" in ended.out
    assert "judge is own_shapes:Shape" in ended.out
    own = "source={url: " + str(album) + ", kind: 'own_shapes:Shape'}"
    ended = florilegium("build", config, "--dry-run", "--set", own)
    assert (ended.code, "which a dry run does not import" in ended.err) == (2, True)
    assert not (tmp_path / "mark").exists()


def test_a_python_that_starts_in_a_folder_does_not_search_it(
    album: Path, tmp_path: Path, folder: Path, written: Written
) -> None:
    (folder / "json.py").unlink()  # Python itself would import it, before any code of ours
    config = written(album, tmp_path / "out", specialists=OWN)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "florilegium",
            "build",
            config,
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "plugin_path: ." in done.stderr
    assert not (tmp_path / "mark").exists()


@pytest.mark.attack("configs")
def test_no_process_that_is_started_searches_it(
    album: Path, tmp_path: Path, folder: Path, written: Written
) -> None:
    for name in ("socket", "signal", "selectors", "threading", "traceback"):
        (folder / f"{name}.py").write_text(EVIL.format(mark=str(tmp_path / "mark")))
    config = written(album, tmp_path / "out", runner="local")
    command = [Path(sys.executable).with_name("florilegium"), "build", config]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("broken", ["1 / 0", "raise SystemError", "a b", "import nowhere_at_all"])
def test_a_module_that_cannot_be_imported_is_named(
    album: Path, tmp_path: Path, folder: Path, florilegium: Command, written: Written, broken: str
) -> None:
    (folder / "broken_shapes.py").write_text(broken)
    stages = {"shape": {"use": "broken_shapes:Shape"}}
    ended = florilegium(
        "build", written(album, tmp_path / "out", specialists=stages, plugin_path=".")
    )
    assert ended.code == 2
    assert "'broken_shapes:Shape' cannot be imported" in ended.err


def test_a_folder_for_plugins_has_to_be_there(
    album: Path, tmp_path: Path, florilegium: Command, written: Written
) -> None:
    ended = florilegium("build", written(album, tmp_path / "out", plugin_path="nowhere"))
    assert ended.code == 2
    assert "plugin_path = 'nowhere': there is no such folder" in ended.err


def test_it_is_listed_and_its_options_are_checked(
    acme: Path, album: Path, tmp_path: Path, florilegium: Command, written: object
) -> None:
    assert "acme_shape" in stage_names()
    config = written(album, tmp_path / "out", specialists={"acme_shape": {"wyde": "x"}})  # type: ignore[operator]
    ended = florilegium("build", config)
    assert ended.code == 2
    assert "did you mean 'wide'" in ended.err


def test_a_typing_error_in_its_name_finds_it(acme: Path) -> None:
    with pytest.raises(PlanError, match="did you mean 'acme_shape'"):
        find_stage("acme_shap")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("acme_broken", "cannot be imported from 'acme_shapes:Absent'"),
        ("acme_missing", "cannot be imported from 'acme_nowhere:Shape'"),
        ("acme_number", "'acme_shapes:StageConfig' is not a stage"),
    ],
)
def test_a_plugin_that_is_broken_is_named(acme: Path, name: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        find_stage(name)


def test_a_broken_plugin_does_not_hide_the_others(acme: Path, florilegium: Command) -> None:
    ended = florilegium("stages")
    assert ended.code == 0, ended.err
    assert "rapidocr" in ended.out
    assert "acme_shape" in ended.out


def test_without_the_package_its_name_is_unknown() -> None:
    assert "acme_shape" not in stage_names()
    with pytest.raises(PlanError, match="unknown stage 'acme_shape'"):
        find_stage("acme_shape")

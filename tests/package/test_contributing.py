"""The recipes of CONTRIBUTING.md: installed as a package, built with, and as they say they are."""

from __future__ import annotations

import csv
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from florilegium.engine.core.tasks import TABLE
from florilegium.engine.planning import draft
from florilegium.engine.planning.registry import find_stage
from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.export.exporter import export, find_exporter
from florilegium.testing import check_stage
from tests.building import build
from tests.conftest import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
RECIPES = dict(re.findall(r"^### (An? [a-z ]+)\n(.*?)(?=^##)", TEXT, re.DOTALL | re.MULTILINE))
ENTRY = re.compile(
    r"^\| `pyproject\.toml`, `([\w.]+)` \| `(\w+) = \"([\w.]+):(\w+)\"`", re.MULTILINE
)
BLOCK = re.compile(r"^```python\n# (\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
STAGES = """
from florilegium import Annotation, Specialist


class Boxes(Specialist):
    produces = ("object_detection", "logo")

    def predict(self, samples):
        return [[self.box(*one) for one in BOXES] for _ in samples]

    def box(self, task, label, box, score):
        return Annotation(kind="region", task=task, label=label, box_xyxy=box, score=score)


BOXES = (
    ("object_detection", "cup", (0.0, 4.0, 9.0, 9.0), 0.9),
    ("object_detection", "teacup", (4.0, 4.0, 9.0, 9.0), 0.5),
    ("logo", "acme", (2.0, 3.0, 22.0, 12.0), 0.8),
)


class Others(Boxes):
    produces = ("object_detection",)

    def predict(self, samples):
        box = (5.0, 4.0, 9.0, 9.0)
        return [[self.box("object_detection", "cup", box, 0.7)] for _ in samples]
"""


def test_there_are_six_recipes_each_with_its_code_and_its_files() -> None:
    assert list(RECIPES) == [
        *("A specialist", "A filter", "A source", "An exporter", "A merge rule", "A task")
    ]
    for name, recipe in RECIPES.items():
        (block,) = BLOCK.findall(recipe)
        files = re.findall(r"^\| `([\w/.]+)`", recipe, re.MULTILINE)
        assert block[0] == files[0], name
        for file in files:
            assert (ROOT / file).parent.is_dir(), file
        entry = ENTRY.search(recipe)
        if entry:
            assert f"class {entry[4]}(" in block[1]
            assert entry[3] == "florilegium." + files[0].removesuffix(".py").replace("/", ".")
        assert entry or name == "A task"


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with the code of all recipes, and the entry points that they name."""
    folder = tmp_path / "site"
    about = folder / "recipes-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: recipes\nVersion: 1.0\n")
    points = {"florilegium.stages": "boxes = recipe_boxes:Boxes\nothers = recipe_boxes:Others\n"}
    points["florilegium.tasks"] = "logo = recipe_a_task:LOGO\n"
    (folder / "recipe_boxes.py").write_text(STAGES)
    for name, recipe in RECIPES.items():
        module = f"recipe_{name.lower().replace(' ', '_')}"
        ((_, code),) = BLOCK.findall(recipe)
        (folder / f"{module}.py").write_text(code)
        for group, point, _, member in ENTRY.findall(recipe):
            points[group] = points.get(group, "") + f"{point} = {module}:{member}\n"
    text = "".join(f"[{group}]\n{lines}" for group, lines in points.items())
    (about / "entry_points.txt").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    task = import_module("recipe_a_task").LOGO  # the tasks of this process are read already
    monkeypatch.setattr(draft, "TABLE", {**TABLE, task.name: task})


@pytest.mark.usefixtures("recipes")
def test_a_dataset_is_built_and_exported_with_all_six(tmp_path: Path) -> None:
    for name, value in (("night", 10), ("noon", 200)):
        Image.fromarray(np.full((24, 32, 3), value, np.uint8)).save(tmp_path / f"{name}.png")
    images = [str(tmp_path / f"{name}.png") for name in ("noon", "night")]
    (tmp_path / "list.txt").write_text("\n".join(images))
    build(
        [{"kind": "listed", "url": str(tmp_path / "list.txt")}],
        tmp_path / "out",
        specialists={
            "exposure": {"dark": 50},
            "boxes": {},
            "others": {},
            "merge": {"rule": "longest", "tasks": ["object_detection"]},
        },
        filters={"at_border": {"pixels": 2}},
    )
    found = {
        sample.key.rpartition("_")[2]: [(one.label, one.specialist) for one in sample.annotations]
        for sample in open_dataset(str(tmp_path / "out"))
    }
    boxes = [("teacup", "boxes"), ("acme", "boxes"), ("cup", "others"), ("teacup", "merge")]
    assert found == {"night": [("dark", "exposure"), *boxes], "noon": boxes}
    exporter = find_exporter("csv")
    exported = export(str(tmp_path / "out"), exporter(exporter.Config()), tmp_path / "csv")
    assert [*exported.summary()] == ["8 boxes"]
    assert [*exported.warnings()] == ["1 annotations have no box and are left out"]
    with (tmp_path / "csv" / "boxes.csv").open(newline="") as file:
        rows = [row[1:] for row in csv.reader(file)]
    assert rows[:4] == rows[4:]
    assert rows[1] == ["acme", "2.0", "3.0", "22.0", "12.0"]


@pytest.mark.usefixtures("recipes")
@pytest.mark.parametrize("name", ["exposure", "at_border"])
def test_the_stages_of_the_recipes_keep_the_contract(name: str) -> None:
    check_stage(find_stage(name))

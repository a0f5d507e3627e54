"""A task that an installed plugin adds: validated, filtered, drawn in the report, exported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

TASK = """
from florilegium.engine.core.task import Florence2Prompt, Task

LOGO = Task(
    name="logo",
    kind="region",
    needs=("label", "box_xyxy"),
    words="name",
    colour="#123456",
    coco="instance",
    florence2=Florence2Prompt(
        marker="<LOGO>", prompt="Where are the logos?", answers="boxes"
    ),
)
"""
STAGE = """
from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.stage import Specialist


class Logos(Specialist):
    produces = ("logo",)

    def predict(self, samples):
        return [[self._one(sample, score) for score in (0.9, 0.1)] for sample in samples]

    def _one(self, sample, score):
        label = "" if sample.key == "cat" else "acme"
        box = (2.0, 3.0, 22.0, 33.0) if score > 0.5 else (1.0, 1.0, 9.0, 9.0)
        return Annotation(kind="region", task="logo", label=label, box_xyxy=box, score=score)
"""
ENTRY_POINTS = """[florilegium.tasks]
logo = logo_task:LOGO
[florilegium.stages]
logos = logo_stage:Logos
"""

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A folder with an installed package."""
    folder = tmp_path / "site"
    about = folder / "logo-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: logo\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    (folder / "logo_task.py").write_text(TASK)
    (folder / "logo_stage.py").write_text(STAGE)
    return folder


@pytest.fixture
def run(plugin: Path, started: Callable[..., subprocess.Popen[str]]) -> Run:
    """Run the command line where the plugin is installed; return its exit code and its output."""

    def start(*arguments: object) -> tuple[int, str]:
        paths = [str(ROOT), str(plugin), *filter(None, [os.environ.get("PYTHONPATH")])]
        process = started(*arguments, PYTHONPATH=os.pathsep.join(paths))
        out, err = process.communicate(timeout=120)
        return process.returncode, out + err

    return start


def test_a_task_of_a_plugin_is_validated_filtered_drawn_and_exported(
    run: Run, album: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    document = {
        "source": str(album),
        "output": str(output),
        "runner": "in_process",
        "specialists": {"logos": None},
        "filters": {"region_score": {"tasks": {"logo": {"min_score": 0.5}}}, "nms": None},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(document))
    code, printed = run("build", tmp_path / "run.yaml")
    assert code == 0, printed
    assert "a logo needs `label`; it has only `box_xyxy`" in printed
    page = (output / "report.html").read_text("utf-8")
    assert 'style="--c: #123456"' in page
    assert "acme" in page
    assert run("verify", output)[0] == 0

    code, printed = run("export", output, "--format", "coco", "--output", tmp_path / "coco")
    assert code == 0, printed
    instances = json.loads((tmp_path / "coco/annotations/instances.json").read_text())
    assert instances["categories"] == [{"id": 1, "name": "acme", "supercategory": ""}]
    assert [one["bbox"] for one in instances["annotations"]] == [[2, 3, 20, 30]] * 11

    given = ("--set", "tasks.logo=1", "--output", tmp_path / "jsonl")
    code, printed = run("export", output, "--format", "florence2", *given)
    assert code == 0, printed
    lines = [
        json.loads(line)
        for path in (tmp_path / "jsonl").glob("*/annotations.jsonl")
        for line in path.read_text("utf-8").splitlines()
    ]
    assert {line["prefix"] for line in lines} == {"<LOGO>"}
    assert all(line["suffix"].startswith("acme<loc_") for line in lines)
    assert len(lines) == 11


def test_a_task_that_cannot_be_loaded_ends_with_a_message(run: Run, plugin: Path) -> None:
    (plugin / "logo_task.py").write_text("from logo_stage import Logos\n")
    code, printed = run("stages")
    assert code == 2, printed
    assert "the task 'logo' cannot be loaded from 'logo_task:LOGO'" in printed
    assert "imports nothing but engine.core.task" in printed
    assert "Traceback" not in printed


@pytest.mark.attack("configs")
def test_a_task_in_the_folder_one_stands_in_is_not_loaded(plugin: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (plugin / "logo_task.py").write_text(f"open({str(mark)!r}, 'w').close()\n{TASK}")
    command = [sys.executable, "-m", "florilegium", "stages"]
    for path, is_loaded in ((str(ROOT), False), (f"{ROOT}{os.pathsep}{plugin}", True)):
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(
            command, cwd=plugin, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert mark.exists() == is_loaded

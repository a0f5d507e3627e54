"""The packages as their authors use them: installed, tested, at work in a build.

All four are in one environment, which sees the packages of this one by a `.pth` file.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from florilegium import open_dataset
from florilegium.pipelines.scaffold.kind import Kind
from florilegium.pipelines.scaffold.names import names_of
from florilegium.pipelines.scaffold.package import write_package

ROOT = Path(__file__).parents[3]
CONFIG = """
source: {kind: my_source, url: my-source/photos/photos.csv}
output: out
runner: in_process
specialists:
  my_specialist:
  shapes: {use: "shapes:Shapes"}
filters:
  my_filter:
plugin_path: .
"""
SHAPES = '''
from florilegium import Annotation, Specialist


class Shapes(Specialist):
    """A box on the shape of each picture, and one beside it."""

    produces = ("object_detection",)

    def predict(self, samples):
        return [[box((20, 10, 100, 80)), box((102, 80, 127, 95))] for _ in samples]


def box(box_xyxy):
    return Annotation(
        kind="region", task="object_detection", label="shape", box_xyxy=box_xyxy, score=0.9
    )
'''


INSTALL = """
import os, sys, sysconfig, zipfile
from setuptools import build_meta

site = sysconfig.get_path("purelib")
for package in sys.argv[1:]:
    os.chdir(package)
    with zipfile.ZipFile(build_meta.build_editable(".")) as wheel:
        wheel.extractall(site)
    os.chdir("..")
"""
"""What pip does for an editable installation; a second of pip for each package is saved."""


class Desk:
    """A folder with the four packages, and an environment in which they are installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for kind in Kind:
            write_package(names_of(kind, f"my-{kind}"), folder / f"my-{kind}")
        environment = folder / "env"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
        self.python = environment / "bin" / "python"
        line = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        (library,) = environment.glob("lib/python*/site-packages")
        (library / "base.pth").write_text(line, "utf-8")
        first, *others = (f"my-{kind}" for kind in Kind)
        options = ("--no-build-isolation", "--no-index", "--quiet")
        self.run("-m", "pip", "install", *options, "--editable", first)
        self.run("-c", INSTALL, *others)

    def run(self, *words: str) -> str:
        """Run Python in the environment; return what it printed."""
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        done = subprocess.run(
            [self.python, *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def florilegium(self, *words: str) -> str:
        """Call the command line."""
        return self.run("-m", "florilegium", *words)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


def test_the_tests_of_new_packages_pass(desk: Desk) -> None:
    printed = desk.run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"my-{kind}/tests" for kind in Kind)
    )
    assert " passed" in printed
    assert "skipped" not in printed


def test_all_of_them_work_in_one_build(desk: Desk) -> None:
    (desk.folder / "shapes.py").write_text(SHAPES, "utf-8")
    (desk.folder / "all.yaml").write_text(CONFIG, "utf-8")
    desk.florilegium("build", "all.yaml")
    dataset = open_dataset(str(desk.folder / "out")).select(verdict="all")
    circle, square = dataset
    assert [one.text for one in circle.annotations if one.specialist == "source"] == [
        "A red circle on white."
    ]
    assert [one.text for one in square.annotations if one.specialist == "my_specialist"] == [
        "white",
        "blue",
    ]
    assert square.verdicts is not None
    verdicts = {one.box_xyxy: square.verdicts[one.id] for one in square.annotations if one.box_xyxy}
    assert {box: [one.reason for one in found] for box, found in verdicts.items()} == {
        (20, 10, 100, 80): [""],
        (102, 80, 127, 95): ["blurred"],
    }
    printed = desk.florilegium("export", "out", "--format", "my_exporter", "--output", "yolo")
    assert "2 images, 2 boxes" in printed
    lines = (desk.folder / "yolo/labels/square.txt").read_text("utf-8")
    assert lines == "0 0.468750 0.468750 0.625000 0.729167\n"

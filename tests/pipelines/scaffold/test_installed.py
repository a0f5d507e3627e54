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


class Desk:
    """A folder with the four packages, and an environment in which they are installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.packages = [f"my-{kind}" for kind in Kind]
        for kind, package in zip(Kind, self.packages, strict=True):
            write_package(names_of(kind, package), folder / package)
        environment = folder / "env"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
        self.python = environment / "bin" / "python"
        line = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        (library,) = environment.glob("lib/python*/site-packages")
        (library / "base.pth").write_text(line, "utf-8")
        options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
        editable = [word for package in self.packages for word in ("--editable", package)]
        self.run("-m", "pip", "install", *options, *editable)

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


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


def test_the_tests_of_new_packages_pass(desk: Desk) -> None:
    tests = [f"{package}/tests" for package in desk.packages]
    printed = desk.run("-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    assert " passed" in printed
    assert "skipped" not in printed

"""The plugin of pytest makes a test of each check of each plugin of a distribution."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from florilegium.testing import photo
from florilegium.testing.stage import ASKING, DECLARING

ROOT = Path(__file__).parents[2]
STAGES = '''
from florilegium import Annotation, Specialist, StageConfig


class WordConfig(StageConfig):
    """Options of `Word`."""

    word: str
    """The word."""


class Word(Specialist[WordConfig]):
    """Tags every image with a word."""

    Config = WordConfig
    produces = ("tag",)

    def predict(self, samples):
        return [[self._tag(one)] for one in samples]

    def _tag(self, sample):
        label = f"{self.config.word} {sample.image.mean():.0f}"
        return Annotation(kind="text", task="tag", label=label)


class Counts(Word):
    """Counts its calls."""

    calls = 0

    def _tag(self, sample):
        self.calls += 1
        label = f"{self.calls} {sample.image.mean():.0f}"
        return Annotation(kind="text", task="tag", label=label)
'''
CONFTEST = """
def pytest_florilegium_options(name, kind):
    given = {"stage": {"word": "fine"}, "source": {"url": "photos"}}
    return None if name == "acme_lost" else given.get(kind)
"""
PLUGINS = "tests.testing.broken_plugins"
ENTRY_POINTS = f"""
[florilegium.stages]
acme_word = acme_words:Word
acme_counts = acme_words:Counts
acme_gone = acme_nowhere:Gone
[florilegium.sources]
acme_photos = {PLUGINS}:Photos
acme_twice = {PLUGINS}:Twice
acme_lost = {PLUGINS}:Photos
[florilegium.exporters]
acme_keys = {PLUGINS}:Keys
acme_empty = {PLUGINS}:WritesNothing
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A distribution with stages, sources and exporters, installed in a folder, and its tests."""
    (tmp_path / "acme_words.py").write_text(STAGES, "utf-8")
    info = tmp_path / "acme_words-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-words\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo(seed=1)).save(tmp_path / "photos" / "1.png")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "conftest.py").write_text(CONFTEST, "utf-8")
    (tmp_path / "tests" / "test_own.py").write_text(
        "def test_own(florilegium_samples): assert len(florilegium_samples) == 8\n", "utf-8"
    )
    return tmp_path


def run(package: Path, *arguments: str, contract: str = "acme-words") -> str:
    """Run pytest in the folder of the package, and return what it prints."""
    (package / "pytest.ini").write_text(f"[pytest]\nflorilegium_contract = {contract}\n")
    paths = [str(package), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", *arguments]
    done = subprocess.run(
        command,
        cwd=package,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_each_check_of_each_plugin_is_a_test(package: Path) -> None:
    printed = run(package, "tests")
    outcomes = dict(re.findall(r"^(\S+) (PASSED|FAILED|SKIPPED)", printed, re.M))
    assert outcomes["tests/test_own.py::test_own"] == "PASSED"
    assert outcomes["contract::acme_gone::can_be_checked"] == "FAILED"
    of_word = {name: one for name, one in outcomes.items() if "::acme_word::" in name}
    assert len(of_word) == len(DECLARING) + len(ASKING)
    assert set(of_word.values()) == {"PASSED"}
    assert outcomes["contract::acme_counts::answers_the_same_again"] == "FAILED"
    assert outcomes["contract::acme_counts::works_in_a_worker"] == "SKIPPED"
    assert outcomes["contract::acme_counts::changes_nothing"] == "PASSED"
    assert "asked twice it gives two answers (sample 'wide': tag.label" in printed
    assert "stage 'acme_nowhere:Gone' cannot be imported" in printed
    assert "Traceback" not in printed
    for name, count in {"acme_photos": 11, "acme_keys": 6}.items():
        of_one = [one for test, one in outcomes.items() if f"::{name}::" in test]
        assert of_one == ["PASSED"] * count
    assert outcomes["contract::acme_twice::lists_items"] == "FAILED"
    assert outcomes["contract::acme_twice::reads_inputs"] == "SKIPPED"
    assert outcomes["contract::acme_empty::writes_files"] == "FAILED"
    assert outcomes["contract::acme_lost::can_be_checked"] == "FAILED"
    assert "the key 'url' is missing" in printed
    assert "return one from the hook pytest_florilegium_options(name)" in printed


def test_single_classes_can_be_named(package: Path) -> None:
    (package / "tests" / "conftest.py").unlink()
    folder = "florilegium.engine.sources.folder:FolderSource"
    names = [f"{PLUGINS}:Keys", f"{PLUGINS}:Counted", folder]
    printed = run(package, "tests", "-k", "writes_files or can_be", contract="\n  ".join(names))
    outcomes = dict(re.findall(r"^(\S+) (PASSED|FAILED|SKIPPED)", printed, re.M))
    shown = PLUGINS.replace(".", "::")  # as pytest prints names of tests
    assert outcomes == {
        f"contract::{shown}:Keys::writes_files": "PASSED",
        f"contract::{shown}:Counted::can_be_checked": "FAILED",
        "contract::florilegium::engine::sources::folder:FolderSource::can_be_checked": "FAILED",
    }
    assert "Counted' has no contract: derive it from Specialist, Filter, Source or" in printed


def test_a_source_that_finds_nothing_names_the_hook(package: Path) -> None:
    (package / "photos" / "1.png").unlink()
    name = "florilegium.engine.sources.folder:FolderSource"
    printed = run(package, "tests", contract=name)
    assert "folder:FolderSource::can_be_checked FAILED" in printed
    assert "no config that it can read: " in printed
    assert "return one from the hook pytest_florilegium_options(name)" in printed


def test_a_distribution_without_plugins_is_named(package: Path) -> None:
    printed = run(package, "tests", contract="pytest")
    assert "'pytest' has no entry point of the groups florilegium.stages, flori" in printed


def test_a_run_of_one_file_makes_no_other_tests(package: Path) -> None:
    assert "1 passed" in run(package, "tests/test_own.py")


def test_a_distribution_that_is_not_installed_is_told(package: Path) -> None:
    printed = run(package, "tests", contract="acme-word")
    assert "no distribution 'acme-word' is installed" in printed


def test_the_plugin_is_light() -> None:
    code = (
        "import sys, pytest, importlib.metadata\n"
        "before = set(sys.modules)\n"
        "(point,) = [one for one in importlib.metadata.entry_points(group='pytest11')"
        " if one.name == 'florilegium']\n"
        "point.load()\n"
        "print(sorted(set(sys.modules) - before))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    imported = {
        *("florilegium", "florilegium.testing", "florilegium.testing.plugin"),
        *("florilegium.engine", "florilegium.engine.core", "florilegium.engine.core.lazy"),
    }
    assert set(re.findall(r"'([^']+)'", done.stdout)) == imported

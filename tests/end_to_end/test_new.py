"""`florilegium new`, as a plugin's author calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from florilegium.pipelines.scaffold.kind import Kind
from tests.end_to_end.conftest import Command


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", Kind)
def test_it_writes_a_package_and_names_the_next_commands(
    florilegium: Command, here: Path, kind: Kind
) -> None:
    done = florilegium("new", kind, "My-Own")
    assert done.code == 0
    first, *commands = done.out.splitlines()
    assert first.startswith(f"my-own/src/my_own/{kind}.py: a")
    assert (here / f"my-own/src/my_own/{kind}.py").is_file()
    assert commands[:2] == ["  cd my-own && pip install -e '.[test]'", "  python -m pytest"]
    assert commands[2].startswith("  florilegium build quickstart ")
    assert "my_own" in commands[2]


def test_the_folder_may_be_another_one(florilegium: Command, here: Path) -> None:
    done = florilegium("new", "filter", "blur", "--output", "two words/blur")
    assert "cd 'two words/blur' && pip" in done.out
    assert (here / "two words/blur/pyproject.toml").is_file()


def test_a_folder_with_files_is_left_alone(florilegium: Command, here: Path) -> None:
    (here / "blur").mkdir()
    (here / "blur/own.txt").write_text("mine", "utf-8")
    done = florilegium("new", "filter", "blur")
    assert (done.code, done.out) == (2, "")
    assert "exists: choose another --output" in done.err
    assert [path.name for path in here.rglob("*")] == ["blur", "own.txt"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("specialst", "blur"), "'specialist', 'filter', 'sample_filter', 'source', 'exporter'"),
        (("filter", "numpy"), "there is a module 'numpy' already"),
        (("filter",), "Missing argument 'NAME'"),
        (("filter", "blur", "--output", "s3://bucket/blur"), "is a URL"),
    ],
)
def test_wrong_usage_is_told_and_writes_nothing(
    florilegium: Command, here: Path, words: tuple[str, ...], message: str
) -> None:
    done = florilegium("new", *words)
    assert done.code == 2
    assert message in done.err
    assert not list(here.iterdir())

"""The files of a new plugin's package."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from florilegium.engine.core.errors import UsageError
from florilegium.pipelines.scaffold.kind import Kind
from florilegium.pipelines.scaffold.names import Names, names_of
from florilegium.pipelines.scaffold.package import (
    TEMPLATES,
    command_of,
    files_of,
    requirement,
    write_package,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=Kind)
def names(request: pytest.FixtureRequest) -> Names:
    return names_of(request.param, "try-it-out")


def test_all_files_of_a_package_are_there(names: Names, tmp_path: Path) -> None:
    write_package(names, tmp_path / "new")
    written = {str(path.relative_to(tmp_path / "new")) for path in tmp_path.rglob("*.*")}
    assert {
        "pyproject.toml",
        "README.md",
        ".gitignore",
        "src/try_it_out/__init__.py",
        f"src/try_it_out/{names.kind}.py",
        "src/try_it_out/py.typed",
        "tests/test_try_it_out.py",
    } <= written
    assert list(tmp_path.iterdir()) == [tmp_path / "new"]


def test_nothing_of_a_template_is_left(names: Names) -> None:
    for path, content in files_of(names):
        assert "MODULE" not in path
        assert not path.endswith(".j2")
        if not path.endswith(".png"):
            assert "{{" not in content.decode()
            assert "{%" not in content.decode()


def test_the_entry_point_names_the_class(names: Names) -> None:
    files = dict(files_of(names))
    project = tomllib.loads(files["pyproject.toml"].decode())["project"]
    assert project["name"] == "try-it-out"
    assert project["entry-points"] == {
        names.group: {"try_it_out": f"try_it_out.{names.kind}:{names.class_name}"}
    }
    module = files[f"src/try_it_out/{names.kind}.py"].decode()
    assert f"\nclass {names.class_name}(" in module


def test_the_readme_has_the_command_that_shows_the_plugin(names: Names) -> None:
    assert command_of(names) in dict(files_of(names))["README.md"].decode()


def test_the_package_depends_on_the_api_that_it_is_made_for(names: Names) -> None:
    project = tomllib.loads(dict(files_of(names))["pyproject.toml"].decode())["project"]
    (wanted,) = map(Requirement, project["dependencies"])
    assert wanted.name == "florilegium"
    assert Version(version("florilegium")) in wanted.specifier


@pytest.mark.parametrize(
    ("installed", "wanted"),
    [("0.1.0", ">=0.1,<0.2"), ("0.9.3", ">=0.9,<0.10"), ("1.4.2", ">=1.4,<2")],
)
def test_a_later_api_is_not_accepted(installed: str, wanted: str) -> None:
    assert requirement(installed) == f"florilegium{wanted}"


def test_a_folder_with_files_is_never_written_to(names: Names, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("mine", "utf-8")
    with pytest.raises(UsageError, match="exists: choose another --output"):
        write_package(names, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["own.txt"]


@pytest.mark.parametrize("kind", ["file", "link to an empty folder", "dangling link"])
def test_what_is_no_folder_is_not_replaced(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "new"
    if kind == "file":
        target.write_text("mine", "utf-8")
    else:
        target.symlink_to(tmp_path / "elsewhere")
        if kind != "dangling link":
            (tmp_path / "elsewhere").mkdir()
    with pytest.raises(UsageError, match="exists"):
        write_package(names_of(Kind.FILTER, "try-it-out"), target)
    assert not target.is_dir() or not any(target.iterdir())


@pytest.mark.parametrize("path", ["file/new", "file/folder/new"])
def test_below_a_file_there_is_no_folder(path: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", "utf-8")
    with pytest.raises(UsageError, match=r"cannot be made .*: choose another --output"):
        write_package(names_of(Kind.FILTER, "try-it-out"), tmp_path / path)
    assert (tmp_path / "file").read_text("utf-8") == "mine"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    write_package(names_of(Kind.FILTER, "try-it-out"), tmp_path)
    assert (tmp_path / "pyproject.toml").is_file()


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_files(names: Names) -> object:
        yield "pyproject.toml", b""
        raise OSError("the disk is full")

    monkeypatch.setattr("florilegium.pipelines.scaffold.package.files_of", broken_files)
    with pytest.raises(OSError, match="the disk is full"):
        write_package(names_of(Kind.FILTER, "try-it-out"), tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_every_template_is_part_of_the_distribution() -> None:
    """What `package-data` leaves out is missing from an installation only."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        data = tomllib.load(file)["tool"]["setuptools"]["package-data"]
    patterns = data["florilegium.pipelines.scaffold"]
    found = {path for pattern in patterns for path in TEMPLATES.parent.glob(pattern)}
    assert {path for path in TEMPLATES.rglob("*") if path.is_file()} <= found


def test_the_written_python_passes_the_linter_and_is_formatted(tmp_path: Path) -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        rules = ",".join(tomllib.load(file)["tool"]["ruff"]["lint"]["select"])
    for kind in Kind:
        write_package(names_of(kind, f"my-{kind}"), tmp_path / kind)
        for command in (["check", "--select", rules], ["format", "--diff"]):
            options = ["--isolated", "--no-cache", "--line-length", "100", "."]
            done = subprocess.run(
                [sys.executable, "-m", "ruff", *command, *options],
                cwd=tmp_path / kind,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr


def test_a_folder_with_dots_is_made_and_an_empty_one_stays_the_same(tmp_path: Path) -> None:
    names = names_of(Kind.FILTER, "try-it-out")
    (tmp_path / "empty").mkdir()
    before = (tmp_path / "empty").stat().st_ino
    write_package(names, tmp_path / "nope" / ".." / "empty")
    assert (tmp_path / "empty").stat().st_ino == before
    assert (tmp_path / "empty" / "pyproject.toml").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]

"""What the wheel and the source distribution have in them."""

from __future__ import annotations

import tarfile
import tomllib
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

from tests.conftest import ROOT
from tests.package.conftest import FOLDERS, Built

UNPACKED = {"pipelines/filters/thresholds.md"}
"""Files of these folders that only a reader of the repository needs."""


def files_in(folder: Path) -> set[str]:
    """Return the paths of the files in a folder, without those that Python leaves there, and
    without those of folders that are links."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder.parent)) for path in found if path.parent.name != "__pycache__"
    }


def contents(wheel: Path) -> dict[str, bytes]:
    """Return the bytes of the files of a wheel by their names."""
    with ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_has_one_package_with_every_file_of_the_four_folders(built: Built) -> None:
    found = contents(built.wheel)
    packed = {name for name in found if ".dist-info/" not in name}
    linked = {name for folder in FOLDERS for name in files_in(ROOT / folder)} - UNPACKED
    expected = {f"florilegium/{name}" for name in linked} | files_in(ROOT / "florilegium")
    assert packed == expected
    for name in expected:
        assert found[name] == (ROOT / name).read_bytes(), name


def test_the_source_distribution_makes_the_same_wheel_as_the_checkout(built: Built) -> None:
    of_sdist, of_checkout = contents(built.wheel), contents(built.wheel_of_checkout)
    assert of_sdist.keys() == of_checkout.keys()
    different = {name for name in of_sdist if of_sdist[name] != of_checkout[name]}
    assert different == set()


def test_the_source_distribution_has_files_only_and_no_tests(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        members = archive.getmembers()
    assert all(member.isfile() or member.isdir() for member in members)
    top = {member.name.split("/")[1] for member in members if "/" in member.name}
    packed = {"florilegium", "pyproject.toml", "README.md", "LICENSE"}
    made = {"florilegium.egg-info", "PKG-INFO", "setup.cfg", "MANIFEST.in"}
    assert top == packed | made


def test_the_metadata_describes_the_package_and_names_no_page_that_is_not_there(
    built: Built,
) -> None:
    found = contents(built.wheel)
    (name,) = [one for one in found if one.endswith(".dist-info/METADATA")]
    metadata = message_from_bytes(found[name])
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    assert metadata["Summary"] == project["description"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra") or []) == set(project["optional-dependencies"])
    assert "Typing :: Typed" in (metadata.get_all("Classifier") or [])
    (top,) = [one for one in found if one.endswith("top_level.txt")]
    assert found[top] == b"florilegium\n"

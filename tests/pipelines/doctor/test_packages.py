"""Packages and extras, from the metadata of what is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from florilegium.pipelines.doctor.finding import ABSENT, OK, PROBLEM, WARNING, Finding
from florilegium.pipelines.doctor.packages import package_findings
from tests.pipelines.doctor.conftest import Install, by_name


def found(install: Install, *requires: str, python: str = ">=3.11") -> dict[str, Finding]:
    """Return what is found for a distribution of ours with these requirements."""
    extras = ("maps", "dev")
    install("florilegium", "9.9", requires=requires, extras=extras, python=python)
    return by_name(package_findings())


def test_a_package_that_fits_is_fine(install: Install) -> None:
    install("atlas-of-things", "2.1")
    finding = found(install, "atlas-of-things>=2.0")["atlas-of-things"]
    assert (finding.level, finding.text) == (OK, "2.1 (>=2.0)")


def test_a_package_that_is_missing_is_a_problem_with_its_cure(install: Install) -> None:
    finding = found(install, "atlas-of-things>=2.0")["atlas-of-things"]
    assert finding.level == PROBLEM
    assert finding.text == "not met: atlas-of-things>=2.0"
    assert finding.cure == "pip install 'atlas-of-things>=2.0'"


def test_a_package_that_is_too_old_names_both_versions(install: Install) -> None:
    install("atlas-of-things", "1.9")
    finding = found(install, "atlas-of-things>=2.0")["atlas-of-things"]
    assert finding.level == PROBLEM
    assert finding.text == "not met: atlas-of-things>=2.0 (1.9 is here)"


def test_a_requirement_of_another_python_does_not_count(install: Install) -> None:
    findings = found(install, 'atlas-of-things>=2.0; python_version < "3.8"')
    assert "atlas-of-things" not in findings
    assert "atlas-of-things" in found_again(install)


def found_again(install: Install) -> dict[str, Finding]:
    """Return what is found where the requirement is of this Python."""
    folder = install("unused", "1").joinpath("florilegium-9.9.dist-info", "METADATA")
    folder.write_text(folder.read_text().replace('< "3.8"', '>= "3.8"'))
    return by_name(package_findings())


def test_what_an_extra_of_a_dependency_needs_counts(install: Install) -> None:
    requires = [
        'globe>=3; extra == "round"', 'atlas[round]; extra == "all"',
        'chart>=1; extra == "flat"', "paper>=1",
    ]  # fmt: skip
    install("atlas", "1.0", requires=requires, extras=["round", "all", "flat"])
    finding = found(install, "atlas[all]>=1")["atlas"]
    assert (finding.level, finding.text) == (PROBLEM, "not met: globe>=3")
    assert finding.cure == "pip install 'atlas[all]>=1'"


@pytest.mark.parametrize(
    ("version", "level", "text"),
    [
        ("2.1", OK, "complete"),
        ("1.9", WARNING, "lacks atlas>=2.0 (1.9 is here), globe>=1"),
        ("", ABSENT, "lacks atlas>=2.0, globe>=1"),
    ],
)
def test_an_extra_lacks_what_is_missing_or_too_old(
    install: Install, version: str, level: str, text: str
) -> None:
    if version:
        install("atlas", version)
    if level == OK:
        install("globe", "1.0")
    always = 'compass>=1; python_version >= "3"'
    wanted = ('atlas>=2.0; extra == "maps"', 'globe>=1; extra == "maps"', always)
    finding = found(install, *wanted)["maps"]
    assert (finding.topic, finding.level, finding.text) == ("extras", level, text)
    assert finding.cure == ("" if level == OK else "pip install 'florilegium[maps]'")


def test_extras_of_developers_are_not_listed(install: Install) -> None:
    assert set(found(install, 'atlas; extra == "dev"')) == {"Python", "florilegium", "maps"}


def test_another_python_is_a_problem(install: Install) -> None:
    finding = found(install, python=">=9.1")["Python"]
    assert finding.level == PROBLEM
    assert ">=9.1 is needed" in finding.text
    assert finding.cure == "make an environment with a Python >=9.1"


def test_where_it_is_installed_is_shown(install: Install) -> None:
    finding = found(install)["florilegium"]
    folder = install("unused", "1")
    assert (finding.level, finding.text) == (OK, f"9.9, in {folder}")
    origin = {"url": "file:///home/me/florilegium", "dir_info": {"editable": True}}
    Path(folder, "florilegium-9.9.dist-info", "direct_url.json").write_text(json.dumps(origin))
    again = by_name(package_findings())["florilegium"]
    assert again.text == "9.9, editable, in /home/me/florilegium"


def test_this_environment_has_all_that_the_quickstart_needs() -> None:
    findings = list(package_findings())
    assert [one for one in findings if one.level == PROBLEM] == []
    extras = {one.name: one.level for one in findings if one.topic == "extras"}
    assert extras["starter"] == extras["photographs"] == OK

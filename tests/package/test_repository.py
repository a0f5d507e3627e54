"""What a contributor meets first: files that are valid, and name targets and files that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

GITHUB = ROOT / ".github"
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def read_yaml(path: Path) -> Any:
    """Return the value of a file; what YAML 1.1 reads as `true` is the key `on` of a workflow."""
    return yaml.safe_load(path.read_text("utf-8"))


def project() -> dict[str, Any]:
    """Return the table `project` of pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return dict(tomllib.load(file)["project"])


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "README.md", "ARCHITECTURE.md", "SECURITY.md"])
def test_every_target_of_make_that_a_document_names_is_there(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    lines = re.findall(r"(?:^|`)make ([a-z][a-z -]*)", text, re.MULTILINE)
    named = {one for line in lines for one in line.split()}
    assert named - TARGETS == set()


def test_the_head_of_the_makefile_has_every_target_but_clean_and_the_parts_of_others() -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    needed = re.findall(r"^[a-z][a-z-]*: (.*)$|\$\(MAKE\) (.*)$", text, re.MULTILINE)
    parts = {word for line in needed for word in " ".join(line).split()}
    head = set(re.findall(r"^# make ([a-z-]+)", text, re.MULTILINE))
    assert head == TARGETS - {"clean"} - parts
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == TARGETS


def test_the_quick_tests_are_files_that_are_there() -> None:
    text = (ROOT / "Makefile").read_text("utf-8").replace("\\\n", " ")
    quick = re.search(r"^QUICK := (.*)$", text, re.MULTILINE)
    assert quick
    assert all((ROOT / one).exists() for one in quick[1].split())


def test_the_workflow_checks_pull_requests_on_every_python_and_the_main_branch_in_full() -> None:
    workflow = read_yaml(GITHUB / "workflows" / "ci.yml")
    assert workflow[True] == {"pull_request": None, "push": {"branches": ["main"]}}
    assert workflow["permissions"] == {"contents": "read"}
    check, test = workflow["jobs"]["check"], workflow["jobs"]["test"]
    classified = re.findall(r"Python :: (3\.\d+)", "\n".join(project()["classifiers"]))
    assert check["strategy"]["matrix"]["python"] == classified == ["3.11", "3.12", "3.13"]
    for job, event, target in ((check, "pull_request", "check"), (test, "push", "test")):
        assert job["if"] == f"github.event_name == '{event}'"
        *uses, run = job["steps"]
        assert run["run"] == f"make {target} PYTHON=python"
        assert target in TARGETS
        assert all(re.fullmatch(r"actions/[\w-]+@v\d+\.\d+\.\d+", one["uses"]) for one in uses)


def test_pre_commit_runs_programs_of_the_environment_and_downloads_nothing() -> None:
    (repository,) = read_yaml(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    programs = {hook["entry"].split()[0] for hook in repository["hooks"]}
    assert programs == {f".venv/bin/{one}" for one in ("ruff", "mypy", "lint-imports")}
    assert all(hook["language"] == "system" for hook in repository["hooks"])


FORMS = sorted(path.name for path in (GITHUB / "ISSUE_TEMPLATE").iterdir())


def test_there_are_forms_for_bugs_features_and_plugins() -> None:
    assert FORMS == ["bug.yml", "config.yml", "feature.yml", "plugin.yml"]


@pytest.mark.parametrize("name", [one for one in FORMS if one != "config.yml"])
def test_a_form_has_a_name_a_description_and_fields_with_labels(name: str) -> None:
    form = read_yaml(GITHUB / "ISSUE_TEMPLATE" / name)
    assert form.keys() == {"name", "description", "labels", "body"}
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) > 0
    for field in fields:
        assert field["type"] in {"textarea", "input", "dropdown"}
        assert field["attributes"]["label"]
        assert bool(field["attributes"].get("options")) == (field["type"] == "dropdown")
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_the_citation_is_of_this_version_and_has_the_keys_of_the_format() -> None:
    """Keys by the schema of the Citation File Format 1.2.0."""
    citation = read_yaml(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    optional = {"type", "abstract", "version", "license", "keywords", "references"}
    assert citation.keys() - {"cff-version", "message", "title", "authors"} == optional
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["authors"] == [{"name": "The Florilegium authors"}]
    assert citation["version"] == project()["version"]
    assert citation["license"] == project()["license"]
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= reference.keys()
        assert all({"type", "value"} == one.keys() for one in reference["identifiers"])


@pytest.mark.parametrize("name", ["SECURITY.md", "CONTRIBUTING.md"])
def test_every_test_and_folder_that_a_document_names_is_there(name: str) -> None:
    lines = [
        line
        for line in (ROOT / name).read_text("utf-8").splitlines()
        if not line.startswith("|")  # tables of recipes name files to write
    ]
    place = r"`((?:tests|engine|pipelines|specialists|configs)/[\w/.]*\w)`"
    paths = re.findall(place, "\n".join(lines))
    assert paths
    assert [one for one in paths if not (ROOT / one).exists()] == []

"""How a run knows its corrections, and that they ask no other stage again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.planning.config import RunConfig
from florilegium.engine.planning.graph import Graph, plan
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.commands.loading import load
from florilegium.pipelines.corrections.run import with_corrections
from florilegium.pipelines.corrections.store import add_corrections
from tests.building import configure
from tests.pipelines.corrections.said import said, seen

STAGES: dict[str, Any] = {
    "shapes_colour": {},
    "grabcut": {},
    "boxes": {"use": "merge", "rule": "union", "tasks": ["object_detection"]},
}
FILTERS: dict[str, Any] = {"superseded": {"by": {"boxes": ["object_detection"]}}, "nms": {}}


def config(output: Path | str, **keys: Any) -> RunConfig:
    return configure("photos", output, **{"specialists": STAGES, "filters": FILTERS, **keys})


@pytest.fixture
def corrected(tmp_path: Path) -> Path:
    add_corrections(Folder(str(tmp_path)), [said("rejected", seen("a"))])
    return tmp_path


def graph(one: RunConfig) -> Graph:
    return plan(one, source_tasks=[])


def test_corrections_in_the_output_are_applied_before_all_other_filters(corrected: Path) -> None:
    found = with_corrections(config(f"{corrected}/"))
    where = {"corrections": f"{corrected}/corrections"}
    assert found.specialists == {**STAGES, "human": where}
    assert next(iter(found.filters.items())) == ("human_first", where)
    assert [node.name for node in graph(found).filters] == ["human_first", *FILTERS]


def test_a_run_without_corrections_stays_as_it_is(tmp_path: Path) -> None:
    for output in (str(tmp_path), "unknown-scheme://bucket/out"):
        assert with_corrections(config(output)) == config(output)


def test_a_config_that_names_the_stages_is_obeyed(corrected: Path) -> None:
    own = {**STAGES, "people": {"use": "human", "corrections": "elsewhere"}}
    named = config(corrected, specialists=own)
    assert with_corrections(named) == named


def test_the_command_line_knows_them(corrected: Path) -> None:
    document = {"source": "photos", "output": str(corrected), "specialists": STAGES}
    found = load(document, overrides=[], no_plugins=False).config
    assert "human" in found.specialists
    off = load(document, overrides=["specialists.human={}"], no_plugins=False).config
    assert (off.specialists["human"], off.filters) == ({}, {}), "switched off"


def test_no_other_stage_and_no_gate_depends_on_what_people_say(corrected: Path) -> None:
    """`nms` judges before `grabcut` is asked, though people add boxes of the same task."""
    before, after = graph(config(corrected)), graph(with_corrections(config(corrected)))
    stages = {node.name: node for node in after.nodes}
    for node in before.nodes:
        assert stages[node.name].fingerprint == node.fingerprint
        assert stages[node.name].gate == node.gate
    assert any(node.gate.filters for node in before.nodes), "there is one"
    assert stages["human"].revision != ""
    add_corrections(Folder(str(corrected)), [said("rejected", seen("b"), minute=1)])
    other = {node.name: node for node in graph(with_corrections(config(corrected))).nodes}
    changed = {name for name in stages if stages[name].fingerprint != other[name].fingerprint}
    assert changed == {"human", "human_first"}


def test_a_stage_that_names_people_reads_them(corrected: Path) -> None:
    named = {**STAGES, "grabcut": {"reads": ["boxes", "human"]}}
    found = graph(with_corrections(config(corrected, specialists=named)))
    masks = next(node for node in found.specialists if node.name == "grabcut")
    assert list(masks.upstream) == ["boxes", "human"]

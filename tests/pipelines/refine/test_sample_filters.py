"""A refinement with sample filters: what they drop is in no round, and no student is asked."""

from __future__ import annotations

import json
from pathlib import Path

from florilegium.engine.planning.config import load_document, validated
from florilegium.engine.planning.graph import plan
from florilegium.engine.results.dataset import Dataset, open_dataset
from florilegium.engine.storage.folder import Folder
from florilegium.engine.untrusted.safe_yaml import read_yaml
from florilegium.pipelines.dataset.lineage import read_lineage, round_folder
from florilegium.pipelines.refine.config import RefineConfig
from florilegium.pipelines.refine.loop import refine
from florilegium.pipelines.refine.stages import round_config, with_students
from florilegium.pipelines.verify.verify import verify_dataset
from tests.conftest import ROOT
from tests.pipelines.refine.conftest import Configure


def test_what_a_sample_filter_drops_is_in_no_round(configure: Configure, tmp_path: Path) -> None:
    output = tmp_path / "out"
    keys = {"sample_filters": {"image_exposure": {"least_contrast": 12.0}}}
    refine(configure(output, audit_samples=8, keys=keys))
    root = Folder(str(output))
    kept = {one.key for one in open_dataset(str(output))}
    assert len(kept) == 20, "four of 24 scenes have less contrast"
    for folder in (round_folder(root, 0), round_folder(root, 1), root):
        assert {one.key for one in Dataset.of(folder)} == kept
        assert list(verify_dataset(folder)) == []
    first, second = read_lineage(root)
    assert set(second.audited) < kept
    for student in ("fold_0", "fold_1"):
        made = json.loads((output / f"rounds/1/students/{student}/training.json").read_text())
        assert 0 < made["examples"]["object_detection"] < len(kept)
    manifest = json.loads((output / "rounds/1/manifest.json").read_text())
    stages = {stage["name"]: stage for stage in manifest["stages"].values()}
    assert stages["student"]["gate"]["sample_filters"] == ["image_exposure"]
    assert first.number == 0


def test_the_recipe_with_the_sections_of_the_documentation_can_be_refined() -> None:
    page = (ROOT / "docs" / "how-to" / "curate.md").read_text("utf-8")
    block = page.partition("## Refine")[2].partition("```yaml\n")[2].partition("```")[0]
    added = read_yaml(block.encode(), where="the block")
    document = load_document(ROOT / "configs" / "curated.yaml", changes={})
    for section, stages in added.items():
        document[section] = {**document.get(section, {}), **stages}
    config = validated(RefineConfig, document, where="curated")
    student = "package://florilegium/specialists/tiny_florence2"
    stages = with_students(config, [student], 1)
    assert stages["boxes"]["reads"] == ["imagenet_cam", "student"]
    graph = plan(round_config(config, output="out", stages=stages), is_dry=True)
    (node,) = [one for one in graph.specialists if one.name == "student"]
    assert node.gate.sample_filters == tuple(one.name for one in graph.sample_filters)
    asked = next(one for one in graph.specialists if one.name == "template_questions")
    assert {"boxes", "template_caption"} & set(asked.inputs)

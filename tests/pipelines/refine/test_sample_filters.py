"""A refinement with sample filters: what they drop is in no round, and no student is asked."""

from __future__ import annotations

import json
from pathlib import Path

from florilegium.engine.results.dataset import Dataset, open_dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.lineage import read_lineage, round_folder
from florilegium.pipelines.refine.loop import refine
from florilegium.pipelines.verify.verify import verify_dataset
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

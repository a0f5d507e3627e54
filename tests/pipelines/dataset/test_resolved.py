"""The resolved config builds the same dataset again."""

from __future__ import annotations

from pathlib import Path

import yaml

from florilegium.engine.core.sample import is_in_share
from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import BRIGHTEST, build


def test_a_share_of_the_samples_stays_a_share(album: Path, tmp_path: Path) -> None:
    half = {"bright": {**BRIGHTEST["bright"], "sample_share": 0.5}}
    manifest = build(album, tmp_path / "out", specialists=half)
    assert manifest.totals.dead_letters == 0
    samples = list(open_dataset(str(tmp_path / "out")))
    annotated = {one.key for one in samples if one.annotations}
    assert annotated == {one.key for one in samples if is_in_share(one.sha256, 0.5)}
    assert 0 < len(annotated) < len(samples)
    assert list(verify_dataset(Folder(str(tmp_path / "out")))) == []
    stages = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())["specialists"]
    assert stages["bright"]["sample_share"] == 0.5
    again = build(album, tmp_path / "again", specialists=stages)
    assert again.recipe == manifest.recipe

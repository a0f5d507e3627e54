"""The large recipe of FLD-5B, with tiny checkpoints for its models and services on loopback."""

from __future__ import annotations

from pathlib import Path

from engine.execution.run import prepare
from pipelines.build import build_dataset
from tests.recipes import PERMISSIVE, annotation_types, tiny_recipe


def test_all_eight_annotation_types_come_out(small_photographs: Path, tmp_path: Path) -> None:
    config = tiny_recipe(
        "fld5b", tmp_path / "models", overrides=PERMISSIVE,
        source=str(small_photographs), output=str(tmp_path / "out"), runner={"kind": "in_process"},
    )  # fmt: skip
    manifest = build_dataset(prepare(config))
    assert manifest.totals.dead_letters == 0, manifest.dead_letters
    assert all(annotation_types(tmp_path / "out").values()), annotation_types(tmp_path / "out")
    assert {"annotator", "second_annotator", "aggregator"} <= set(manifest.totals.specialists)

"""Parquet for the hub, read back by `datasets`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import UsageError
from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.export.exporter import export
from florilegium.pipelines.export.hf import HfConfig, HfExporter
from florilegium.pipelines.export.selection import parse_selection

SPLIT = parse_selection(split="train=.5,validation=.5")


def test_all_that_has_a_column_comes_back_through_datasets(scenes: Path, tmp_path: Path) -> None:
    exporter = HfExporter(HfConfig(rows_per_file=4))
    exported = export(str(scenes), exporter, tmp_path / "out", SPLIT)
    found = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    rows = {row["key"]: row for part in found.values() for row in part}
    assert {name: len(part) for name, part in found.items()} == exported.images
    assert set(exported.images) == {"train", "validation"}
    names = found["train"].features["objects"]["category"].feature.names
    for sample in open_dataset(str(scenes)):
        row = rows.pop(sample.key)
        assert row["sha256"] == sample.sha256
        np.testing.assert_array_equal(np.asarray(row["image"]), sample.pixels())
        by_task: dict[str, list[Annotation]] = {}
        for one in sample.annotations:
            by_task.setdefault(one.task, []).append(one)
        objects, boxes = row["objects"], by_task["object_detection"]
        masks = {one.parent_id: one.mask_rle for one in by_task["segmentation"]}
        for number, box in enumerate(boxes):
            left, top, width, height = objects["bbox"][number]
            np.testing.assert_allclose(
                (left, top, left + width, top + height), box.box_xyxy, atol=0.011
            )
            assert names[objects["category"][number]] == box.label
            assert objects["id"][number] == box.id
            assert objects["specialist"][number] == box.specialist
            assert objects["score"][number] == box.score
            mask = masks[box.id]
            assert mask is not None
            assert objects["mask"][number] == mask.counts
        assert len(objects["id"]) == len(boxes)
        texts = {(one.task, one.text) for one in sample.annotations if one.kind == "text"}
        assert set(zip(row["captions"]["task"], row["captions"]["text"], strict=True)) == texts
        assert row["lines"]["text"] == [one.text for one in by_task.get("ocr", ())]
        assert row["lines"]["quad"] == [list(one.quad) for one in by_task.get("ocr", ())]
    assert not rows
    assert {task for task, _ in exported.left_out} == {"phrase_grounding"}


def test_without_parts_all_is_train_and_files_have_so_many_rows(
    scenes: Path, tmp_path: Path
) -> None:
    exported = export(str(scenes), HfExporter(HfConfig(rows_per_file=5)), tmp_path / "out")
    assert exported.images == {"train": 14}
    assert sorted(one.name for one in (tmp_path / "out/data").iterdir()) == [
        f"train-0000{number}.parquet" for number in range(3)
    ]


def test_a_selection_of_no_image_is_refused(scenes: Path, tmp_path: Path) -> None:
    selection = parse_selection(where="key == 'nothing'")
    with pytest.raises(UsageError, match="no image that is selected"):
        export(str(scenes), HfExporter(HfConfig()), tmp_path / "out", selection)

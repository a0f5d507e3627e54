"""Export for fine-tuning tools."""

from __future__ import annotations

import json

import pytest

from engine.errors import UsageError
from engine.storage import Folder
from pipelines.dataset import read_dataset
from pipelines.training.config import TrainConfig
from pipelines.training.export import ANNOTATIONS, TEST, TRAIN, VALID, export_jsonl, part_of
from specialists.florence2.format import FLORENCE2_TASKS


def test_every_sample_lies_in_the_folder_of_its_digest_with_a_line_per_task(scenes, tmp_path):
    exported = export_jsonl(str(scenes), TrainConfig(model="here"), tmp_path / "out")
    rows = {}
    for part in (TRAIN, VALID, TEST):
        lines = (tmp_path / "out" / part / ANNOTATIONS).read_text("utf-8").splitlines()
        rows[part] = [json.loads(line) for line in lines]
        assert exported.lines.get(part, 0) == len(lines)
    for sample in read_dataset(Folder(str(scenes))):
        part = part_of(sample.sha256)
        name = f"{sample.key}.png"
        assert (tmp_path / "out" / part / name).read_bytes() == sample.image
        prefixes = [row["prefix"] for row in rows[part] if row["image"] == name]
        assert {"<OD>", "<CAPTION>"} <= set(prefixes)
        assert len(prefixes) == len(set(prefixes))
    assert sum(exported.images.values()) == 14


def test_lines_have_the_three_fields_and_known_markers(scenes, tmp_path):
    export_jsonl(str(scenes), TrainConfig(model="here"), tmp_path / "out")
    markers = tuple(task.marker for task in FLORENCE2_TASKS.values())
    for line in (tmp_path / "out" / TRAIN / ANNOTATIONS).read_text("utf-8").splitlines():
        row = json.loads(line)
        assert sorted(row) == ["image", "prefix", "suffix"]
        assert row["prefix"].startswith(markers)


def test_lines_are_counted_by_task_and_a_task_without_any_has_none(scenes, tmp_path):
    config = TrainConfig(model="here", tasks={"caption": 1, "region_description": 1, "ocr": 0})
    exported = export_jsonl(str(scenes), config, tmp_path / "out")
    assert exported.tasks == {"caption": 14, "region_description": 0}


def test_a_dataset_that_gives_no_example_is_refused_and_nothing_is_left(scenes, tmp_path):
    question = {"each": "metadata.questions", "prompt": "{question}", "target": "{answer}"}
    config = TrainConfig(model="here", tasks={"ask": 1}, custom={"ask": question})
    with pytest.raises(UsageError, match=r"gives an example of ask: check `tasks`"):
        export_jsonl(str(scenes), config, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_left_alone_and_a_broken_export_leaves_nothing(
    scenes, tmp_path, monkeypatch
):
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists"):
        export_jsonl(str(scenes), TrainConfig(model="here"), tmp_path / "out")

    def broken(sha256: str) -> str:
        raise OSError("the disk is full")

    monkeypatch.setattr("pipelines.training.export.part_of", broken)
    with pytest.raises(OSError, match="full"):
        export_jsonl(str(scenes), TrainConfig(model="here"), tmp_path / "other")
    assert not (tmp_path / "other").exists()

"""What is selected of a dataset: the same in tables and samples, whatever the format."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from florilegium.engine.core.annotation import Annotation, to_columns
from florilegium.engine.core.errors import ConfigError, UsageError
from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.export.coco import CocoConfig, CocoExporter
from florilegium.pipelines.export.exporter import LeftOut, export
from florilegium.pipelines.export.few_shot import FewShotConfig, FewShotExporter
from florilegium.pipelines.export.florence2 import Florence2Config, Florence2Exporter
from florilegium.pipelines.export.selected import SelectedDataset
from florilegium.pipelines.export.selected_rows import selected_rows
from florilegium.pipelines.export.selection import parse_selection
from florilegium.pipelines.export.things import INSTANCE_TASKS, things_of
from tests.pipelines.training.labels import BOX, OTHER, mask, region, text


def selected(scenes: Path, **texts: object) -> SelectedDataset:
    return SelectedDataset.select_of(Folder(str(scenes)), parse_selection(**texts))  # type: ignore[arg-type]


def ids(dataset: SelectedDataset) -> set[tuple[str, str, str]]:
    """Keys, ids and labels of all annotations, which samples and tables agree about."""
    found = {(sample.key, one.id, one.label) for sample in dataset for one in sample.annotations}
    rows = [row for table in dataset.tables(["key", "id", "label"]) for row in table.to_pylist()]
    assert found == {tuple(row.values()) for row in rows}
    return found


def test_without_options_everything_is_selected(scenes: Path) -> None:
    dataset = selected(scenes)
    everything = open_dataset(str(scenes))
    assert [sample.annotations for sample in dataset] == [one.annotations for one in everything]
    assert {(one.part, one.shard in dataset.shards) for one in dataset} == {("", True)}
    assert ids(dataset)


def rows_of(*annotations: Annotation, **texts: str) -> dict[str, str]:
    """Return the labels of the selected annotations of one image by id."""
    columns = {"key": pa.array(["a"] * len(annotations)), **to_columns(annotations)}
    table = selected_rows(pa.table(columns), parse_selection(**texts))  # type: ignore[arg-type]
    return dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))


STAR = region("object_detection", BOX, label="star", id="star", score=0.3)
CAT = region("object_detection", OTHER, label="cat", id="cat", score=0.9)
MASKS = (mask(BOX, id="of_star", parent_id="star"), mask(OTHER, id="of_cat", parent_id="cat"))


def test_a_mask_is_judged_by_the_label_of_its_box_and_takes_it_over_without_the_box() -> None:
    def chosen(**texts: str) -> dict[str, str]:
        return rows_of(CAT, *MASKS, STAR, **texts)

    assert chosen(where="label == 'star'") == {"of_star": "", "star": "star"}
    assert chosen(where="label == 'star'", tasks="segmentation") == {"of_star": "star"}
    assert chosen(where="score > 0.5 or task == 'segmentation'") == {
        "cat": "cat",
        "of_star": "star",
        "of_cat": "",
    }
    assert rows_of(MASKS[0], where="label == 'star'") == {}
    assert rows_of(MASKS[0], where="label == ''") == {"of_star": ""}


def test_areas_are_those_of_boxes_and_of_masks_without_a_box() -> None:
    def area(box_xyxy: tuple[float, ...]) -> float:
        return (box_xyxy[2] - box_xyxy[0]) * (box_xyxy[3] - box_xyxy[1])

    found = [
        rows_of(one, text("caption", "A star.", id="text"), where=f"area == {area(box_xyxy)}")
        for one, box_xyxy in ((STAR, BOX), (replace(MASKS[1], box_xyxy=()), OTHER))
    ]
    assert [set(one) for one in found] == [{"star"}, {"of_cat"}]
    assert set(rows_of(STAR, text("caption", "A star.", id="text"), where="area is None")) == {
        "text"
    }


def test_phrases_leave_with_their_caption() -> None:
    caption = text("caption", "A star.", id="text")
    phrase = replace(
        STAR,
        kind="phrase",
        task="phrase_grounding",
        label="",
        text="A star",
        id="phrase",
        parent_id="text",
        span=(0, 6),
    )
    assert set(rows_of(caption, phrase, where="label == ''")) == {"text", "phrase"}
    assert set(rows_of(caption, phrase, where="kind == 'phrase'")) == set()


def test_images_stay_without_annotations_unless_they_are_dropped_or_excluded(scenes: Path) -> None:
    stars = "label == 'star'"
    whole = list(selected(scenes, where=stars))
    full = list(selected(scenes, where=stars, drop_empty=True))
    assert len(whole) == 14
    assert {one.key for one in full} == {one.key for one in whole if one.annotations}
    assert 0 < len(full) < 14
    key = whole[3].key
    assert [one.key for one in selected(scenes, where=f"key == {key!r} and {stars}")] == [key]


def test_classes_are_renamed_and_dropped_with_their_masks(scenes: Path, tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text("star: sign\ncircle:\n'*': thing\n")
    before = ids(selected(scenes, tasks="object_detection,segmentation"))
    dataset = selected(scenes, tasks="object_detection,segmentation", classes=path)
    labels = {label for *_, label in before} - {"", "circle", "star"}
    assert labels
    assert dataset.classes_of(["object_detection"]) == ("sign", "thing")
    after = {(key, name): label for key, name, label in ids(dataset)}
    masks = selected(scenes, tasks="segmentation", where="label == 'circle'")
    gone = {(key, name) for key, name, label in before if label == "circle"}
    gone |= {(key, name) for key, name, _ in ids(masks)}
    assert gone
    assert set(after) == {(key, name) for key, name, _ in before} - gone


def test_a_reference_opens_the_image_where_it_lies(scenes: Path, tmp_path: Path) -> None:
    selection = parse_selection(images="reference", split="a=.5,b=.5")
    export(str(scenes), CocoExporter(CocoConfig()), tmp_path / "out", selection)
    images = {one.sha256: one.image for one in open_dataset(str(scenes))}
    found = []
    for part in "ab":
        document = json.loads((tmp_path / f"out/annotations/instances_{part}.json").read_text())
        for one in document["images"]:
            with fsspec.open(one["file_name"]) as file:
                found.append(file.read())
    assert sorted(found) == sorted(images.values())
    assert not (tmp_path / "out/images").exists()


def test_parts_of_coco_hold_all_images_once(scenes: Path, tmp_path: Path) -> None:
    selection = parse_selection(split="train=.5,val=.5")
    exported = export(str(scenes), CocoExporter(CocoConfig()), tmp_path / "out", selection)
    names, count = [], 0
    for part in ("train", "val"):
        document = json.loads((tmp_path / f"out/annotations/instances_{part}.json").read_text())
        own = [one["file_name"] for one in document["images"]]
        assert sorted(own) == sorted(one.name for one in (tmp_path / "out/images" / part).iterdir())
        names += own
        count += len(document["annotations"])
    assert len(set(names)) == exported.images == 14
    assert count == exported.instances


def test_a_split_replaces_the_parts_of_florence2(scenes: Path, tmp_path: Path) -> None:
    exporter = Florence2Exporter(Florence2Config(tasks={"caption": 1}))
    export(str(scenes), exporter, tmp_path / "out", parse_selection(split="a=.5,b=.5"))
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["a", "b"]
    assert len(list((tmp_path / "out").glob("*/*.jpg"))) == 14


@pytest.mark.parametrize(
    ("exporter", "texts", "message"),
    [
        (FewShotExporter(FewShotConfig(audit="x")), {"where": "score > 0"}, "cannot do --where"),
        (
            Florence2Exporter(Florence2Config()),
            {"images": "reference"},
            "cannot do --images: leave it out; it can do --classes, --drop-empty, --split",
        ),
        (CocoExporter(CocoConfig()), {"tasks": "captoin"}, "did you mean 'caption'"),
        (CocoExporter(CocoConfig()), {"images": "link"}, "nothing can link to them"),
        (CocoExporter(CocoConfig()), {"images": "copied"}, "did you mean 'copy'"),
        (CocoExporter(CocoConfig()), {"tasks": "caption,"}, "names an empty task"),
    ],
)
def test_what_a_format_cannot_do_is_refused(
    scenes: Path, tmp_path: Path, exporter: object, texts: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        export(str(scenes), exporter, tmp_path / "out", parse_selection(**texts))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "maps no label"),
        ("[cat]", "maps no label"),
        ("cat: 3", "give a text"),
        ("1: cat", "put it in quotes"),
        ("cat: ' '", "give a text"),
    ],
)
def test_a_class_map_that_is_none_is_refused(tmp_path: Path, document: str, message: str) -> None:
    (tmp_path / "classes.yaml").write_text(document)
    with pytest.raises((UsageError, ConfigError), match=message):
        parse_selection(classes=tmp_path / "classes.yaml")


def test_the_class_of_a_mask_is_that_of_its_parent_whatever_its_task(
    scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    category = region("region_category", BOX, label="comet", id="star")
    rows = (category, *MASKS, CAT)
    table = pa.table({"key": pa.array(["a"] * len(rows)), **to_columns(rows)})
    monkeypatch.setattr(SelectedDataset, "tables", lambda _, columns: [table.select(columns)])
    classes = selected(scenes).classes_of(INSTANCE_TASKS)
    assert classes == ("cat", "comet")
    assert {one.label for one in things_of(rows, INSTANCE_TASKS, LeftOut())} == set(classes)

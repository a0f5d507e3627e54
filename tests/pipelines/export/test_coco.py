"""COCO, read back by pycocotools."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, StorageError, UsageError
from florilegium.engine.planning.config import validated
from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.pipelines.export.coco import (
    CAPTIONS,
    INSTANCES,
    CocoConfig,
    CocoExporter,
    fields_of,
)
from florilegium.pipelines.export.exporter import LeftOut, export
from florilegium.pipelines.export.things import Thing, things_of
from tests.building import build
from tests.pipelines.training.labels import BOX, OTHER, mask, region, text

TASKS = CocoConfig().tasks


@pytest.fixture(scope="module")
def exported(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that is true about fourteen scenes, as COCO."""
    output = tmp_path_factory.mktemp("coco") / "out"
    export(str(scenes), CocoExporter(CocoConfig()), output)
    return output


@pytest.fixture(scope="module")
def samples(scenes: Path) -> list[DatasetSample]:
    return list(open_dataset(str(scenes)))


def of(sample: DatasetSample, task: str) -> dict[str, Annotation]:
    return {one.id: one for one in sample.annotations if one.task == task}


def test_boxes_masks_and_labels_come_back_through_pycocotools(
    exported: Path, samples: list[DatasetSample]
) -> None:
    coco = COCO(str(exported / INSTANCES))
    names = {one["id"]: one["name"] for one in coco.loadCats(coco.getCatIds())}
    for number, sample in enumerate(samples, start=1):
        boxes = of(sample, "object_detection")
        masks = {one.parent_id: one for one in of(sample, "segmentation").values()}
        found = coco.loadAnns(coco.getAnnIds(imgIds=[number]))
        assert {one["annotation_id"] for one in found} == set(boxes) == set(masks)
        for one in found:
            box = boxes[one["annotation_id"]]
            left, top, width, height = one["bbox"]
            assert (left, top, left + width, top + height) == pytest.approx(box.box_xyxy, abs=0.01)
            assert names[one["category_id"]] == box.label
            rle = masks[box.id].mask_rle
            assert rle is not None
            pixels = coco_mask.decode(rle._asdict())
            np.testing.assert_array_equal(coco.annToMask(one), pixels)
            assert one["area"] == pixels.sum() > 0
            assert one["iscrowd"] == 0


def test_captions_come_back_through_pycocotools(
    exported: Path, samples: list[DatasetSample]
) -> None:
    coco = COCO(str(exported / CAPTIONS))
    for number, sample in enumerate(samples, start=1):
        found = coco.loadAnns(coco.getAnnIds(imgIds=[number]))
        texts = {(one.task, one.text) for one in sample.annotations if one.kind == "text"}
        assert {(one["task"], one["caption"]) for one in found} == texts
        assert len(found) == 3


def test_every_image_is_there_under_its_digest_with_its_upright_size(
    exported: Path, samples: list[DatasetSample]
) -> None:
    for name in (INSTANCES, CAPTIONS):
        document = json.loads((exported / name).read_text("ascii"))
        assert document["licenses"] == []
        assert [one["id"] for one in document["images"]] == list(range(1, 15))
        for one, sample in zip(document["images"], samples, strict=True):
            assert one["file_name"] == f"{sample.sha256}.jpg"
            assert one["key"] == sample.key
            with Image.open(exported / "images" / one["file_name"]) as image:
                assert image.size == (one["width"], one["height"]) == (sample.width, sample.height)
    assert len(list((exported / "images").iterdir())) == 14


def test_an_export_measured_against_itself_is_perfect(exported: Path, tmp_path: Path) -> None:
    truth = COCO(str(exported / INSTANCES))
    rows = truth.loadAnns(truth.getAnnIds())
    answers = [{**row, "score": 0.5} for row in rows]
    for kind in ("bbox", "segm"):
        evaluation = COCOeval(truth, truth.loadRes(json.loads(json.dumps(answers))), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == pytest.approx(1.0)


def test_what_coco_does_not_have_is_counted(
    scenes: Path, samples: list[DatasetSample], tmp_path: Path
):
    exported = export(str(scenes), CocoExporter(CocoConfig()), tmp_path / "out")
    count = Counter(one.task for sample in samples for one in sample.annotations)
    assert exported.left_out == {
        (task, "task_not_exported"): count[task] for task in ("phrase_grounding", "ocr")
    }
    warned = list(exported.warnings())
    assert f"ocr: {count['ocr']} annotations left out, task_not_exported" in warned
    assert exported.instances == count["object_detection"]
    assert exported.captions == 3 * len(samples)


def test_boxes_alone_have_the_area_of_the_box(scenes: Path, tmp_path: Path) -> None:
    config = CocoConfig(tasks=("object_detection",))
    exported = export(str(scenes), CocoExporter(config), tmp_path / "out")
    for one in json.loads((tmp_path / "out" / INSTANCES).read_text())["annotations"]:
        assert one["area"] == pytest.approx(one["bbox"][2] * one["bbox"][3])
        assert "segmentation" not in one
    assert exported.captions == 0
    assert exported.left_out["caption", "task_not_exported"] == 14
    assert exported.left_out["segmentation", "task_not_exported"] == exported.instances


def test_categories_are_numbered_by_name_or_as_an_earlier_export_had_them(
    scenes: Path, tmp_path: Path
) -> None:
    names = {}
    for folder, first in (("plain", ()), ("again", ()), ("kept", ("zebra", "star"))):
        exporter = CocoExporter(CocoConfig(categories=first))
        export(str(scenes), exporter, tmp_path / folder)
        document = json.loads((tmp_path / folder / INSTANCES).read_text())
        names[folder] = {one["name"]: one["id"] for one in document["categories"]}
    assert names["plain"] == names["again"]
    assert list(names["plain"]) == sorted(names["plain"])
    assert list(names["plain"].values()) == list(range(1, len(names["plain"]) + 1))
    assert "star" in names["plain"]
    assert names["kept"] == {
        name: number
        for number, name in enumerate(
            ["zebra", "star", *(name for name in names["plain"] if name != "star")], start=1
        )
    }


def things(*annotations: Annotation) -> tuple[list[Thing], LeftOut]:
    left_out = LeftOut()
    return list(things_of(annotations, TASKS, left_out)), left_out


def test_a_mask_joins_the_box_that_it_was_made_from_and_a_second_one_is_reported() -> None:
    box = region("object_detection", BOX, label="cat", id="box", score=0.5)
    first = mask(OTHER, id="first", parent_id="box", score=0.9)
    (thing,), left_out = things(mask(BOX, id="second", parent_id="box"), box, first)
    assert (thing.id, thing.label, thing.box_xyxy, thing.score) == ("box", "cat", BOX, 0.5)
    assert thing.mask_rle == mask(BOX).mask_rle
    assert left_out == {("segmentation", "second_mask_of_a_box"): 1}


def test_a_mask_whose_box_is_not_exported_is_a_thing_with_the_box_around_it() -> None:
    proposal = region("region_proposal", OTHER, label="dog", id="proposal")
    alone = mask(OTHER, id="alone", parent_id="proposal")
    bare = Annotation(kind="region", task="segmentation", label="cat", mask_rle=alone.mask_rle)
    (first, second), left_out = things(proposal, alone, bare)
    assert (first.label, first.box_xyxy) == ("dog", OTHER)
    assert (second.label, second.box_xyxy) == ("cat", OTHER)
    assert not left_out


def test_what_has_no_label_or_no_place_is_reported() -> None:
    placeless = Annotation(kind="region", task="object_detection", label="cat")
    found, left_out = things(mask(BOX), placeless, text("caption", "A cat."))
    assert found == []
    assert left_out == {
        ("segmentation", "no_label"): 1,
        ("object_detection", "no_box_and_no_mask"): 1,
    }


def test_a_label_that_only_the_tar_has_is_an_error_and_no_traceback() -> None:
    (thing,), _ = things(region("object_detection", BOX, label="cat", id="box"))
    assert fields_of(thing, {"cat": 7})["category_id"] == 7
    with pytest.raises(StorageError, match="'box' differs between the tar and the Parquet file"):
        fields_of(thing, {"dog": 1})


def test_images_of_an_original_dataset_are_exported_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "photos").mkdir()
    stored = Image.new("RGB", (64, 48), "green")
    stored.paste("red", (0, 0, 32, 48))
    stored.save(tmp_path / "photos" / "a.jpg", exif=exif, quality=95)
    build(tmp_path / "photos", tmp_path / "out", images="original")
    export(str(tmp_path / "out"), CocoExporter(CocoConfig()), tmp_path / "coco")
    (entry,) = json.loads((tmp_path / "coco" / INSTANCES).read_text())["images"]
    with Image.open(tmp_path / "coco" / "images" / entry["file_name"]) as image:
        assert image.size == (entry["width"], entry["height"]) == (48, 64)
        assert np.allclose(image.getpixel((24, 10)), (255, 0, 0), atol=4)


def test_a_broken_export_leaves_nothing(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("florilegium.pipelines.export.coco.fields_of", broken)
    with pytest.raises(OSError, match="full"):
        export(str(scenes), CocoExporter(CocoConfig()), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_without_anything_that_coco_has_is_refused(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path / "out")
    config = CocoConfig(tasks=("segmentation", "caption"))
    with pytest.raises(UsageError, match="nothing to export of segmentation, caption"):
        export(str(tmp_path / "out"), CocoExporter(config), tmp_path / "coco")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ["segmentatoin"]}, "did you mean 'segmentation'"),
        ({"tasks": ["ocr"]}, "'ocr' has no meaning in COCO"),
        ({"tasks": []}, "give at least 1"),
        ({"categories": ["cat", "dog", "cat"]}, "'cat' occurs 2 times"),
        ({"category": ["cat"]}, "did you mean 'categories'"),
    ],
)
def test_options_without_meaning_are_refused(options: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validated(CocoConfig, options, where="test")

"""YOLO: lines of boxes and polygons, read back by arithmetic; tests/readers has a reader's word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import MaskRLE
from florilegium.engine.core.errors import UsageError
from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.export.exporter import LeftOut, export
from florilegium.pipelines.export.selected import SelectedSample
from florilegium.pipelines.export.selection import parse_selection
from florilegium.pipelines.export.yolo import YoloConfig, YoloExporter
from tests.pipelines.training.labels import BOX, OTHER, mask, region

SPLIT = parse_selection(split="train=.5,val=.5")


def rows(path: Path) -> list[tuple[int, np.ndarray]]:
    lines = [line.split() for line in path.read_text().splitlines()]
    return [(int(name), np.array(numbers, float)) for name, *numbers in lines]


def test_boxes_come_back_within_a_hundredth_of_a_pixel(scenes: Path, tmp_path: Path) -> None:
    exported = export(str(scenes), YoloExporter(YoloConfig()), tmp_path / "out", SPLIT)
    document = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert (document["train"], document["val"]) == ("images/train", "images/val")
    count = 0
    for sample in open_dataset(str(scenes)):
        (labels,) = (tmp_path / "out/labels").glob(f"*/{sample.key}.txt")
        image = tmp_path / "out/images" / labels.parent.name / f"{sample.key}.jpg"
        assert image.read_bytes() == sample.image
        boxes = [one for one in sample.annotations if one.task == "object_detection"]
        side = np.array([sample.width, sample.height])
        for (name, numbers), box in zip(rows(labels), boxes, strict=True):
            centre, size = numbers[:2] * side, numbers[2:] * side
            corners = np.concatenate([centre - size / 2, centre + size / 2])
            np.testing.assert_allclose(corners, box.box_xyxy, atol=0.01)
            assert document["names"][name] == box.label
            count += 1
    assert count == exported.objects
    assert sum(exported.images.values()) == 14
    assert exported.left_out["caption", "task_not_exported"] == 14


def test_polygons_cover_their_masks(scenes: Path, tmp_path: Path) -> None:
    exporter = YoloExporter(YoloConfig(kind="segment"))
    exported = export(str(scenes), exporter, tmp_path / "out")
    assert "train and val are the same images" in "\n".join(exported.warnings())
    count = misfits = 0
    for sample in open_dataset(str(scenes)):
        masks = {one.parent_id: one.mask_rle for one in sample.annotations if one.mask_rle}
        boxes = [one for one in sample.annotations if one.task == "object_detection"]
        side = (sample.width, sample.height)
        found = rows(tmp_path / "out/labels" / f"{sample.key}.txt")
        for (_, numbers), box in zip(found, boxes, strict=True):
            polygon = (numbers.reshape(-1, 2) * side).ravel().tolist()
            drawn = coco_mask.frPyObjects([polygon], sample.height, sample.width)
            whole = masks[box.id]
            assert whole is not None
            misfits += coco_mask.iou(drawn, [whole._asdict()], [0])[0, 0] < 0.95
            count += 1
    assert count == exported.objects
    assert misfits <= sum(exported.lost.values()) < count / 2


def lines_of(kind: str, *annotations: object) -> tuple[list[str], LeftOut, dict[str, int]]:
    sample = SelectedSample(
        key="a", sha256="0" * 64, width=100, height=100, annotations=annotations, image=b""
    )
    exporter, left_out = YoloExporter(YoloConfig(kind=kind)), LeftOut()
    lost: LeftOut = LeftOut()
    lines = list(exporter._lines(sample, {"cat": 7}, left_out, lost))
    return lines, left_out, {name: count for name, count in lost.items() if count}


def test_what_yolo_cannot_hold_is_counted() -> None:
    cat = region("object_detection", BOX, label="cat", id="cat")
    outside = region("object_detection", (120.0, 0.0, 130.0, 9.0), label="cat", id="far")
    lines, left_out, _ = lines_of("detect", cat, outside)
    assert lines == ["7 0.200000 0.200000 0.200000 0.200000\n"]
    assert left_out == {("object_detection", "outside_of_the_image"): 1}
    lines, left_out, _ = lines_of("segment", cat)
    assert (lines, left_out) == ([], {("object_detection", "no_mask"): 1})


def test_holes_and_further_parts_of_a_mask_are_lost_and_counted() -> None:
    pixels = np.zeros((100, 100), np.uint8, order="F")
    pixels[10:50, 10:50] = 1
    pixels[20:30, 20:30] = 0
    whole = pixels.copy(order="F")
    whole[20:30, 20:30] = 1
    pixels[80:90, 80:90] = 1
    rle = coco_mask.encode(pixels)
    one = mask(OTHER, label="cat", id="mask")
    ring = type(one)(
        kind="region",
        task="segmentation",
        label="cat",
        id="ring",
        mask_rle=MaskRLE((100, 100), rle["counts"].decode()),
    )
    (line,), _, lost = lines_of("segment", ring)
    numbers = np.array(line.split()[1:], float) * 100
    (drawn,) = coco_mask.frPyObjects([numbers.tolist()], 100, 100)
    assert coco_mask.iou([drawn], [coco_mask.encode(whole)], [0])[0, 0] > 0.95
    assert sorted(lost.values()) == [1, 1]


def test_images_without_objects_have_an_empty_file_and_classes_keep_their_order(
    scenes: Path, tmp_path: Path
) -> None:
    (tmp_path / "classes.yaml").write_text("star: zebra\n'*':\n")
    selection = parse_selection(classes=tmp_path / "classes.yaml")
    export(str(scenes), YoloExporter(YoloConfig()), tmp_path / "out", selection)
    document = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert document["names"] == {0: "zebra"}
    files = [one.read_text() for one in (tmp_path / "out/labels").iterdir()]
    assert len(files) == 14
    assert "" in files
    assert any(files)


def test_a_dataset_without_objects_is_refused(scenes: Path, tmp_path: Path) -> None:
    selection = parse_selection(tasks="caption")
    with pytest.raises(UsageError, match="has no object"):
        export(str(scenes), YoloExporter(YoloConfig()), tmp_path / "out", selection)

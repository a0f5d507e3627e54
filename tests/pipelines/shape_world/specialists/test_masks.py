from __future__ import annotations

import cv2
import numpy as np
import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.pipelines.shape_world.specialists.masks import ShapeMasks, ShapeMasksConfig
from florilegium.specialists.regions.overlap import box_overlap
from tests.specialists.conftest import SampleOf
from tests.specialists.segmentation.test_grabcut import box, disc, pixels_of


@pytest.fixture(scope="module")
def shape_masks() -> ShapeMasks:
    specialist = ShapeMasks(ShapeMasksConfig())
    specialist.load()
    return specialist


def iou(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / (found | truth).sum())


def noisy(pixels: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 8, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


def test_a_noisy_disc_is_cut_out_of_its_background(
    shape_masks: ShapeMasks, drawing: SampleOf
) -> None:
    truth = disc(128, 128, (60, 50), 20)
    pixels = noisy(np.where(truth[..., None], (200, 40, 40), (170, 180, 160)))
    sample = drawing(pixels, box("circle", 40, 30, 81, 71))
    [[mask]] = shape_masks.predict([sample])
    assert iou(pixels_of(mask), truth) > 0.95
    assert mask.label == "circle"
    assert mask.parent_id == sample.annotations[0].id != ""
    overlap, _ = box_overlap(mask.box_xyxy, sample.annotations[0].box_xyxy)
    assert mask.score == pytest.approx(overlap.item())


def test_stripes_are_filled_and_the_hole_of_a_ring_is_not(
    shape_masks: ShapeMasks, drawing: SampleOf
) -> None:
    square = np.zeros((128, 128), bool)
    square[60:100, 70:110] = True
    ring = disc(128, 128, (35, 35), 22) & ~disc(128, 128, (35, 35), 11)
    pixels = np.full((128, 128, 3), 190)
    pixels[square] = (40, 60, 200)
    pixels[square & (np.arange(128) % 8 < 4)] = (150, 160, 240)
    pixels[ring] = (30, 150, 60)
    boxes = box("square", 70, 60, 110, 100), box("ring", 13, 13, 58, 58)
    [masks] = shape_masks.predict([drawing(noisy(pixels), *boxes)])
    for mask, truth in zip(masks, (square, ring), strict=True):
        assert iou(pixels_of(mask), truth) > 0.9


def test_a_mask_excludes_its_neighbour_and_may_exceed_its_box(
    shape_masks: ShapeMasks, drawing: SampleOf
) -> None:
    truth, other = disc(128, 128, (50, 60), 20), disc(128, 128, (80, 60), 20)
    pixels = np.full((128, 128, 3), 190, np.uint8)
    pixels[other] = (240, 200, 40)
    pixels[truth] = (200, 40, 40)
    [[mask]] = shape_masks.predict([drawing(pixels, box("circle", 32, 42, 69, 79))])
    assert iou(pixels_of(mask), truth) > 0.85


def test_the_mask_of_a_large_image_has_its_size(shape_masks: ShapeMasks, drawing: SampleOf) -> None:
    pixels = np.full((600, 900, 3), 190, np.uint8)
    cv2.circle(pixels, (450, 300), 150, (200, 40, 40), -1)
    [[mask]] = shape_masks.predict([drawing(pixels, box("circle", 300, 150, 601, 451))])
    assert iou(pixels_of(mask), disc(600, 900, (450, 300), 150)) > 0.93


def test_a_box_without_contrast_has_no_mask(shape_masks: ShapeMasks, drawing: SampleOf) -> None:
    grey = np.full((100, 100, 3), 127, np.uint8)
    boxes = (
        box("wall", 0, 0, 100, 100),
        box("square", 30, 30, 60, 60),
        box("dot", 10, 10, 12, 12),
        box("ghost", 150, 150, 200, 200),
        Annotation(kind="region", task="object_detection", label="thought"),
    )
    assert shape_masks.predict([drawing(grey, *boxes), drawing(grey)]) == [[], []]

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import MaskRLE
from florilegium.pipelines.filters.regions import Regions
from tests.pipelines.filters.statements import box, caption, statements


def mask_of(height: int, width: int, x1: int, y1: int, x2: int, y2: int) -> MaskRLE:
    pixels = np.zeros((height, width), dtype=np.uint8, order="F")
    pixels[y1:y2, x1:x2] = 1
    encoded = coco_mask.encode(pixels)
    return MaskRLE(tuple(encoded["size"]), encoded["counts"].decode())


def test_a_region_has_its_own_box_or_that_around_its_quad_or_mask():
    quad = (12.0, 20.0, 60.0, 25.0, 58.0, 40.0, 10.0, 35.0)
    mask = mask_of(50, 100, 30, 5, 90, 45)
    rows = [
        caption("A cat."),
        box(1, 2, 3, 4, quad=quad, mask_rle=mask),
        box(quad=quad, mask_rle=mask),
        box(mask_rle=mask),
    ]
    boxes = Regions(statements(rows)).box_xyxy
    assert np.isnan(boxes[0]).all()
    assert boxes[1:].tolist() == [[1, 2, 3, 4], [10, 20, 60, 40], [30, 5, 90, 45]]


def test_overlap_is_measured_both_ways():
    rows = [box(0, 0, 10, 10), box(5, 0, 10, 10), box(20, 0, 30, 10)]
    iou, inside = Regions(statements(rows)).overlap(np.array([0, 1]), np.array([0, 1, 2]))
    assert iou.tolist() == [[1, 0.5, 0], [0.5, 1, 0]]
    assert inside.tolist() == [[1, 1, 0], [0.5, 1, 0]]


def test_masks_are_compared_by_their_pixels_and_with_boxes_by_their_boxes():
    left, right = mask_of(10, 10, 0, 0, 5, 10), mask_of(10, 10, 5, 0, 10, 10)
    whole = (0, 0, 10, 10)
    rows = [box(*whole, mask_rle=left), box(*whole, mask_rle=right), box(*whole)]
    iou, inside = Regions(statements(rows)).overlap(np.array([0, 2]), np.array([0, 1, 2]))
    assert iou.tolist() == inside.tolist() == [[1, 0, 1], [1, 1, 1]]


@pytest.mark.parametrize("size", [(10, 20), (20, 10)])
def test_masks_of_different_image_sizes_do_not_overlap(size):
    rows = [box(mask_rle=mask_of(10, 10, 0, 0, 9, 9)), box(mask_rle=mask_of(*size, 0, 0, 9, 9))]
    iou, inside = Regions(statements(rows)).overlap(np.array([0]), np.array([1]))
    assert iou.tolist() == inside.tolist() == [[0]]

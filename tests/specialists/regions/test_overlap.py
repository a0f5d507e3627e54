from __future__ import annotations

import numpy as np
import pytest
from pycocotools.mask import encode

from florilegium.specialists.regions.overlap import box_overlap, mask_overlap


def test_boxes_have_a_union_and_a_share_inside_each_other() -> None:
    iou, inside = box_overlap([(0, 0, 10, 10), (5, 0, 10, 10)], [(0, 0, 10, 10), (8, 0, 18, 10)])
    np.testing.assert_allclose(iou, [[1, 2 / 18], [0.5, 2 / 13]])
    np.testing.assert_allclose(inside, [[1, 0.2], [0.5, 0.2]])


def test_relative_boxes_are_compared_alike() -> None:
    iou, _ = box_overlap((0, 0, 0.5, 1), (0.25, 0, 0.75, 1))
    assert iou.item() == pytest.approx(1 / 3)


def test_boxes_that_touch_or_have_no_area_overlap_nothing() -> None:
    iou, inside = box_overlap((0, 0, 10, 10), [(10, 0, 20, 10), (5, 0, 5, 10)])
    assert iou.tolist() == inside.tolist() == [[0, 0]]


@pytest.mark.parametrize(("boxes", "others"), [(0, 0), (2, 0), (0, 2)])
def test_nothing_overlaps_nothing(boxes: int, others: int) -> None:
    for overlap in box_overlap(np.ones((boxes, 4)), np.ones((others, 4))):
        assert overlap.shape == (boxes, others)


def test_masks_are_compared_by_their_pixels() -> None:
    pixels = np.zeros((10, 10, 2), dtype=np.uint8, order="F")
    pixels[:, :, 0] = 1
    pixels[:5, :, 1] = 1
    whole, upper = encode(pixels)
    iou, inside = mask_overlap([whole], [whole, upper])
    assert iou.tolist() == [[1, 0.5]]
    assert inside.tolist() == [[1, 1]]
    _, inside = mask_overlap([upper], [whole])
    assert inside.tolist() == [[0.5]]

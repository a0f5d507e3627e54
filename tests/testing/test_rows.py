"""Two answers of a stage are the same but for what rounding can change."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.testing.rows import difference_of


def masked(pixels: np.ndarray) -> list[Annotation]:
    encoded = coco_mask.encode(np.asfortranarray(pixels, dtype=np.uint8))
    mask = MaskRLE(size=pixels.shape, counts=encoded["counts"].decode())
    return [Annotation(kind="region", task="segmentation", label="a", mask_rle=mask)]


@pytest.mark.parametrize(("flipped", "is_same"), [(0, True), (3, True), (8, False)])
def test_masks_may_differ_in_a_hundredth_of_their_pixels(flipped: int, is_same: bool) -> None:
    pixels = np.zeros((40, 60))
    pixels[5:25, 10:40] = 1  # 600 pixels
    other = pixels.copy()
    other[5, 10 : 10 + flipped] = 0
    assert (difference_of(masked(pixels), masked(other)) == "") is is_same


def test_a_mask_of_another_size_or_none_is_another_mask() -> None:
    some = masked(np.ones((4, 6)))
    assert "mask_rle" in difference_of(some, masked(np.ones((6, 4))))
    none = [Annotation(kind="region", task="segmentation", label="a")]
    assert "mask_rle" in difference_of(some, none)

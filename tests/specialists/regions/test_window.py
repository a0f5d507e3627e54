from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask

from florilegium.specialists.regions.window import Window, around, encoded, tight_box

LONG = (40, 200, 3)
"""The shape of an image that is 200 wide and 40 high."""


def test_a_window_has_rows_columns_and_a_size() -> None:
    window = Window(left=3, top=5, right=10, bottom=25)
    pixels = np.arange(40 * 200).reshape(40, 200)[window.rows, window.columns]
    assert pixels.shape == (20, 7)
    assert pixels[0, 0] == 5 * 200 + 3
    assert window.size_wh == (7, 20)


def test_a_margin_is_a_share_of_each_side() -> None:
    assert around(np.array([50.0, 10, 150, 20]), 0.1, LONG) == (40, 9, 160, 21)
    assert around(np.array([50.0, 10, 150, 20]), 0.0, LONG) == (50, 10, 150, 20)


def test_a_window_covers_every_pixel_that_a_box_touches() -> None:
    assert around(np.array([50.9, 10.1, 60.1, 20.9]), 0.0, LONG) == (50, 10, 61, 21)


def test_a_window_ends_at_the_borders_of_a_long_image() -> None:
    assert around(np.array([100.0, 2, 198, 39]), 0.5, LONG) == (51, 0, 200, 40)
    assert around(np.array([0.0, 0, 200, 40]), 2.0, LONG) == (0, 0, 200, 40)
    assert around(np.array([1.0, 30, 9, 39]), 1.0, (200, 40)) == (0, 21, 17, 48)


def test_the_box_of_a_mask_is_that_of_its_pixels_in_the_image() -> None:
    window = Window(left=30, top=7, right=50, bottom=17)
    mask = np.zeros((10, 20), dtype=bool)
    mask[2, 4:9] = mask[6, 5] = True
    assert tight_box(mask, window) == (34.0, 9.0, 39.0, 14.0)
    mask[:] = False
    mask[0, 0] = True
    assert tight_box(mask, window) == (30.0, 7.0, 31.0, 8.0)


def test_a_mask_is_encoded_where_its_window_lies() -> None:
    window = Window(left=30, top=7, right=33, bottom=9)
    mask = np.array([[True, False, True], [False, True, True]])
    rle = encoded(mask, window, LONG)
    assert rle.size == (40, 200)
    whole = coco_mask.decode({"size": list(rle.size), "counts": rle.counts})
    assert sorted(zip(*np.nonzero(whole), strict=True)) == [(7, 30), (7, 32), (8, 31), (8, 32)]

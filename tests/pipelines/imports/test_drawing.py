"""Polygons of strangers are drawn within limits: pycocotools allocates by their length."""

from __future__ import annotations

import numpy as np
import pytest

from florilegium.pipelines.imports.drawing import mask_of

ZIGZAG = np.array([[0, 0], [10_000, 10_000]] * 500, np.float64)


def test_polygons_that_are_too_long_or_too_large_are_refused() -> None:
    with pytest.raises(ValueError, match="pixels of length"):
        mask_of([ZIGZAG], (10_000, 10_000))
    with pytest.raises(ValueError, match="a mask of 2147483647 x 9 pixels"):
        mask_of([ZIGZAG], (2**31 - 1, 9))

from __future__ import annotations

import numpy as np
import pytest

from specialists.regions.outline import outline


def rectangles(*boxes: tuple[int, int, int, int], shape: tuple[int, int] = (60, 300)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return mask


def extents(polygons: list[np.ndarray]) -> list[list[float]]:
    return [[*one.min(axis=0).tolist(), *one.max(axis=0).tolist()] for one in polygons]


LARGE, MIDDLE, SMALL = (200, 5, 290, 55), (10, 10, 60, 40), (100, 20, 115, 30)


def test_parts_of_a_long_mask_are_outlined_where_they_lie_the_largest_first() -> None:
    polygons = outline(rectangles(SMALL, MIDDLE, LARGE), corners=12)
    assert [len(one) for one in polygons] == [4, 4, 4]
    np.testing.assert_allclose(extents(polygons), [LARGE, MIDDLE, SMALL], atol=0.3)


@pytest.mark.parametrize(
    ("corners", "parts"),
    [
        (12, [LARGE, MIDDLE, SMALL]),
        (11, [LARGE, MIDDLE]),
        (8, [LARGE, MIDDLE]),
        (7, [LARGE]),
        (4, [LARGE]),
    ],
)
def test_the_smallest_parts_are_left_out_where_corners_do_not_suffice(
    corners: int, parts: list[tuple[int, ...]]
) -> None:
    polygons = outline(rectangles(MIDDLE, LARGE, SMALL), corners=corners)
    assert sum(map(len, polygons)) <= corners
    np.testing.assert_allclose(extents(polygons), parts, atol=0.3)


@pytest.mark.parametrize("corners", [1, 3, 4])
def test_a_rectangle_has_four_corners_however_few_are_asked_for(corners: int) -> None:
    (polygon,) = outline(rectangles(LARGE), corners=corners)
    np.testing.assert_allclose(extents([polygon]), [LARGE], atol=0.3)
    assert len(polygon) == 4


def test_a_small_mask_is_outlined_to_the_edges_of_its_pixels() -> None:
    (polygon,) = outline(rectangles((2, 1, 7, 4), shape=(6, 11)), corners=8)
    np.testing.assert_allclose(extents([polygon]), [[2, 1, 7, 4]], atol=0.02)


def test_a_large_mask_is_not_enlarged_and_its_outline_runs_through_its_outer_pixels() -> None:
    (polygon,) = outline(rectangles((100, 20, 500, 90), shape=(120, 600)), corners=4)
    np.testing.assert_allclose(extents([polygon]), [[100.5, 20.5, 499.5, 89.5]])

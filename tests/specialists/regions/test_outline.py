from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import Annotation
from florilegium.pipelines.training.config import TrainConfig
from florilegium.specialists.florence2.format import dequantise, quantise
from florilegium.specialists.regions.outline import outline
from florilegium.specialists.segmentation.grabcut import GrabCut
from tests.specialists.conftest import SampleOf


def rectangles(*boxes: tuple[int, int, int, int], shape: tuple[int, int] = (60, 300)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return mask


def extents(polygons: list[np.ndarray]) -> list[list[float]]:
    return [[*one.min(axis=0).tolist(), *one.max(axis=0).tolist()] for one in polygons]


LARGE, MIDDLE, SMALL = (200, 5, 290, 55), (10, 10, 60, 40), (100, 20, 115, 30)


def test_parts_of_a_long_mask_are_outlined_where_they_lie_the_largest_first() -> None:
    polygons = outline(rectangles(SMALL, MIDDLE, LARGE), corners=12, min_iou=1.0)
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
    polygons = outline(rectangles(MIDDLE, LARGE, SMALL), corners=corners, min_iou=1.0)
    assert sum(map(len, polygons)) <= corners
    np.testing.assert_allclose(extents(polygons), parts, atol=0.3)


@pytest.mark.parametrize("corners", [1, 3, 4])
def test_a_rectangle_has_four_corners_however_few_are_asked_for(corners: int) -> None:
    (polygon,) = outline(rectangles(LARGE), corners=corners, min_iou=1.0)
    np.testing.assert_allclose(extents([polygon]), [LARGE], atol=0.3)
    assert len(polygon) == 4


def test_a_small_mask_is_outlined_to_the_edges_of_its_pixels() -> None:
    (polygon,) = outline(rectangles((2, 1, 7, 4), shape=(6, 11)), corners=8, min_iou=1.0)
    np.testing.assert_allclose(extents([polygon]), [[2, 1, 7, 4]], atol=0.02)


def test_a_large_mask_is_not_enlarged_and_its_outline_runs_through_its_outer_pixels() -> None:
    (polygon,) = outline(rectangles((50, 20, 580, 90), shape=(120, 600)), corners=4, min_iou=1.0)
    np.testing.assert_allclose(extents([polygon]), [[50.5, 20.5, 579.5, 89.5]])


def test_a_small_object_of_a_large_image_is_outlined_to_its_edges() -> None:
    mask = rectangles((1500, 1200, 1520, 1210), shape=(1400, 2000))
    (polygon,) = outline(mask, corners=4, min_iou=1.0)
    np.testing.assert_allclose(extents([polygon]), [[1500, 1200, 1520, 1210]], atol=0.05)


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    return np.hypot(rows - centre[1], columns - centre[0]) < radius


def overlap(polygons: list[np.ndarray], mask: np.ndarray) -> float:
    written = [polygon.ravel().tolist() for polygon in polygons]
    drawn = coco_mask.decode(coco_mask.frPyObjects(written, *mask.shape)).any(axis=2)
    return float((drawn & mask).sum() / (drawn | mask).sum())


def signed_area(polygon: np.ndarray) -> float:
    """Return an area that is positive if a polygon runs clockwise as seen in an image."""
    x, y = polygon.T
    return float(x @ np.roll(y, -1) - np.roll(x, -1) @ y) / 2


def test_a_polygon_is_clockwise_from_the_corner_nearest_the_top_left() -> None:
    (polygon,) = outline(rectangles(LARGE), corners=8, min_iou=0.95)
    left, top, right, bottom = LARGE
    clockwise = [(left, top), (right, top), (right, bottom), (left, bottom)]
    np.testing.assert_allclose(polygon, clockwise, atol=0.3)


def test_near_is_measured_in_widths_and_heights_of_the_image_as_in_location_tokens() -> None:
    """In pixels (10, 60) is nearer than (80, 40); in location tokens, (10, 600) and (80, 400), it
    is not."""
    mask = rectangles((10, 60, 200, 90), (80, 40, 200, 90), shape=(100, 1000))
    (polygon,) = outline(mask, corners=8, min_iou=1.0)
    assert len(polygon) == 6
    np.testing.assert_allclose(polygon[0], (80, 40), atol=0.3)
    np.testing.assert_allclose(polygon[-2], (10, 60), atol=0.3)


@pytest.mark.parametrize(("min_iou", "most"), [(0.8, 8), (0.95, 16), (0.97, 20), (0.99, 40)])
def test_an_outline_has_as_few_corners_as_its_overlap_allows(min_iou: float, most: int) -> None:
    mask = disc((300, 400), (250, 120), 80)
    (polygon,) = outline(mask, corners=200, min_iou=min_iou)
    assert overlap([polygon], mask) >= min_iou - 0.005, "pixels are drawn half in, half out"
    assert most / 2 < len(polygon) <= most
    assert signed_area(polygon) > 0


def test_no_more_corners_than_allowed_whatever_the_overlap() -> None:
    mask = disc((300, 400), (250, 120), 80)
    (polygon,) = outline(mask, corners=12, min_iou=0.99)
    assert 4 < len(polygon) <= 12


def test_specks_that_hardly_change_the_overlap_have_no_polygon_of_their_own() -> None:
    mask = disc((300, 400), (250, 120), 80)
    mask[10, 10] = mask[290, 30] = mask[5:8, 390] = True
    assert len(outline(mask, corners=200, min_iou=0.95)) == 1
    mask[150:280, 20:120] = True
    assert len(outline(mask, corners=200, min_iou=0.95)) == 2


def test_holes_are_filled_for_the_format_has_none() -> None:
    whole = disc((300, 400), (200, 150), 120)
    ring = whole & ~disc((300, 400), (200, 150), 60)
    (polygon,) = outline(ring, corners=200, min_iou=0.97)
    assert overlap([polygon], whole) >= 0.965
    assert overlap([polygon], ring) < 0.8


def test_parts_are_clockwise_each_and_the_largest_comes_first() -> None:
    polygons = outline(rectangles(SMALL, MIDDLE, LARGE), corners=12, min_iou=1.0)
    areas = [signed_area(polygon) for polygon in polygons]
    assert areas == sorted(areas, reverse=True)
    assert min(areas) > 0


@pytest.mark.parametrize(
    ("name", "box_xyxy"),
    [("flower", (150, 100, 460, 345)), ("cat", (60, 30, 390, 270)), ("cup", (60, 40, 540, 360))],
)
def test_the_outline_of_a_mask_of_a_photograph_keeps_it_in_location_tokens(
    grabcut: GrabCut, photograph: SampleOf, name: str, box_xyxy: tuple[float, ...]
) -> None:
    """With the defaults of a training: 23 corners on average over 24 such masks."""
    config = TrainConfig(model="here")
    thing = Annotation(kind="region", task="object_detection", label="it", box_xyxy=box_xyxy)
    sample = photograph(name, thing)
    ((found,),) = grabcut.predict([sample])
    assert found.mask_rle
    polygons = outline(found.mask_rle, corners=config.polygon_corners, min_iou=config.polygon_iou)
    size_wh = (sample.width, sample.height)
    again = [dequantise(quantise(polygon, size_wh), size_wh) for polygon in polygons]
    mask = coco_mask.decode(
        {"size": list(found.mask_rle.size), "counts": found.mask_rle.counts}
    ).astype(bool)
    assert overlap(again, mask) >= 0.95
    assert 10 < sum(map(len, polygons)) < 80
    assert all(signed_area(polygon) > 0 for polygon in polygons)

"""Outlines of masks as polygons in Florence-2's order, with as few corners as a mask needs.

A polygon runs clockwise, as in the Florence-2 paper (section 3.1), and starts at the corner nearest
the top left of the image: in published answers that is the first corner or its neighbour.
Florence-2's format has no holes: they are filled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile

import numpy as np
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import MaskRLE

_FINE_PX = 512
"""Smaller masks are enlarged first, as contours run half a pixel inside of the mask."""
_FIRST_TOLERANCE_PX, _GROWTH = 0.35, 1.2
"""The first tolerance of simplification, and the factor of the next ones. Chosen by hand."""
_FEWEST_CORNERS = 4

Polygons = list[np.ndarray]
"""Corners (n, 2) as x, y, whole numbers, of each polygon."""


def outline(mask: MaskRLE | np.ndarray, *, corners: int, min_iou: float) -> list[np.ndarray]:
    """Return polygons (n, 2) of x, y in pixels around the parts of a mask, largest first.

    They are the simplest whose overlap with the mask, its holes filled, is at least `min_iou`,
    0..1. Polygons of more than `corners` corners together are simplified further, and if that is
    not enough, the smallest parts are left out. Four corners are always allowed. An empty mask has
    no outline.
    """
    pixels = _pixels(mask)
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not len(rows):
        return []
    fine, enlarged = _enlarged(pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    polygons = _simplest(fine, enlarged, max(corners, _FEWEST_CORNERS), min_iou)
    corner_xy = (columns[0], rows[0])
    placed = [(polygon + 0.5) / enlarged + corner_xy for polygon in polygons]
    return [_in_order(polygon, pixels.shape) for polygon in placed]


def _simplest(fine: np.ndarray, enlarged: int, corners: int, min_iou: float) -> Polygons:
    contours = _contours(fine)
    whole = _drawn(_simplified(contours, 0.0), fine.shape)
    fitting = (
        polygons
        for polygons in _ever_simpler(contours[: max(1, corners // 3)], enlarged)
        if sum(map(len, polygons)) <= corners
    )
    chosen = next(fitting)
    for simpler in takewhile(
        lambda polygons: _iou(_drawn(polygons, fine.shape), whole) >= min_iou, fitting
    ):
        chosen = simpler
    return chosen


def _ever_simpler(contours: Sequence[np.ndarray], enlarged: int) -> Iterator[Polygons]:
    """Yield ever simpler polygons around contours; the last is one with at most four corners."""
    tolerance = _FIRST_TOLERANCE_PX * enlarged
    while True:
        polygons = _simplified(contours, tolerance)
        yield polygons
        if max(map(len, polygons)) > _FEWEST_CORNERS:
            tolerance *= _GROWTH
        elif len(polygons) > 1:
            contours = contours[: len(polygons) - 1]
        else:
            return


def _in_order(polygon: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a polygon clockwise from the corner nearest the top left of an image.

    The distance is relative to height and width, as in location tokens. Of equally near corners
    the first from the top, then from the left, is taken.
    """
    x, y = polygon.T
    if (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() < 0:
        polygon = polygon[::-1]
    x, y = polygon.T
    distance = np.hypot(x / shape[1], y / shape[0])
    return np.roll(polygon, -np.lexsort((x, y, distance))[0], axis=0)


def _pixels(mask: MaskRLE | np.ndarray) -> np.ndarray:
    if isinstance(mask, np.ndarray):
        return mask.astype(np.uint8)
    return coco_mask.decode({"size": list(mask.size), "counts": mask.counts.encode()})


def _enlarged(pixels: np.ndarray) -> tuple[np.ndarray, int]:
    """Return a mask of at least `_FINE_PX` on its long side, and the factor of its enlargement."""
    factor = max(1, -(-_FINE_PX // max(pixels.shape)))
    return np.ascontiguousarray(pixels.repeat(factor, axis=0).repeat(factor, axis=1)), factor


def _contours(pixels: np.ndarray) -> list[np.ndarray]:
    """Return the outer contours (n, 1, 2) of the parts of a mask, by descending area."""
    import cv2

    contours, _ = cv2.findContours(pixels, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return sorted(contours, key=cv2.contourArea, reverse=True)


def _simplified(contours: Sequence[np.ndarray], tolerance: float) -> Polygons:
    """Simplify contours with a tolerance; those with fewer than three corners are removed."""
    import cv2

    polygons = [cv2.approxPolyDP(one, tolerance, closed=True)[:, 0, :] for one in contours]
    return [polygon for polygon in polygons if len(polygon) >= 3] or [_box_of(contours[0])]


def _box_of(contour: np.ndarray) -> np.ndarray:
    left, top = contour[:, 0, :].min(axis=0)
    right, bottom = contour[:, 0, :].max(axis=0)
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _drawn(polygons: Polygons, shape: tuple[int, ...]) -> dict[str, object]:
    """Draw polygons, as run lengths."""
    written = [(polygon + 0.5).ravel().tolist() for polygon in polygons]
    drawn: dict[str, object] = coco_mask.merge(coco_mask.frPyObjects(written, *shape))
    return drawn


def _iou(mask: dict[str, object], other: dict[str, object]) -> float:
    return float(coco_mask.iou([mask], [other], [0])[0, 0])

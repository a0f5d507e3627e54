"""Outlines of masks as polygons with a limited number of corners; holes are lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from engine.core.annotation import MaskRLE

_FINE_PX = 512
"""Smaller masks are enlarged first, as contours run half a pixel inside of the mask."""
_FIRST_TOLERANCE_PX, _GROWTH = 0.35, 1.4
"""The first tolerance of simplification, and the factor of the next ones. Chosen by hand."""
_FEWEST_CORNERS = 4


def outline(mask: MaskRLE | np.ndarray, *, corners: int) -> list[np.ndarray]:
    """Return polygons (n, 2) of x, y in pixels around the parts of a mask, largest first.

    The polygons are simplified with growing tolerance until they have at most `corners` corners
    together; if that is not enough, the smallest parts are left out. Four corners are always
    allowed. An empty mask has no outline.
    """
    pixels = _pixels(mask)
    contours, enlarged = _contours(pixels)
    contours = contours[: max(1, corners // 3)]
    tolerance = _FIRST_TOLERANCE_PX * enlarged
    while True:
        polygons = _simplified(contours, tolerance)
        total = sum(map(len, polygons))
        if total <= max(corners, _FEWEST_CORNERS):
            break
        if max(map(len, polygons)) <= 4 and len(polygons) > 1:
            contours = contours[: len(polygons) - 1]
        else:
            tolerance *= _GROWTH
    return [(polygon + 0.5) / enlarged for polygon in polygons]


def _pixels(mask: MaskRLE | np.ndarray) -> np.ndarray:
    if isinstance(mask, np.ndarray):
        return mask.astype(np.uint8)
    return coco_mask.decode({"size": list(mask.size), "counts": mask.counts.encode()})


def _contours(pixels: np.ndarray) -> tuple[list[np.ndarray], int]:
    """Return contours by descending area, and the factor by which the mask was enlarged."""
    import cv2

    enlarged = max(1, -(-_FINE_PX // max(pixels.shape)))
    fine = pixels.repeat(enlarged, axis=0).repeat(enlarged, axis=1)
    contours, _ = cv2.findContours(
        np.ascontiguousarray(fine), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    return sorted(contours, key=cv2.contourArea, reverse=True), enlarged


def _simplified(contours: Sequence[np.ndarray], tolerance: float) -> list[np.ndarray]:
    """Simplify contours with a tolerance; those with fewer than three corners are removed."""
    import cv2

    polygons = [cv2.approxPolyDP(one, tolerance, closed=True)[:, 0, :] for one in contours]
    kept = [polygon for polygon in polygons if len(polygon) >= 3]
    return kept or [_box_of(contours[0])] if contours else []


def _box_of(contour: np.ndarray) -> np.ndarray:
    left, top = contour[:, 0, :].min(axis=0)
    right, bottom = contour[:, 0, :].max(axis=0)
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])

"""Regions as SVG: boxes, quads and masks in the units of a canvas over the image.

The canvas has the same length for all images, so strokes and letters look alike on all. Knows
geometry only, no tasks and no HTML.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from florilegium.engine.core.annotation import MaskRLE

LONG_SIDE = 640
"""Units of the canvas's longer side; at most as many pixels of the embedded image's."""
SHORT_SIDE = 24
"""Minimum units of the canvas's shorter side, so that an image of 20000 x 3 pixels is visible."""
THUMBNAIL_SIDE = 160
JPEG_QUALITY = 82
_SMOOTHING = 0.6  # units by which the outline of a mask may be simplified


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """A drawing surface over an image; `image_wh` pixels are shown as `width` x `height` units."""

    image_wh: tuple[int, int]
    width: int
    height: int

    @classmethod
    def over(cls, image_wh: tuple[int, int], long_side: int = LONG_SIDE) -> Canvas:
        """Return the canvas for an upright image of this size."""
        scale = long_side / max(image_wh)
        width, height = (max(SHORT_SIDE, round(side * scale)) for side in image_wh)
        return cls(image_wh=image_wh, width=width, height=height)

    def points(self, coordinates: Sequence[float]) -> np.ndarray:
        """Convert pixels x, y, x, y, ... to units of the canvas, int, shape (n, 2)."""
        size = (self.width, self.height)
        units = np.reshape(coordinates, (-1, 2)) / self.image_wh * size
        return np.rint(units.clip(0, size)).astype(int)


def box_path(box: np.ndarray) -> str:
    """Return the SVG path of a box, corners (2, 2)."""
    (left, top), (right, bottom) = box.tolist()
    return f"M{left} {top}H{right}V{bottom}H{left}Z"


def polygon_path(points: np.ndarray) -> str:
    """Return the SVG path of a closed polygon, (n, 2), in relative steps."""
    (left, top), *_ = points.tolist()
    steps = " ".join(f"{x} {y}" for x, y in np.diff(points, axis=0).tolist())
    return f"M{left} {top}l{steps}Z"


def mask_path(mask: MaskRLE, canvas: Canvas) -> str:
    """Return the SVG path of a mask, for the even-odd fill rule; empty if too small to draw."""
    return "".join(map(polygon_path, mask_outlines(mask, canvas)))


def mask_outlines(mask: MaskRLE, canvas: Canvas) -> list[np.ndarray]:
    """Return the outlines of a mask and of its holes, each int, shape (n, 2)."""
    import cv2
    from pycocotools import mask as coco

    pixels = coco.decode({"size": list(mask.size), "counts": mask.counts.encode()})
    size_wh = (canvas.width, canvas.height)
    shrinks = pixels.shape[0] > canvas.height
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    units = cv2.resize(pixels * np.uint8(255), size_wh, interpolation=how) > 127
    contours, _ = cv2.findContours(units.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outlines = (cv2.approxPolyDP(contour, _SMOOTHING, True)[:, 0] for contour in contours)
    return [outline for outline in outlines if len(outline) > 2]


def jpeg_uri(pixels: np.ndarray, long_side: int = LONG_SIDE) -> str:
    """Return an RGB image as a JPEG data URI, at most `long_side` pixels long."""
    image = Image.fromarray(pixels)
    image.thumbnail((long_side, long_side), Image.Resampling.LANCZOS)
    return _uri(image)


def thumbnail_uri(pixels: np.ndarray) -> str:
    """Return the middle square of an RGB image as a small JPEG data URI."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return _uri(square.resize(size, Image.Resampling.LANCZOS))


def _uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()

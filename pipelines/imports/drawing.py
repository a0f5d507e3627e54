"""Masks as the polygons of other programs, and back.

Holes are filled: those formats have none. The same function draws what was exported and what came
back, so that an untouched outline is recognised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import MaskRLE
from florilegium.engine.core.limits import PILLOW_MAX_PIXELS
from florilegium.specialists.regions.outline import outline

CORNERS, LEAST_IOU = 400, 0.98
"""Corners of the polygons of one mask at most, and how well they have to fit it, 0..1."""
MAX_CORNERS = 100_000
"""Corners of a polygon that came back, at most."""
MAX_LENGTH_PX = 1 << 22
"""Length of the polygons of one mask together, at most: pycocotools needs 40 bytes for a pixel."""


def polygons_of(mask: MaskRLE) -> list[np.ndarray]:
    """Return polygons (n, 2) of x, y in pixels around the parts of a mask, the largest first."""
    return outline(mask, corners=CORNERS, min_iou=LEAST_IOU)


@lru_cache(maxsize=1024)  # of one image: each is compared several times
def drawn(mask: MaskRLE) -> MaskRLE | None:
    """Return a mask as its own polygons draw it."""
    height, width = mask.size
    return mask_of(polygons_of(mask), (width, height))


def mask_of(polygons_xy: Sequence[np.ndarray], size_wh: tuple[int, int]) -> MaskRLE | None:
    """Draw polygons (n, 2) in pixels; `None` where they cover no pixel.

    Raises:
        ValueError: one has fewer than three corners, too many, or a number that is none.
    """
    width, height = size_wh
    if width * height > PILLOW_MAX_PIXELS:
        raise ValueError(f"a mask of {width} x {height} pixels")
    flat: list[list[float]] = []
    length = 0.0
    for polygon in polygons_xy:
        if not 3 <= len(polygon) <= MAX_CORNERS or not np.isfinite(polygon).all():
            raise ValueError(f"a polygon of {len(polygon)} corners, or with a number that is none")
        inside = np.clip(polygon, 0, (width, height))
        length += float(np.abs(np.diff(inside, axis=0, append=inside[:1])).max(axis=1).sum())
        if length > MAX_LENGTH_PX:
            raise ValueError(f"polygons of more than {MAX_LENGTH_PX} pixels of length")
        if len(inside) == 3:  # as COCO has it, three corners are read as boxes
            inside = np.vstack([inside, inside[-1:]])
        flat.append(inside.ravel().tolist())
    if not flat:
        return None
    merged = coco_mask.merge(coco_mask.frPyObjects(flat, height, width))
    return as_mask(merged) if coco_mask.area(merged) else None


def as_mask(drawn: Mapping[str, Any]) -> MaskRLE:
    """Return run lengths of pycocotools as the mask of an annotation."""
    height, width = map(int, drawn["size"])
    return MaskRLE((height, width), drawn["counts"].decode())


def box_around(mask: MaskRLE) -> tuple[float, ...]:
    """Return the box around a mask, x1 y1 x2 y2."""
    left, top, width, height = coco_mask.toBbox(mask._asdict()).tolist()
    return left, top, left + width, top + height


def mask_iou(one: MaskRLE, other: MaskRLE) -> float:
    """Return the intersection over union of two masks, 0..1; 0 for masks of two sizes."""
    if tuple(one.size) != tuple(other.size):
        return 0.0
    return float(coco_mask.iou([one._asdict()], [other._asdict()], [0])[0, 0])

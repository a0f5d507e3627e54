"""Overlap of regions, as in COCO: boxes with boxes, masks with masks; and the box around a mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import MaskRLE


def box_overlap(boxes_xyxy: ArrayLike, others_xyxy: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Compare each box with each other box, shapes (n, 4) and (m, 4), pixels or relative.

    Returns:
        The intersection over union, and the share of the other box inside the box, 0..1, (n, m).
        Boxes without area have no overlap.
    """
    return _overlap(_xywh(boxes_xyxy), _xywh(others_xyxy))


def mask_overlap(
    masks: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]
) -> tuple[np.ndarray, np.ndarray]:
    """Compare COCO run-length masks as `box_overlap` does boxes.

    Masks of images of different sizes do not overlap.
    """
    return _overlap(masks, others)


def mask_box(mask: MaskRLE) -> tuple[float, ...]:
    """Return the box around a mask, x1 y1 x2 y2 in pixels; of an empty mask four zeros."""
    left, top, width, height = coco_mask.toBbox(mask._asdict()).tolist()
    return left, top, left + width, top + height


def _overlap(regions: Any, others: Any) -> tuple[np.ndarray, np.ndarray]:
    if not len(regions) or not len(others):
        nothing = np.zeros((len(regions), len(others)))
        return nothing, nothing.copy()
    iou = coco_mask.iou(regions, others, np.zeros(len(others)))
    # With `iscrowd` COCO divides by the area of the first region.
    inside = coco_mask.iou(others, regions, np.ones(len(regions))).T
    # COCO answers -1 for masks of different image sizes.
    return np.maximum(iou, 0), np.maximum(inside, 0)


def _xywh(boxes_xyxy: ArrayLike) -> np.ndarray:
    boxes = np.array(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] -= boxes[:, :2]
    return boxes

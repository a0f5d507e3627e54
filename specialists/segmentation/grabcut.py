"""A mask for each box by GrabCut (Rother, Kolmogorov and Blake, SIGGRAPH 2004) in OpenCV.

The box initialises it: outside, beyond a margin, is background, inside probably the object. It
separates colours, so the quality of a mask depends on the contrast of its object.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import ClassVar

import numpy as np
from pydantic import Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Input, Specialist, StageConfig, one_of
from florilegium.specialists.regions.overlap import box_overlap
from florilegium.specialists.regions.window import Window, around, encoded, tight_box

_SEED = 0
_MIN_SIDE = 8
"""Minimum side of a box in pixels, at working size."""
_BESIDE = 0.03
"""How far outside of a box its outline is looked at, as a share of the box's sides."""


class GrabCutConfig(StageConfig):
    """Options of `grabcut`."""

    side: int = Field(default=128, ge=32)
    """Pixels of the long side of the crop around a box at which GrabCut works."""
    iterations: int = Field(default=2, ge=1)
    """Iterations of fitting colours and cutting."""
    room: float = Field(default=0.12, ge=0, le=1)
    """Margin in which a mask may exceed its box, as a share of the box's sides."""
    surroundings: float = Field(default=0.25, gt=0, le=2)
    """Margin from which the background is modelled, as a share of the box's sides."""
    least_cover: float = Field(default=0.1, ge=0, le=1)
    """Minimum share of the box that a mask covers, 0..1; smaller masks are discarded."""


class GrabCut(Specialist[GrabCutConfig]):
    """Masks of detected objects; the parent of a mask is its box.

    The score is the intersection over union of the box and the tight box of the mask; `support` is
    low for a mask of everything but the object (`support_of`). A box without contrast, or without
    background around it, gives no annotation.
    """

    Config: ClassVar[type[StageConfig]] = GrabCutConfig
    version: ClassVar[int] = 3
    reads: tuple[Input, ...] = (one_of("object_detection"),)
    each: tuple[str, ...] = ("object_detection",)
    produces: tuple[str, ...] = ("segmentation",)

    @property
    def model(self) -> str:
        """The algorithm."""
        return "grabcut"

    def revision(self) -> str:
        """Name the OpenCV release."""
        return f"opencv-python-headless {version('opencv-python-headless')}"

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Segment each box."""
        return [
            [
                mask
                for box in sample.of("object_detection")
                if box.box_xyxy and (mask := self._cut_out(sample, box)) is not None
            ]
            for sample in samples
        ]

    def _cut_out(self, sample: Sample, box: Annotation) -> Annotation | None:
        box_xyxy = np.clip(box.box_xyxy, 0, np.tile((sample.width, sample.height), 2))
        window = around(box_xyxy, self.config.surroundings, sample.image.shape)
        if min(window.size_wh) < 1:
            return None
        mask = self._mask(sample.image, box_xyxy, window)
        if mask is None:
            return None
        tight_xyxy = tight_box(mask, window)
        iou, _ = box_overlap(tight_xyxy, box_xyxy)
        return Annotation(
            kind="region",
            task="segmentation",
            label=box.label,
            box_xyxy=tight_xyxy,
            mask_rle=encoded(mask, window, sample.image.shape),
            score=float(iou[0, 0]),
            support=support_of(mask, box_xyxy, window, sample.image.shape),
            parent_id=box.id,
        )

    def _mask(self, image: np.ndarray, box_xyxy: np.ndarray, window: Window) -> np.ndarray | None:
        """Return the mask in the window, bool, or `None`."""
        import cv2

        crop = image[window.rows, window.columns]
        shrink = min(1.0, self.config.side / max(window.size_wh))
        size_wh = [max(1, round(side * shrink)) for side in window.size_wh]
        small = cv2.resize(crop, size_wh, interpolation=cv2.INTER_AREA)
        inner_xyxy = (box_xyxy - (window.left, window.top) * 2) * shrink
        trimap = seed(inner_xyxy, self.config.room, (size_wh[1], size_wh[0]))
        if trimap is None:
            return None
        cv2.setRNGSeed(_SEED)
        models = np.zeros((2, 1, 65))
        cv2.grabCut(
            small, trimap, None, models[0], models[1], self.config.iterations, cv2.GC_INIT_WITH_MASK
        )
        is_object = largest_parts(np.isin(trimap, (cv2.GC_FGD, cv2.GC_PR_FGD)))
        box_area = np.prod(inner_xyxy[2:] - inner_xyxy[:2])
        if is_object.sum() < max(1.0, self.config.least_cover * box_area):
            return None
        full = cv2.resize(
            is_object.astype(np.float32), window.size_wh, interpolation=cv2.INTER_LINEAR
        )
        mask: np.ndarray = full >= 0.5
        return mask if mask.any() else None


def support_of(
    mask: np.ndarray, box_xyxy: np.ndarray, window: Window, shape: tuple[int, ...]
) -> float:
    """Return how much a mask looks like the object of its box, 0..1.

    It is the share of the middle of the box that the mask covers, times the share of the box's
    outline, just outside, that it leaves free. Edges at the edge of the image do not count: there
    is nothing outside of them.

    Args:
        mask: bool, of the window.
        shape: of the image.
    """
    height, width = shape[:2]
    whole = np.zeros((height, width), dtype=bool)
    whole[window.rows, window.columns] = mask
    left, top, right, bottom = np.round(box_xyxy).astype(int)
    inset_x, inset_y = (right - left) // 4, (bottom - top) // 4
    middle = whole[top + inset_y : bottom - inset_y, left + inset_x : right - inset_x]
    beside_x = 1 + round(_BESIDE * (right - left))
    beside_y = 1 + round(_BESIDE * (bottom - top))
    outline = [
        *(whole[top:bottom, x] for x in (left - beside_x, right - 1 + beside_x) if 0 <= x < width),
        *(whole[y, left:right] for y in (top - beside_y, bottom - 1 + beside_y) if 0 <= y < height),
    ]
    covered = float(np.concatenate(outline).mean()) if outline else 0.0
    return float(middle.mean()) * (1 - covered)


def seed(box_xyxy: np.ndarray, room: float, shape: tuple[int, int]) -> np.ndarray | None:
    """Return GrabCut's initial labels, uint8 of a shape, or `None` if there is no background.

    Inside the box probably object, in the margin around it probably background, beyond it
    background; if nothing lies beyond, the margin is background.
    """
    import cv2

    left, top, right, bottom = np.round(box_xyxy).astype(int)
    if min(right - left, bottom - top) < _MIN_SIDE:
        return None
    trimap = np.full(shape, cv2.GC_BGD, dtype=np.uint8)
    outer = around(box_xyxy, room, shape)
    trimap[outer.top : outer.bottom, outer.left : outer.right] = cv2.GC_PR_BGD
    trimap[top:bottom, left:right] = cv2.GC_PR_FGD
    if not (trimap == cv2.GC_BGD).any():
        trimap[trimap == cv2.GC_PR_BGD] = cv2.GC_BGD
    return trimap if (trimap == cv2.GC_BGD).any() else None


def largest_parts(mask: np.ndarray, least: float = 0.1) -> np.ndarray:
    """Remove the parts of a mask that are smaller than a share of the largest part."""
    import cv2

    _, component, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return np.asarray((areas >= max(1.0, least * areas.max()))[component])

"""A mask for each box of a drawn shape: pixels that differ from the main colours around the box.

On flat drawings faster and more exact than GrabCut; in photographs, objects share colours with
their surroundings. Labels are ignored, and boxes are assumed to be right.
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
from florilegium.pipelines.shape_world.specialists.regions import (
    closed,
    distance_to_colours,
    main_colours,
    otsu,
    shrunk,
    smoothed,
    without_small_holes,
)
from florilegium.specialists.regions.overlap import box_overlap
from florilegium.specialists.regions.window import Window, around, encoded, tight_box
from florilegium.specialists.segmentation.grabcut import largest_parts

_MIN_SIDE = 4
"""Minimum short side of a box, in pixels at working size."""
_COLOURS_AROUND = 5
"""Clusters of colours around a box."""
_GAP = 5
"""Gaps of a mask up to this many pixels are closed."""
_OTSU_SHARE = 0.8
"""Share of Otsu's threshold that is used: below 1, to include blurred edges."""
_MIN_DIFFERENCE = 3.0
"""Minimum threshold of the distance in L*a*b*."""


class ShapeMasksConfig(StageConfig):
    """Options of the masks."""

    side: int = Field(default=128, ge=32)
    """Pixels of the long side of the image at which it is looked at; it is never enlarged."""
    room: float = Field(default=0.06, ge=0, le=1)
    """A mask may exceed its box by this share of the box's sides, as boxes are not exact."""
    surroundings: float = Field(default=0.25, gt=0, le=2)
    """Width of the margin whose colours are the surroundings, as a share of the box's sides."""
    least_cover: float = Field(default=0.1, ge=0, le=1)
    """Minimum share of the box that a mask covers, 0..1; smaller masks are discarded."""


class ShapeMasks(Specialist[ShapeMasksConfig]):
    """Masks of detected shapes; the parent of a mask is its box.

    The score is the intersection over union of the box and the tight box of the mask. A box whose
    pixels do not differ from the surroundings gives no annotation.
    """

    Config: ClassVar[type[StageConfig]] = ShapeMasksConfig
    reads: tuple[Input, ...] = (one_of("object_detection"),)
    produces: tuple[str, ...] = ("segmentation",)

    @property
    def model(self) -> str:
        """The algorithm."""
        return "colours unlike the surroundings"

    def revision(self) -> str:
        """Name the OpenCV release."""
        return f"opencv-python-headless {version('opencv-python-headless')}"

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Segment each box."""
        return [self._cut_out(sample) for sample in samples]

    def _cut_out(self, sample: Sample) -> list[Annotation]:
        boxes = [box for box in sample.of("object_detection") if box.box_xyxy]
        if not boxes:
            return []
        lab = smoothed(shrunk(sample.image, self.config.side))
        masks = [self._mask(lab, box, (sample.width, sample.height)) for box in boxes]
        return [
            _segmentation(box, mask)
            for box, mask in zip(boxes, masks, strict=True)
            if mask is not None
        ]

    def _mask(
        self, lab: np.ndarray, box: Annotation, size_wh: tuple[int, int]
    ) -> np.ndarray | None:
        """Return the mask of a box in the whole image, bool, or `None`."""
        import cv2

        scale = np.tile((lab.shape[1], lab.shape[0]), 2) / np.tile(size_wh, 2)
        box_xyxy = np.clip(np.array(box.box_xyxy) * scale, 0, np.tile(lab.shape[1::-1], 2))
        size = box_xyxy[2:] - box_xyxy[:2]
        if size.min() < _MIN_SIDE:
            return None
        inner = around(box_xyxy, self.config.room, lab.shape)
        outer = around(box_xyxy, self.config.surroundings, lab.shape)
        small = unlike_surroundings(lab, inner, outer)
        if small is None or small.sum() < self.config.least_cover * size.prod():
            return None
        if lab.shape[1::-1] == size_wh:
            return small
        whole = cv2.resize(small.astype(np.float32), size_wh, interpolation=cv2.INTER_LINEAR)
        return np.asarray(whole >= 0.5)


def unlike_surroundings(lab: np.ndarray, inner: Window, outer: Window) -> np.ndarray | None:
    """Return the pixels of the inner window whose colours do not occur around it.

    Args:
        lab: L*a*b* pixels, (height, width, 3); the result is bool, (height, width).
    """
    is_inside = np.zeros(lab.shape[:2], dtype=bool)
    is_inside[inner.top : inner.bottom, inner.left : inner.right] = True
    is_around = np.zeros_like(is_inside)
    is_around[outer.top : outer.bottom, outer.left : outer.right] = True
    is_around &= ~is_inside
    if not is_around.any():
        return None
    colours = main_colours(lab[is_around], _COLOURS_AROUND)
    inside = lab[inner.top : inner.bottom, inner.left : inner.right]
    distance = distance_to_colours(inside, colours).min(axis=2)
    threshold = max(_OTSU_SHARE * otsu(distance), _MIN_DIFFERENCE)
    mask = np.zeros(lab.shape[:2], dtype=np.uint8)
    mask[inner.top : inner.bottom, inner.left : inner.right] = distance > threshold
    found = closed(mask, _GAP).astype(bool) & is_inside
    return without_small_holes(largest_parts(found)) if found.any() else None


def _segmentation(box: Annotation, mask: np.ndarray) -> Annotation:
    whole = Window(0, 0, mask.shape[1], mask.shape[0])
    tight_xyxy = tight_box(mask, whole)
    iou, _ = box_overlap(tight_xyxy, box.box_xyxy)
    return Annotation(
        kind="region",
        task="segmentation",
        label=box.label,
        box_xyxy=tight_xyxy,
        mask_rle=encoded(mask, whole, mask.shape),
        score=float(iou[0, 0]),
        parent_id=box.id,
    )

"""How well masks cover the visible pixels of things.

Measures `segmentation`; whether the label fits is for the score of boxes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pipelines.shape_world.score.boxes import LEAST_IOU
from pipelines.shape_world.score.comparison import Comparison
from pipelines.shape_world.score.matching import Counts, pairs

_CLOSE_IOU = 0.75


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskScore:
    """All in 0..1 but the counts.

    `iou` is the mean over masks of the overlap with the thing each fits best, `iou_of_things`
    the mean over things with the mask that fits best, 0 for a thing without one. `above_50` and
    `above_75` are the shares of masks with such an IoU; `f1` at IoU 0.5 allows one mask a thing.
    """

    said: int
    true: int
    iou: float | None
    iou_of_things: float | None
    above_50: float | None
    above_75: float | None
    f1: float | None


@dataclass(kw_only=True, slots=True)
class MaskTally:
    """Counts sample after sample."""

    _best_of_masks: list[np.ndarray] = field(default_factory=list)
    _best_of_things: list[np.ndarray] = field(default_factory=list)
    _counts: Counts = field(default_factory=Counts)

    def add(self, comparison: Comparison) -> None:
        """Count the masks of a sample."""
        iou = comparison.mask_iou(comparison.of("segmentation"))
        said, true = iou.shape
        right, _ = pairs(iou, iou >= LEAST_IOU)
        self._counts += Counts(right=len(right), said=said, true=true)
        self._best_of_masks.append(iou.max(axis=1, initial=0))
        self._best_of_things.append(iou.max(axis=0, initial=0))

    def score(self) -> MaskScore:
        """Return what was counted."""
        masks = np.concatenate([np.empty(0), *self._best_of_masks])
        things = np.concatenate([np.empty(0), *self._best_of_things])
        nothing = 0.0 if len(things) else None
        return MaskScore(
            said=self._counts.said,
            true=self._counts.true,
            iou=float(masks.mean()) if len(masks) else nothing,
            iou_of_things=float(things.mean()) if len(things) else None,
            above_50=float((masks >= LEAST_IOU).mean()) if len(masks) else nothing,
            above_75=float((masks >= _CLOSE_IOU).mean()) if len(masks) else nothing,
            f1=self._counts.f1,
        )

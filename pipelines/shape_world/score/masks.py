"""Scores of masks (`segmentation`) against the visible pixels of things; labels are ignored."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from florilegium.pipelines.shape_world.score.boxes import MIN_IOU
from florilegium.pipelines.shape_world.score.comparison import SceneComparison
from florilegium.pipelines.shape_world.score.matching import MatchCounts, pairs

_CLOSE_IOU = 0.75


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskScore:
    """Scores in 0..1, and counts: `predicted` masks, `true` things.

    `iou` is the mean over masks of the best overlap with a thing, `iou_of_things` the mean over
    things of the best overlap with a mask, 0 without one. `above_50` and `above_75` are the shares
    of masks with at least such an IoU; `f1`, at IoU 0.5, allows one mask per thing.
    """

    predicted: int
    true: int
    iou: float | None
    iou_of_things: float | None
    above_50: float | None
    above_75: float | None
    f1: float | None


@dataclass(kw_only=True, slots=True)
class MaskTally:
    """MatchCounts over samples."""

    _best_of_masks: list[np.ndarray] = field(default_factory=list)
    _best_of_things: list[np.ndarray] = field(default_factory=list)
    _counts: MatchCounts = field(default_factory=MatchCounts)

    def add(self, comparison: SceneComparison) -> None:
        """Count the masks of a sample."""
        iou = comparison.mask_iou(comparison.of("segmentation"))
        predicted, true = iou.shape
        right, _ = pairs(iou, iou >= MIN_IOU)
        self._counts += MatchCounts(right=len(right), predicted=predicted, true=true)
        self._best_of_masks.append(iou.max(axis=1, initial=0))
        self._best_of_things.append(iou.max(axis=0, initial=0))

    def score(self) -> MaskScore:
        """Return the score of all samples."""
        masks = np.concatenate([np.empty(0), *self._best_of_masks])
        things = np.concatenate([np.empty(0), *self._best_of_things])
        nothing = 0.0 if len(things) else None
        return MaskScore(
            predicted=self._counts.predicted,
            true=self._counts.true,
            iou=float(masks.mean()) if len(masks) else nothing,
            iou_of_things=float(things.mean()) if len(things) else None,
            above_50=float((masks >= MIN_IOU).mean()) if len(masks) else nothing,
            above_75=float((masks >= _CLOSE_IOU).mean()) if len(masks) else nothing,
            f1=self._counts.f1,
        )

"""Scores of boxes (`object_detection`): precision, recall, F1, and COCO's average precision.

All but the average precision treat the boxes of a sample as a set, without ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from florilegium.pipelines.shape_world.scene import NAMES
from florilegium.pipelines.shape_world.score.comparison import SceneComparison, rank_score
from florilegium.pipelines.shape_world.score.matching import MatchCounts, pairs

MIN_IOU = 0.5
"""Minimum intersection over union of a region and the thing that it matches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxScore:
    """Scores in 0..1, and counts: `predicted` boxes, `true` things.

    A box is right if it matches a thing of its label; one box per thing. `f1_any_name` ignores
    labels. `map50` and `map` are COCO's average precision at
    IoU 0.5 and over 0.5..0.95, ranked by confidence, else score.
    """

    predicted: int
    true: int
    precision: float | None
    recall: float | None
    f1: float | None
    f1_any_name: float | None
    map50: float | None
    map: float | None


@dataclass(kw_only=True, slots=True)
class BoxTally:
    """MatchCounts over samples."""

    _named: MatchCounts = field(default_factory=MatchCounts)
    _any_name: MatchCounts = field(default_factory=MatchCounts)
    _images: int = 0
    _true: list[dict[str, Any]] = field(default_factory=list)
    _predicted: list[dict[str, Any]] = field(default_factory=list)

    def add(self, comparison: SceneComparison) -> None:
        """Count the boxes of a sample."""
        boxes = comparison.of("object_detection")
        iou = comparison.box_iou(boxes)
        is_on, is_named = iou >= MIN_IOU, comparison.named([box.label for box in boxes])
        predicted, true = iou.shape
        right, _ = pairs(iou, is_on & is_named)
        self._named += MatchCounts(right=len(right), predicted=predicted, true=true)
        right, _ = pairs(iou, is_on)
        self._any_name += MatchCounts(right=len(right), predicted=predicted, true=true)

        self._images += 1
        self._true += self._entries(comparison.names.tolist(), comparison.boxes_xyxy, self._true)
        known = [box for box in boxes if box.label in NAMES and box.box_xyxy]
        entries = self._entries(
            [box.label for box in known], [box.box_xyxy for box in known], self._predicted
        )
        scores = [rank_score(box) for box in known]
        self._predicted += [
            entry | {"score": score} for entry, score in zip(entries, scores, strict=True)
        ]

    def _entries(
        self, names: Sequence[str], boxes_xyxy: Any, before: Sequence[object]
    ) -> list[dict[str, Any]]:
        """Return the COCO entries of boxes."""
        boxes = np.array(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
        sides = boxes[:, 2:] - boxes[:, :2]
        boxes_xywh = np.hstack([boxes[:, :2], sides]).tolist()
        areas = sides.prod(axis=1).tolist()
        return [
            {
                "id": len(before) + index + 1,
                "image_id": self._images,
                "category_id": NAMES.index(name) + 1,
                "bbox": box_xywh,
                "area": area,
                "iscrowd": 0,
            }
            for index, (name, box_xywh, area) in enumerate(
                zip(names, boxes_xywh, areas, strict=True)
            )
        ]

    def score(self) -> BoxScore:
        """Return the score of all samples."""
        map50, mean = average_precision(self._images, self._true, self._predicted)
        return BoxScore(
            predicted=self._named.predicted,
            true=self._named.true,
            precision=self._named.precision,
            recall=self._named.recall,
            f1=self._named.f1,
            f1_any_name=self._any_name.f1,
            map50=map50,
            map=mean,
        )


def average_precision(
    images: int, true: list[dict[str, Any]], predicted: list[dict[str, Any]]
) -> tuple[float | None, float | None]:
    """Return COCO's average precision at IoU 0.5 and its mean over 0.5, 0.55 .. 0.95.

    Entries are those of COCO's files, for images 1..`images`. `None` if `true` is empty.
    """
    if not true:
        return None, None
    if not predicted:
        return 0.0, 0.0
    from faster_coco_eval import COCO, COCOeval_faster

    truth = COCO(
        {
            "images": [{"id": number} for number in range(1, images + 1)],
            "categories": [{"id": index + 1, "name": name} for index, name in enumerate(NAMES)],
            "annotations": true,
        }
    )
    evaluation = COCOeval_faster(truth, truth.loadRes(predicted), iouType="bbox")
    evaluation.run()
    return evaluation.stats_as_dict["AP_50"], evaluation.stats_as_dict["AP_all"]

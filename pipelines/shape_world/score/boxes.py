"""How good boxes are: found, named, placed.

Measures `object_detection`, each sample's labels as a set; the mean average precision, which
ranks them, is COCO's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.shape_world.scene import NAMES
from pipelines.shape_world.score.comparison import Comparison, surety
from pipelines.shape_world.score.matching import Counts, pairs

LEAST_IOU = 0.5
"""From this intersection over union on a region is that of a thing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxScore:
    """All in 0..1 but the counts. A box is right on a thing of its label, one box a thing.

    `f1_any_name` does not ask for the label. `map50` and `map` are COCO's average precision at
    IoU 0.5 and over 0.5..0.95, ranked by confidence, else score.
    """

    said: int
    true: int
    precision: float | None
    recall: float | None
    f1: float | None
    f1_any_name: float | None
    map50: float | None
    map: float | None


@dataclass(kw_only=True, slots=True)
class BoxTally:
    """Counts sample after sample."""

    _named: Counts = field(default_factory=Counts)
    _any_name: Counts = field(default_factory=Counts)
    _images: int = 0
    _true: list[dict[str, Any]] = field(default_factory=list)
    _said: list[dict[str, Any]] = field(default_factory=list)

    def add(self, comparison: Comparison) -> None:
        """Count the boxes of a sample."""
        boxes = comparison.of("object_detection")
        iou = comparison.box_iou(boxes)
        is_on, is_named = iou >= LEAST_IOU, comparison.named([box.label for box in boxes])
        said, true = iou.shape
        right, _ = pairs(iou, is_on & is_named)
        self._named += Counts(right=len(right), said=said, true=true)
        right, _ = pairs(iou, is_on)
        self._any_name += Counts(right=len(right), said=said, true=true)

        self._images += 1
        self._true += self._entries(comparison.names.tolist(), comparison.boxes_xyxy, self._true)
        known = [box for box in boxes if box.label in NAMES and box.box_xyxy]
        entries = self._entries(
            [box.label for box in known], [box.box_xyxy for box in known], self._said
        )
        scores = [surety(box) for box in known]
        self._said += [
            entry | {"score": score} for entry, score in zip(entries, scores, strict=True)
        ]

    def _entries(
        self, names: Sequence[str], boxes_xyxy: Any, before: Sequence[object]
    ) -> list[dict[str, Any]]:
        """Return what COCO wants to know of boxes."""
        boxes = np.array(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
        sides = boxes[:, 2:] - boxes[:, :2]
        boxes_xywh = np.hstack([boxes[:, :2], sides]).tolist()
        areas = sides.prod(axis=1).tolist()
        return [
            {
                "id": len(before) + place + 1,
                "image_id": self._images,
                "category_id": NAMES.index(name) + 1,
                "bbox": box_xywh,
                "area": area,
                "iscrowd": 0,
            }
            for place, (name, box_xywh, area) in enumerate(
                zip(names, boxes_xywh, areas, strict=True)
            )
        ]

    def score(self) -> BoxScore:
        """Return what was counted."""
        map50, mean = average_precision(self._images, self._true, self._said)
        return BoxScore(
            said=self._named.said,
            true=self._named.true,
            precision=self._named.precision,
            recall=self._named.recall,
            f1=self._named.f1,
            f1_any_name=self._any_name.f1,
            map50=map50,
            map=mean,
        )


def average_precision(
    images: int, true: list[dict[str, Any]], said: list[dict[str, Any]]
) -> tuple[float | None, float | None]:
    """Return COCO's average precision at IoU 0.5 and its mean over 0.5, 0.55 .. 0.95.

    Entries are those of COCO's files, for images 1..`images`. `None` when nothing is true.
    """
    if not true:
        return None, None
    if not said:
        return 0.0, 0.0
    from faster_coco_eval import COCO, COCOeval_faster

    truth = COCO(
        {
            "images": [{"id": number} for number in range(1, images + 1)],
            "categories": [{"id": place + 1, "name": name} for place, name in enumerate(NAMES)],
            "annotations": true,
        }
    )
    evaluation = COCOeval_faster(truth, truth.loadRes(said), iouType="bbox")
    evaluation.run()
    return evaluation.stats_as_dict["AP_50"], evaluation.stats_as_dict["AP_all"]

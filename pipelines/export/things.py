"""Instances among annotations, as formats of detection and segmentation have them: a label, a box,
and the mask that was made from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import COORDINATE_DECIMALS, Annotation, MaskRLE
from florilegium.engine.core.tasks import names_of
from florilegium.pipelines.export.exporter import LeftOut

INSTANCE_TASKS = names_of(lambda task: task.coco == "instance")

NO_LABEL = "no_label"
NO_BOX = "no_box_and_no_mask"
SECOND_MASK = "second_mask_of_a_box"


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """An instance: its label, its box, and its mask where there is one."""

    id: str
    label: str
    box_xyxy: tuple[float, ...]
    mask_rle: MaskRLE | None
    score: float | None

    @property
    def size_wh(self) -> tuple[float, float]:
        """Width and height of the box in pixels, with the decimals that coordinates have."""
        left, top, right, bottom = self.box_xyxy
        return round(right - left, COORDINATE_DECIMALS), round(bottom - top, COORDINATE_DECIMALS)

    @property
    def area(self) -> float:
        """The pixels of the mask, else the area of the box."""
        if self.mask_rle:
            return int(coco_mask.area(self.mask_rle._asdict()))
        width, height = self.size_wh
        return round(width * height, COORDINATE_DECIMALS)


def things_of(
    annotations: Sequence[Annotation], tasks: Sequence[str], left_out: LeftOut
) -> Iterator[Thing]:
    """Yield the instances among annotations; count those of these tasks that are left out.

    A mask belongs to the box that it was made from. A mask without such a box is an instance of its
    own, with its own label or else that of its parent.
    """
    chosen = [one for one in annotations if one.task in INSTANCE_TASKS and one.task in tasks]
    boxes = {one.id for one in chosen if one.box_xyxy and one.label and not one.mask_rle}
    labels = {one.id: one.label for one in annotations}
    masks: dict[str, MaskRLE] = {}
    alone: list[Annotation] = []
    for one in chosen:
        if one.mask_rle is None or one.parent_id not in boxes:
            alone.append(one)
        elif one.parent_id in masks:
            left_out[one.task, SECOND_MASK] += 1
        else:
            masks[one.parent_id] = one.mask_rle
    for one in alone:
        label = one.label or labels.get(one.parent_id, "")
        box_xyxy = one.box_xyxy or _box_around(one.mask_rle)
        if label and box_xyxy:
            yield Thing(
                id=one.id,
                label=label,
                box_xyxy=box_xyxy,
                mask_rle=one.mask_rle or masks.get(one.id),
                score=one.score,
            )
        else:
            left_out[one.task, NO_BOX if label else NO_LABEL] += 1


def _box_around(mask: MaskRLE | None) -> tuple[float, ...]:
    if mask is None:
        return ()
    left, top, width, height = coco_mask.toBbox(mask._asdict()).tolist()
    return (left, top, left + width, top + height)

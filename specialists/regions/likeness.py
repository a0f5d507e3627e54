"""What an annotation says and where, so that two can be compared: the same words, the same place.

Nothing is decided here but what `alike` means, as people's findings about one annotation hold for
others like it, and `still_right`, whether one that a person changed counts as right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.engine.core.tasks import names_of
from florilegium.specialists.regions.overlap import box_overlap, mask_box

FREE_TEXT_TASKS = names_of(
    lambda task: (
        task.kind == "region" and not task.is_of_region and task.words in ("sentence", "reading")
    )
)
"""Tasks whose text is read or written freely: two texts may be nearly the same."""
SAME_PLACE = 0.5
"""Intersection over union from which on two regions are the same, as in PASCAL VOC."""


def words_of(annotation: Annotation) -> str:
    """Return the label or text of an annotation, case-folded, without outer white space."""
    is_name = annotation.kind == "region" and annotation.task not in FREE_TEXT_TASKS
    first, second = annotation.text, annotation.label
    return ((second or first) if is_name else (first or second)).strip().casefold()


def box_of(annotation: Annotation) -> tuple[float, ...]:
    """Return the box of a region, or that around its quad or mask, pixels, x1 y1 x2 y2.

    A text about the whole image has a box of NaN.
    """
    if annotation.box_xyxy:
        return annotation.box_xyxy
    if annotation.quad:
        x, y = annotation.quad[::2], annotation.quad[1::2]
        return min(x), min(y), max(x), max(y)
    if annotation.kind == "text":
        return (np.nan,) * 4
    return mask_box(_mask(annotation))


def rle(annotation: Annotation) -> dict[str, Any]:
    """Return the mask as pycocotools takes it.

    Raises:
        ValueError: there is no mask.
    """
    return _mask(annotation)._asdict()


def _mask(annotation: Annotation) -> MaskRLE:
    if annotation.mask_rle is None:
        raise ValueError(f"annotation {annotation.id!r} has no mask")
    return annotation.mask_rle


def place_overlap(box_xyxy: np.ndarray, others_xyxy: np.ndarray) -> np.ndarray:
    """Return the intersection over union, (n, m); 1 for two without a region, of the whole
    image."""
    iou, _ = box_overlap(np.nan_to_num(box_xyxy), np.nan_to_num(others_xyxy))
    iou[np.isnan(box_xyxy[:, :1]) & np.isnan(others_xyxy[:, 0])] = 1.0
    return iou


def alike(annotations: Sequence[Annotation], others: Sequence[Annotation]) -> np.ndarray:
    """Return which annotations of an image say the same as one of the others, for the same task and
    about nearly the same region, bool, (n,)."""
    if not annotations or not others:
        return np.zeros(len(annotations), dtype=bool)
    words, other_words = (
        np.array([f"{one.task} {words_of(one)}" for one in these], dtype=object)
        for these in (annotations, others)
    )
    boxes, other_boxes = (
        np.array([box_of(one) for one in these], dtype=np.float64).reshape(-1, 4)
        for these in (annotations, others)
    )
    is_same = words[:, None] == other_words
    found: np.ndarray = ((place_overlap(boxes, other_boxes) >= SAME_PLACE) & is_same).any(axis=1)
    return found


def still_right(annotation: Annotation, changed: Annotation) -> bool:
    """Return whether an annotation that a person changed was right before: the same label, text and
    span, and nearly the same region."""
    pairs = ((annotation.label, changed.label), (annotation.text, changed.text))
    is_same = all(one.strip().casefold() == other.strip().casefold() for one, other in pairs)
    is_same &= tuple(annotation.span) == tuple(changed.span)
    return is_same and bool(alike([annotation], [changed])[0])

"""One place once: regions of several tasks that mark the same object.

A detector gives an object a box with a name and a region proposal, and an open-vocabulary detector
gives it another. All stay in the dataset, as each trains its own task; but whoever counts objects,
or asks about each of them, takes a place once: non-maximum suppression across tasks. Within a task
the filter `nms` decides, so two regions of one task are always two places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.rank import ranked
from florilegium.engine.core.sample import Sample
from florilegium.specialists.regions.overlap import box_overlap

SAME_IOU = 0.7
"""Intersection over union from which on two regions are one place if a name is the same or missing:
that of `nms` for region proposals."""
OTHER_NAME_IOU = 0.9
"""The same where both have names that differ: that of `nms` for two names of one object."""


def places(
    regions: Iterable[Annotation],
    known: Iterable[Annotation] = (),
    *,
    source_first: bool = True,
) -> list[tuple[Annotation, ...]]:
    """Return the places of an image, the first in rank first: regions of one place, first the one
    that stands for it.

    A region with a name stands before those without.

    Args:
        regions: with boxes.
        known: more annotations of the sample, as for `ranked`.
    """
    rows = ranked(regions, known, source_first=source_first)
    stands_for = first_of_place(
        [one.box_xyxy for one in rows],
        [one.task for one in rows],
        [one.name for one in rows],
    )
    found: dict[int, list[Annotation]] = {row: [] for row in np.unique(stands_for).tolist()}
    for row in np.argsort(stands_for != np.arange(len(rows)), kind="stable").tolist():
        found[stands_for[row]].append(rows[row])
    return [tuple(of_place) for of_place in found.values()]


def first_of_place(boxes_xyxy: ArrayLike, tasks: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Return for each region the index of the one that stands for its place, int64, (n,).

    It is its own index where no region of another task stands for the place.

    Args:
        boxes_xyxy: (n, 4), the first in rank first.
        names: empty for a region without a name.
    """
    first = np.arange(len(tasks))
    is_other_task = _differ(tasks)
    if not is_other_task.any():
        return first
    words = [name.strip().casefold() for name in names]
    has_name: np.ndarray = np.array([bool(word) for word in words], dtype=bool)
    is_other_name = _differ(words) & has_name & has_name[:, None]
    iou, _ = box_overlap(boxes_xyxy, boxes_xyxy)
    least = np.where(is_other_name, OTHER_NAME_IOU, SAME_IOU)
    is_same = np.logical_and(is_other_task, iou >= least)
    closeness = iou * is_same
    has_rival = np.asarray(is_same.any(axis=1))
    by_name = np.argsort(~has_name, kind="stable")
    stands = np.zeros(len(first), dtype=bool)
    for row in by_name[has_rival[by_name]].tolist():
        nearest = int((closeness[row] * stands).argmax())
        if stands[nearest] and is_same[row, nearest]:
            first[row] = nearest
        else:
            stands[row] = True
    return first


def separate(boxes: Sequence[Annotation], most_overlap: float) -> list[Annotation]:
    """Keep each box that no earlier one covers; overlap is a share of the smaller box, 0..1."""
    boxes_xyxy = [box.box_xyxy for box in boxes]
    _, inside = box_overlap(boxes_xyxy, boxes_xyxy)
    is_covered = np.maximum(inside, inside.T) > most_overlap
    kept: list[int] = []
    for row in range(len(boxes)):
        if not is_covered[row, kept].any():
            kept.append(row)
    return [boxes[row] for row in kept]


def relative(region: Annotation, sample: Sample) -> tuple[float, ...]:
    """Return the box of a region relative to its image, 0..1."""
    size = np.tile((sample.width, sample.height), 2)
    return tuple(np.clip(np.array(region.box_xyxy) / size, 0, 1).tolist())


def _differ(values: Sequence[str]) -> np.ndarray:
    numbers: dict[str, int] = {}
    codes = np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)
    is_other: np.ndarray = codes[:, None] != codes
    return is_other

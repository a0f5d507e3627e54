"""Resolving which regions a mention in a caption refers to, if several mentions have one name.

Names do not distinguish two dogs. Positions stated in the caption do, and the order of quotations;
a mention that stays ambiguous gets no region.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.specialists.grounding.positions import GridPosition, assign_boxes, stated_positions
from florilegium.specialists.regions.overlap import box_overlap
from florilegium.specialists.words.occurrences import Span

_SAME_LINE = 0.5
"""IoU above which two lines with the same text are one line, read twice."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mention:
    """A phrase or a quotation in a caption, and the regions of its name.

    `regions` are sorted by score, lines of text by reading order. `count` is the number of regions
    that it refers to, `None` for a plural without a number; `is_known` if they were mentioned
    before ("the dog"), `is_another` if they are different ones ("another dog").
    """

    span: Span
    regions: tuple[Annotation, ...]
    strength: float
    count: int | None = 1
    is_quotation: bool = False
    is_known: bool = False
    is_another: bool = False


def referents(
    caption: str, mentions: Sequence[Mention], size_wh: tuple[int, int]
) -> list[tuple[Annotation, ...]]:
    """Return the regions that each mention refers to; mentions are in the order of the caption."""
    positions = stated_positions(caption, [one.span for one in mentions])
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, one in enumerate(mentions):
        groups.setdefault(tuple(map(id, one.regions)), []).append(row)
    found: list[tuple[Annotation, ...]] = [()] * len(mentions)
    for rows in groups.values():
        regions = mentions[rows[0]].regions
        boxes = np.array([one.box_xyxy for one in regions]) / np.tile(size_wh, 2)
        group = [_Placed(mentions[row], positions[row]) for row in rows]
        for row, numbers in zip(rows, _of_group(group, boxes.clip(0, 1).tolist()), strict=True):
            found[row] = tuple(regions[number] for number in numbers)
    return found


def distinct_lines(lines: Sequence[Annotation]) -> list[Annotation]:
    """Return the lines of one text without duplicates of the same region."""
    boxes_xyxy = [one.box_xyxy for one in lines]
    iou, _ = box_overlap(boxes_xyxy, boxes_xyxy)
    return [one for row, one in enumerate(lines) if not (iou[row, :row] > _SAME_LINE).any()]


class _Placed(NamedTuple):
    """A mention, and its position as stated in the caption."""

    mention: Mention
    position: GridPosition | None


def _of_group(group: Sequence[_Placed], boxes: Sequence[Sequence[float]]) -> list[list[int]]:
    """Return the indices of the boxes, 0..1, that each mention refers to."""
    single = [row for row, one in enumerate(group) if one.mention.count == 1]
    one_of = dict(zip(single, _single([group[row] for row in single], boxes), strict=True))
    return [
        [number for number in (one_of[row],) if number is not None]
        if row in one_of
        else _several(one, group, boxes)
        for row, one in enumerate(group)
    ]


def _single(group: Sequence[_Placed], boxes: Sequence[Sequence[float]]) -> list[int | None]:
    """Return the index of the box of each mention of a single object."""
    positions = [one.position for one in group]
    is_another = any(one.mention.is_another for one in group)
    is_new = [is_another or not one.mention.is_known for one in group]
    if group and group[0].mention.is_quotation:
        return assign_boxes(positions, boxes)
    if sum(is_new) > 1:
        # The boxes are sorted by score, not in the order of the mentions.
        return assign_boxes(positions, boxes) if any(positions) else [None] * len(group)
    found = [position.chosen(boxes) if position else None for position in positions]
    stated = {number for number, position in zip(found, positions, strict=True) if position}
    if not stated and (len(boxes) == 1 or not is_another):
        stated = {0}
    only = stated.pop() if len(stated) == 1 else None
    return [number if position else only for number, position in zip(found, positions, strict=True)]


def _several(one: _Placed, group: Sequence[_Placed], boxes: Sequence[Sequence[float]]) -> list[int]:
    """Return the indices of the boxes of a mention of several objects, none if ambiguous."""
    count = one.mention.count
    inside = [number for number, box in enumerate(boxes) if one.position and one.position.fits(box)]
    if inside and count in (None, len(inside)):
        return inside
    like = [
        other for other in group if (other.mention.count, other.mention.is_known) == (count, False)
    ]
    if len(like) > 1 and not one.mention.is_known:
        return []
    return list(range(len(boxes)))[:count]

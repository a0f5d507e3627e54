"""Which regions each mention in a caption means, where several mentions bear one name.

Names alone do not tell two dogs apart. The place that the caption tells does, and the order of
what it quotes; where neither does, a mention gets no region rather than that of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from engine.core.annotation import Annotation
from specialists.grounding.places import Place, assigned, told_places
from specialists.regions.overlap import box_overlap
from specialists.words.occurrences import Span

_SAME_LINE = 0.5
"""Lines of one text that overlap more than this, IoU, are one line, read twice."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mention:
    """A phrase or a quotation in a caption, and the regions that bear its name.

    `regions` are the surest first, lines of text in their order. `count` is how many of them it
    speaks of, `None` for an open plural; `is_known` when they were mentioned before ("the dog"),
    `is_another` when they are others than those ("another dog").
    """

    span: Span
    regions: tuple[Annotation, ...]
    strength: float
    count: int | None = 1
    is_quotation: bool = False
    is_known: bool = False
    is_another: bool = False


def meant(
    caption: str, mentions: Sequence[Mention], size_wh: tuple[int, int]
) -> list[tuple[Annotation, ...]]:
    """Return the regions that each mention means; the mentions are in the order of the caption."""
    places = told_places(caption, [one.span for one in mentions])
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, one in enumerate(mentions):
        groups.setdefault(tuple(map(id, one.regions)), []).append(row)
    found: list[tuple[Annotation, ...]] = [()] * len(mentions)
    for rows in groups.values():
        regions = mentions[rows[0]].regions
        boxes = np.array([one.box_xyxy for one in regions]) / np.tile(size_wh, 2)
        group = [_Placed(mentions[row], places[row]) for row in rows]
        for row, numbers in zip(rows, _of_group(group, boxes.clip(0, 1).tolist()), strict=True):
            found[row] = tuple(regions[number] for number in numbers)
    return found


def distinct_lines(lines: Sequence[Annotation]) -> list[Annotation]:
    """Return lines of one text without those that somebody else read at the same place."""
    boxes_xyxy = [one.box_xyxy for one in lines]
    iou, _ = box_overlap(boxes_xyxy, boxes_xyxy)
    return [one for row, one in enumerate(lines) if not (iou[row, :row] > _SAME_LINE).any()]


class _Placed(NamedTuple):
    """A mention, and where the caption says that it is."""

    mention: Mention
    place: Place | None


def _of_group(group: Sequence[_Placed], boxes: Sequence[Sequence[float]]) -> list[list[int]]:
    """Return the numbers of the boxes, 0..1, that each mention of these boxes means."""
    single = [row for row, one in enumerate(group) if one.mention.count == 1]
    one_of = dict(zip(single, _single([group[row] for row in single], boxes), strict=True))
    return [
        [number for number in (one_of[row],) if number is not None]
        if row in one_of
        else _several(one, group, boxes)
        for row, one in enumerate(group)
    ]


def _single(group: Sequence[_Placed], boxes: Sequence[Sequence[float]]) -> list[int | None]:
    """Return the box of each mention of one thing."""
    places = [one.place for one in group]
    is_another = any(one.mention.is_another for one in group)
    is_new = [is_another or not one.mention.is_known for one in group]
    if group and group[0].mention.is_quotation:
        return assigned(places, boxes)
    if sum(is_new) > 1:
        # The boxes are in the order of their scores, which is not that of the mentions.
        return assigned(places, boxes) if any(places) else [None] * len(group)
    found = [place.chosen(boxes) if place else None for place in places]
    told = {number for number, place in zip(found, places, strict=True) if place}
    if not told and (len(boxes) == 1 or not is_another):
        told = {0}
    only = told.pop() if len(told) == 1 else None
    return [number if place else only for number, place in zip(found, places, strict=True)]


def _several(one: _Placed, group: Sequence[_Placed], boxes: Sequence[Sequence[float]]) -> list[int]:
    """Return the boxes of a mention of several things, or of none."""
    count = one.mention.count
    inside = [number for number, box in enumerate(boxes) if one.place and one.place.fits(box)]
    if inside and count in (None, len(inside)):
        return inside
    like = [
        other for other in group if (other.mention.count, other.mention.is_known) == (count, False)
    ]
    if len(like) > 1 and not one.mention.is_known:
        return []
    return list(range(len(boxes)))[:count]

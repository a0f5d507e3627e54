"""The changes of the labels of one image from one round to another.

Labels of one task are paired one to one: regions by overlap, phrases by overlap and text, texts by
their words. Knows no round and no file.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.tasks import names_of
from florilegium.specialists.regions.likeness import box_of, rle
from florilegium.specialists.regions.overlap import box_overlap, mask_overlap

SAME_PLACE = 0.5
"""Least intersection over union of two regions that are paired."""
UNMOVED = 0.95
"""Intersection over union above which a region did not move."""
REWRITTEN = names_of(lambda task: task.kind == "text" and task.words in ("sentence", "reading"))
"""Tasks with one text for an image: another text is a change, not an addition."""

How = Literal["added", "changed", "dropped"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A label that is not the same in both rounds: `before` or `after` may be missing.

    `overlap` is the intersection over union of the two regions, 0..1, `None` without two.
    """

    before: Annotation | None = None
    after: Annotation | None = None
    overlap: float | None = None

    @property
    def how(self) -> How:
        """Whether the label was added, dropped or changed."""
        if self.before is None:
            return "added"
        return "dropped" if self.after is None else "changed"

    @property
    def task(self) -> str:
        """The task of the label."""
        one = self.after or self.before
        return one.task if one else ""

    @property
    def is_reworded(self) -> bool:
        """Whether label or text changed, not only the region."""
        both = self.before is not None and self.after is not None
        return both and words_of(self.before) != words_of(self.after)

    @property
    def weight(self) -> float:
        """The size of the change, 0..1: for a region that only moved, 1 minus the overlap."""
        if self.overlap is None or self.is_reworded:
            return 1.0
        return 1.0 - self.overlap


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """All changes of one image, task by task, and the unchanged labels of the later round."""

    changes: tuple[Change, ...]
    same: tuple[Annotation, ...]

    @property
    def weight(self) -> float:
        """How much changed; labels added and dropped count 1."""
        return sum(change.weight for change in self.changes)


def words_of(annotation: Annotation | None) -> tuple[str, str]:
    """Return label and text of a label, unescaped."""
    return (annotation.label, annotation.text) if annotation else ("", "")


def compare(before: Iterable[Annotation], after: Iterable[Annotation]) -> Changes:
    """Compare the labels of one image in two rounds, whatever their specialists."""
    groups: dict[tuple[str, bool], tuple[list[Annotation], list[Annotation]]] = {}
    for side, labels in enumerate((before, after)):
        for one in labels:
            groups.setdefault((one.task, _has_region(one)), ([], []))[side].append(one)
    changes: list[Change] = []
    same: list[Annotation] = []
    for (_, has_region), (old, new) in sorted(groups.items(), key=lambda group: group[0]):
        found = _compare_regions(old, new) if has_region else _compare_texts(old, new)
        changes.extend(found.changes)
        same.extend(found.same)
    return Changes(changes=tuple(changes), same=tuple(same))


def _compare_regions(before: Sequence[Annotation], after: Sequence[Annotation]) -> Changes:
    overlap, says_same = _overlap(before, after), _says_same(before, after)
    may_pair = overlap >= SAME_PLACE
    if any(one.kind == "phrase" for one in (*before, *after)):
        may_pair &= says_same
    pairs = _pairs(overlap + says_same, may_pair)
    return _changes(before, after, pairs, says_same & (overlap > UNMOVED), overlap)


def _compare_texts(before: Sequence[Annotation], after: Sequence[Annotation]) -> Changes:
    says_same = _says_same(before, after)
    is_one_text = any(one.task in REWRITTEN for one in before)
    may_pair = np.ones_like(says_same) if is_one_text else says_same
    return _changes(before, after, _pairs(says_same, may_pair), says_same, None)


def _pairs(value: np.ndarray, may_pair: np.ndarray) -> list[tuple[int, int]]:
    """Pair rows with columns one to one, the highest values first."""
    rows, columns = np.nonzero(may_pair)
    best_first = np.lexsort((columns, rows, -value[rows, columns].astype(np.float64)))
    left = [set(range(side)) for side in value.shape]
    pairs = []
    for row, column in zip(rows[best_first].tolist(), columns[best_first].tolist(), strict=True):
        if row in left[0] and column in left[1]:
            left[0].remove(row)
            left[1].remove(column)
            pairs.append((row, column))
    return sorted(pairs)


def _changes(
    before: Sequence[Annotation],
    after: Sequence[Annotation],
    pairs: Sequence[tuple[int, int]],
    is_same: np.ndarray,
    overlap: np.ndarray | None,
) -> Changes:
    same = tuple(after[column] for row, column in pairs if is_same[row, column])
    changed = [
        Change(
            before=before[row],
            after=after[column],
            overlap=None if overlap is None else float(overlap[row, column]),
        )
        for row, column in pairs
        if not is_same[row, column]
    ]
    old, new = {row for row, _ in pairs}, {column for _, column in pairs}
    added = [Change(after=one) for index, one in enumerate(after) if index not in new]
    dropped = [Change(before=one) for index, one in enumerate(before) if index not in old]
    return Changes(changes=(*added, *changed, *dropped), same=same)


def _says_same(before: Sequence[Annotation], after: Sequence[Annotation]) -> np.ndarray:
    """Return which labels have the same words, bool, (n, m)."""
    return _equal([words_of(one) for one in before], [words_of(one) for one in after])


def _overlap(before: Sequence[Annotation], after: Sequence[Annotation]) -> np.ndarray:
    """Return the intersection over union, (n, m): of masks where all have one, else of boxes."""
    if all(one.mask_rle for one in (*before, *after)):
        iou, _ = mask_overlap([rle(one) for one in before], [rle(one) for one in after])
    else:
        iou, _ = box_overlap([box_of(one) for one in before], [box_of(one) for one in after])
    # A region without an area overlaps nothing, but it may be unchanged.
    is_equal = _equal([_place(one) for one in before], [_place(one) for one in after])
    return np.where(is_equal, 1.0, iou)


def _equal(before: Sequence[Hashable], after: Sequence[Hashable]) -> np.ndarray:
    """Return which values are equal, bool, (n, m)."""
    numbers: dict[Hashable, int] = {}
    codes = [numbers.setdefault(value, len(numbers)) for value in (*before, *after)]
    old, new = np.split(np.array(codes, dtype=np.int64), [len(before)])
    return np.asarray(old[:, None] == new)


def _place(annotation: Annotation) -> Hashable:
    return annotation.mask_rle or annotation.quad or annotation.box_xyxy


def _has_region(annotation: Annotation) -> bool:
    return bool(_place(annotation))

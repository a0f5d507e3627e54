"""What the voters said of one image for one task, as columns.

A candidate is one annotation of one voter. Here are its place, its words and what its score is
worth; how much candidates overlap and how much their words agree. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from engine.core.annotation import Annotation
from engine.core.tasks import DETECTION_TASKS, MASK_TASKS, PHRASE_TASKS, names_of
from pipelines.merge.calibration import TaskCalibration
from specialists.regions.overlap import box_overlap, mask_overlap

BOX_TASKS = (*DETECTION_TASKS, "region_proposal", "dense_region_caption")
FREE_TEXT_TASKS = names_of(
    lambda task: (
        task.kind == "region" and not task.is_of_region and task.words in ("sentence", "reading")
    )
)
"""Tasks whose words are read or written freely: two may be nearly the same."""
QUERIED_TASKS = ("open_vocabulary_detection",)
"""Tasks whose label is a question that was asked: other labels on the same place are no rivals."""


@dataclass(kw_only=True, eq=False)
class Candidates:
    """The n statements about one image for one task, in the order they were said.

    `voter` is the place of each one's specialist in `voters`, int, (n,); `box_xyxy` its box or
    that around its quad or mask, pixels, (n, 4); `score` what it said, NaN for nothing, (n,);
    `trust` the calibrated probability that it is right, NaN before `trusted`, (n,). Other columns
    are worked out when first used.
    """

    task: str
    annotations: tuple[Annotation, ...]
    voters: tuple[str, ...]
    voter: np.ndarray
    box_xyxy: np.ndarray
    score: np.ndarray
    trust: np.ndarray

    def __len__(self) -> int:
        return len(self.annotations)

    @cached_property
    def words(self) -> list[str]:
        """What each one calls its region, without case and outer space."""
        return [words_of(annotation) for annotation in self.annotations]

    @cached_property
    def word(self) -> np.ndarray:
        """The words as numbers: equal words are equal numbers, int64, (n,)."""
        numbers: dict[str, int] = {}
        codes = [numbers.setdefault(words, len(numbers)) for words in self.words]
        return np.array(codes, dtype=np.int64)

    @property
    def rank(self) -> np.ndarray:
        """By what the surest are found: trust, else score, else -1, (n,)."""
        return np.nan_to_num(np.where(np.isnan(self.trust), self.score, self.trust), nan=-1.0)

    @cached_property
    def overlap(self) -> np.ndarray:
        """Intersection over union, 0..1, (n, n); 0 between those about different subjects."""
        if self.task in MASK_TASKS:
            masks = [rle(annotation) for annotation in self.annotations]
            iou, _ = mask_overlap(masks, masks)
        else:
            iou, _ = box_overlap(self.box_xyxy, self.box_xyxy)
        return iou * (self.subject[:, None] == self.subject)

    @cached_property
    def subject(self) -> np.ndarray:
        """What each one is about, int64, (n,): only those about the same can be one statement."""
        numbers: dict[object, int] = {}
        keys = [_subject(annotation) for annotation in self.annotations]
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)

    @cached_property
    def likeness(self) -> np.ndarray:
        """How much the words of two agree, 0..1, (n, n): names are the same or not."""
        if self.task not in FREE_TEXT_TASKS:
            return (self.word[:, None] == self.word).astype(np.float64)
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import cdist

        likeness = cdist(self.words, self.words, scorer=Levenshtein.normalized_similarity)
        return np.asarray(likeness, dtype=np.float64)

    def trusted(self, calibration: TaskCalibration | None) -> Candidates:
        """Return the same candidates with what their voters' words are worth."""
        trust = np.full(len(self), np.nan)
        for place, name in enumerate(self.voters if calibration else ()):
            rows = self.voter == place
            if rows.any():
                trust[rows] = calibration.voters[name].probability(self.score[rows])  # type: ignore[union-attr]
        other = copy(self)  # and with it the columns that were worked out
        other.trust = trust
        return other


def candidates_of(
    annotations: Iterable[Annotation], task: str, voters: Sequence[str]
) -> Candidates:
    """Put what these voters said for a task into columns; a region that is none is left out.

    Args:
        annotations: those of one sample, of any task and specialist.
    """
    number = {voter: place for place, voter in enumerate(voters)}
    heard = [
        one
        for one in annotations
        if one.task == task and one.specialist in number and _has_place(one)
    ]
    return Candidates(
        task=task,
        annotations=tuple(heard),
        voters=tuple(voters),
        voter=np.array([number[one.specialist] for one in heard], dtype=np.int64),
        box_xyxy=np.array([box_of(one) for one in heard], dtype=np.float64).reshape(-1, 4),
        score=np.array([one.score for one in heard], dtype=np.float64),  # None becomes NaN
        trust=np.full(len(heard), np.nan),
    )


def words_of(annotation: Annotation) -> str:
    """Return the words that a statement is about, without case and outer space."""
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
    left, top, width, height = coco_mask.toBbox(rle(annotation)).tolist()
    return left, top, left + width, top + height


def rle(annotation: Annotation) -> dict[str, Any]:
    """Return the mask as pycocotools wants it."""
    if annotation.mask_rle is None:
        raise ValueError(f"annotation {annotation.id!r} has no mask")
    return annotation.mask_rle._asdict()


def _has_place(annotation: Annotation) -> bool:
    if annotation.kind == "text":
        return bool(annotation.text.strip())
    if annotation.task in MASK_TASKS:
        return annotation.mask_rle is not None
    return bool(annotation.box_xyxy or annotation.quad or annotation.mask_rle)


def _subject(annotation: Annotation) -> object:
    """Return the span of a caption, the question that was asked, or nothing."""
    if annotation.task in PHRASE_TASKS:
        return annotation.parent_id, annotation.span
    if annotation.task in QUERIED_TASKS:
        return words_of(annotation)
    return ""

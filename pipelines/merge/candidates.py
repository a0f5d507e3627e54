"""What the voters said of one image for one task, as columns.

A candidate is one annotation of one voter. Here are its place, its words and what its score is
worth; how much candidates overlap and how much their words agree. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from engine.annotation import PHRASE_TASKS, Annotation
from pipelines.calibration.calibration import TaskCalibration
from specialists.overlap import box_overlap, mask_overlap

NAMED_TASKS = ("object_detection", "open_vocabulary_detection")
"""Boxes with a name."""
BOX_TASKS = (*NAMED_TASKS, "region_proposal", "dense_region_caption")
MASK_TASKS = ("segmentation", "referring_segmentation")
READ_TASKS = ("ocr", "dense_region_caption")
"""Tasks whose words are read or written freely: two may be nearly the same."""
QUERIED_TASKS = ("open_vocabulary_detection",)
"""Tasks whose label is a question that was asked: other labels on the same place are no rivals."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """The n statements about one image for one task, in the order they were said.

    `voter` is the place of each one's specialist in `voters`, int, (n,); `box_xyxy` its box or
    that around its quad or mask, pixels, (n, 4); `score` what it said, NaN for nothing, (n,);
    `trust` the calibrated probability that it is right, NaN without calibration, (n,).
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

    @cached_property
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
        if self.task not in READ_TASKS:
            return (self.word[:, None] == self.word).astype(np.float64)
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import cdist

        likeness = cdist(self.words, self.words, scorer=Levenshtein.normalized_similarity)
        return np.asarray(likeness, dtype=np.float64)

    def only(self, rows: np.ndarray) -> Candidates:
        """Return some of the candidates: `rows` are numbers or bool."""
        places = np.arange(len(self))[rows]
        return Candidates(
            task=self.task,
            annotations=tuple(self.annotations[place] for place in places),
            voters=self.voters,
            voter=self.voter[places],
            box_xyxy=self.box_xyxy[places],
            score=self.score[places],
            trust=self.trust[places],
        )


def candidates_of(
    annotations: Sequence[Annotation],
    task: str,
    voters: Sequence[str],
    calibration: TaskCalibration | None = None,
) -> Candidates:
    """Put what these voters said for a task into columns; what has no region is left out.

    Args:
        annotations: those of one sample, of any task and specialist.
        calibration: what is known of the voters for this task, if anything.
    """
    number = {voter: place for place, voter in enumerate(voters)}
    heard = [
        one
        for one in annotations
        if one.task == task and one.specialist in number and _has_region(one)
    ]
    score = np.array([np.nan if one.score is None else one.score for one in heard])
    voter = np.array([number[one.specialist] for one in heard], dtype=np.int64)
    return Candidates(
        task=task,
        annotations=tuple(heard),
        voters=tuple(voters),
        voter=voter,
        box_xyxy=np.array([box_of(one) for one in heard]).reshape(-1, 4),
        score=score,
        trust=_trust(score, voter, voters, calibration),
    )


def _trust(
    score: np.ndarray,
    voter: np.ndarray,
    voters: Sequence[str],
    calibration: TaskCalibration | None,
) -> np.ndarray:
    trust = np.full(len(score), np.nan)
    for place, name in enumerate(voters) if calibration else ():
        rows = voter == place
        if rows.any():
            trust[rows] = calibration.voters[name].probability(score[rows])  # type: ignore[union-attr]
    return trust


def words_of(annotation: Annotation) -> str:
    """Return the words that a statement is about, without case and outer space."""
    is_name = annotation.kind == "region" and annotation.task not in READ_TASKS
    first, second = annotation.text, annotation.label
    return ((second or first) if is_name else (first or second)).strip().casefold()


def box_of(annotation: Annotation) -> tuple[float, ...]:
    """Return the box of a region, or that around its quad or mask, pixels, x1 y1 x2 y2."""
    if annotation.box_xyxy:
        return annotation.box_xyxy
    if annotation.quad:
        x, y = annotation.quad[::2], annotation.quad[1::2]
        return min(x), min(y), max(x), max(y)
    left, top, width, height = coco_mask.toBbox(rle(annotation)).tolist()
    return left, top, left + width, top + height


def rle(annotation: Annotation) -> dict[str, Any]:
    """Return the mask as pycocotools wants it."""
    if annotation.mask_rle is None:
        raise ValueError(f"annotation {annotation.id!r} has no mask")
    return annotation.mask_rle._asdict()


def _has_region(annotation: Annotation) -> bool:
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

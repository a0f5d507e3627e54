"""The voters' annotations of one image for one task, as columns.

A candidate is one annotation of one voter, a specialist. Here are its box, its text and its
calibrated score; how much candidates overlap and how similar their texts are. Nothing is decided
here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.tasks import DETECTION_TASKS, MASK_TASKS, PHRASE_TASKS
from florilegium.pipelines.merge.calibration import TaskCalibration
from florilegium.specialists.regions.likeness import FREE_TEXT_TASKS, box_of, rle, words_of
from florilegium.specialists.regions.overlap import box_overlap, mask_overlap

BOX_TASKS = (*DETECTION_TASKS, "region_proposal", "dense_region_caption")
QUERIED_TASKS = ("open_vocabulary_detection",)
"""Tasks whose label is the query: regions with different labels do not compete."""


@dataclass(kw_only=True, eq=False)
class Candidates:
    """The n annotations of one image for one task, in their stored order.

    `voter` is the index of each one's specialist in `voters`, int, (n,); `box_xyxy` its box or
    that around its quad or mask, pixels, (n, 4); `score` its score, NaN for none, (n,); `trust`
    the calibrated probability that it is right, NaN before `trusted`, (n,). Other columns are
    computed when first used.
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
        """The label or text of each one, case-folded, without outer white space."""
        return [words_of(annotation) for annotation in self.annotations]

    @cached_property
    def text_id(self) -> np.ndarray:
        """The words as numbers: equal words have equal numbers, int64, (n,)."""
        numbers: dict[str, int] = {}
        codes = [numbers.setdefault(words, len(numbers)) for words in self.words]
        return np.array(codes, dtype=np.int64)

    @property
    def certainty(self) -> np.ndarray:
        """How sure each one is, the surest highest: trust, else score, else -1, (n,)."""
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
        """The subject of each one as a number, int64, (n,): different subjects never merge."""
        numbers: dict[object, int] = {}
        keys = [subject_of(annotation) for annotation in self.annotations]
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)

    @cached_property
    def likeness(self) -> np.ndarray:
        """Similarity of the texts, 0..1, (n, n): of names, 1 for the same and 0 otherwise."""
        if self.task not in FREE_TEXT_TASKS:
            return (self.text_id[:, None] == self.text_id).astype(np.float64)
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import cdist

        likeness = cdist(self.words, self.words, scorer=Levenshtein.normalized_similarity)
        return np.asarray(likeness, dtype=np.float64)

    def trusted(self, calibration: TaskCalibration | None) -> Candidates:
        """Return the same candidates with the trust that the calibration gives them."""
        trust = np.full(len(self), np.nan)
        for index, name in enumerate(self.voters if calibration else ()):
            rows = self.voter == index
            if rows.any():
                trust[rows] = calibration.voters[name].probability(self.score[rows])  # type: ignore[union-attr]
        other = copy(self)  # with the columns that were computed
        other.trust = trust
        return other


def candidates_of(
    annotations: Iterable[Annotation], task: str, voters: Sequence[str]
) -> Candidates:
    """Put these voters' annotations of a task into columns, without those that lack a region.

    Args:
        annotations: those of one sample, of any task and specialist.
    """
    number = {voter: index for index, voter in enumerate(voters)}
    chosen = [
        one
        for one in annotations
        if one.task == task and one.specialist in number and _has_content(one)
    ]
    return Candidates(
        task=task,
        annotations=tuple(chosen),
        voters=tuple(voters),
        voter=np.array([number[one.specialist] for one in chosen], dtype=np.int64),
        box_xyxy=np.array([box_of(one) for one in chosen], dtype=np.float64).reshape(-1, 4),
        score=np.array([one.score for one in chosen], dtype=np.float64),  # None becomes NaN
        trust=np.full(len(chosen), np.nan),
    )


def _has_content(annotation: Annotation) -> bool:
    """Whether there is what its task is about: a text, a mask, or a region."""
    if annotation.kind == "text":
        return bool(annotation.text.strip())
    if annotation.task in MASK_TASKS:
        return annotation.mask_rle is not None
    return bool(annotation.box_xyxy or annotation.quad or annotation.mask_rle)


def subject_of(annotation: Annotation) -> object:
    """Return the span of a caption, the query, or nothing for other tasks: annotations of different
    subjects are never the same thing."""
    if annotation.task in PHRASE_TASKS:
        return annotation.parent_id, annotation.span
    if annotation.task in QUERIED_TASKS:
        return words_of(annotation)
    return ""

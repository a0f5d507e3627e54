"""Labels of the source in a merge: each stays as it is, before any rule decides.

Machine annotations of the same thing become part of the label (`merged_from`); rules decide about
all others, as in an image without labels. So labels of the source, which have no calibrated score,
are no votes, and no voter or calibration has to know them (Florence-2 paper, arXiv 2311.06242,
section 4.2: labels of the source are merged with the synthetic ones).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from florilegium.engine.core.annotation import SOURCE, Annotation
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.pipelines.merge.candidates import candidates_of, subject_of
from florilegium.pipelines.merge.statement import repeat
from florilegium.specialists.regions.likeness import box_of
from florilegium.specialists.regions.overlap import box_overlap


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The labels of the source for one task of an image, and what voters found beside them.

    `kept` are copies of the labels, with `merged_from`; `others` the annotations of voters about
    other things.
    """

    kept: tuple[Annotation, ...]
    others: tuple[Annotation, ...]

    def without_rivals(self, merged: Sequence[Annotation], apart: float) -> list[Annotation]:
        """Return merged annotations without those that overlap a label by `apart` or more.

        The mean of several boxes may do so though none of them does.
        """
        iou, _ = box_overlap(_boxes(merged), _boxes(self.kept))
        return [
            one
            for one, is_near in zip(merged, (iou >= apart).tolist(), strict=True)
            if not any(
                near and subject_of(label) == subject_of(one)
                for near, label in zip(is_near, self.kept, strict=True)
            )
        ]


def labels_among(found: Sequence[Annotation], task: str, iou: float) -> Labels:
    """Set the labels of the source apart from the annotations of voters.

    The same thing is, for a region, what overlaps the label by `iou` or more; part of the label
    becomes of every voter the annotation that overlaps it most. All captions of an image are about
    the same thing; part of the label become those with the same text.

    Args:
        found: the annotations of one image for the task.
    """
    voters = tuple(dict.fromkeys((SOURCE, *(one.specialist for one in found))))
    candidates = candidates_of(found, task, voters)
    is_label = candidates.voter == 0
    if not is_label.any():
        return Labels(kept=(), others=tuple(found))
    if task in CAPTION_TASKS:
        closeness = (candidates.text_id[:, None] == candidates.text_id).astype(np.float64)
        is_taken = np.ones(len(candidates), dtype=bool)
    else:
        closeness = candidates.overlap * (candidates.overlap >= iou)
        is_taken = is_label | closeness[is_label].any(axis=0)
    annotations = candidates.annotations
    return Labels(
        kept=tuple(
            repeat(
                annotations[row],
                merged_from=tuple(annotations[one].id for one in (row, *parts)),
                confidence=np.nan,
            )
            for row, parts in _parts(candidates.voter, is_label, closeness)
        ),
        others=tuple(annotations[row] for row in np.flatnonzero(~is_taken)),
    )


def _parts(
    voter: np.ndarray, is_label: np.ndarray, closeness: np.ndarray
) -> Iterator[tuple[int, list[int]]]:
    """Yield the row of each label, and the rows of the annotations that become part of it.

    Args:
        closeness: of two annotations, 0 where they are not the same thing, (n, n).
    """
    labels, others = np.flatnonzero(is_label), np.flatnonzero(~is_label)
    owner = closeness[np.ix_(labels, others)].argmax(axis=0)
    for index, label in enumerate(labels.tolist()):
        own = others[(owner == index) & (closeness[label, others] > 0)]
        own = own[np.argsort(-closeness[label, own], kind="stable")]
        _, closest = np.unique(voter[own], return_index=True)
        yield label, own[closest].tolist()


def _boxes(annotations: Sequence[Annotation]) -> np.ndarray:
    return np.array([box_of(one) for one in annotations], dtype=np.float64).reshape(-1, 4)

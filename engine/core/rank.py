"""Which of several annotations of the same thing comes first.

Labels that came with the source come before those of machines, whatever their scores: they are
merged with machine labels and not replaced by them (Florence-2 paper, arXiv 2311.06242, section
4.2). Then the highest score comes first. An annotation without a score is the last of those of
machines, and the first of those of the source, which has them mostly from people. Equal ones keep
their order. Merges weigh the annotations of machines in their own way.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from florilegium.engine.core.annotation import SOURCE, Annotation

Name = TypeVar("Name", bound=Hashable)
"""What identifies a row in `merged_from`: its id, or that and its sample."""


def order(is_of_source: np.ndarray, score: np.ndarray, *, source_first: bool = True) -> np.ndarray:
    """Return the indices of annotations, the first in rank first, int64, (n,).

    Args:
        is_of_source: which are labels of the source, bool, (n,).
        score: 0..1, NaN for none, (n,).
        source_first: `False` ranks labels of the source like all others, by their scores.
    """
    is_first = is_of_source & source_first
    without_score = np.where(is_first, np.inf, -1.0)
    by_score = np.where(np.isnan(score), without_score, score)
    indices: np.ndarray = np.lexsort((-by_score, ~is_first))
    return indices


def ranked(
    annotations: Iterable[Annotation],
    known: Iterable[Annotation] = (),
    *,
    source_first: bool = True,
) -> list[Annotation]:
    """Return annotations of one sample, the first in rank first.

    Args:
        known: more annotations of the sample, among which labels of the source are looked up.
    """
    given = list(annotations)
    score = np.array([one.score for one in given], dtype=np.float64)  # None becomes NaN
    indices = order(among_source(given, known), score, source_first=source_first)
    return [given[index] for index in indices.tolist()]


def among_source(annotations: Sequence[Annotation], known: Iterable[Annotation] = ()) -> np.ndarray:
    """Return which annotations of one sample are labels of the source, bool, (n,).

    One that was merged from a label of the source and has its words is one, too; `known` as for
    `ranked`.
    """
    every = (*annotations, *known)
    labels = {one.id: one.words for one in every if one.specialist == SOURCE and one.id}
    rows = [(one.specialist, one.words, one.merged_from) for one in annotations]
    return rows_of_source(rows, labels)


def rows_of_source(
    rows: Iterable[tuple[str, str, Iterable[Name]]], labels: Mapping[Name, str]
) -> np.ndarray:
    """Return which rows are labels of the source, bool, (n,).

    Args:
        rows: specialist, words and `merged_from` of each.
        labels: the words of all labels of the source, by their names in `merged_from`.
    """
    found = [
        specialist == SOURCE or any(labels.get(name) == words for name in merged_from)
        for specialist, words, merged_from in rows
    ]
    return np.array(found, dtype=bool)

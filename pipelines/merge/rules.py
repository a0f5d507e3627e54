"""The rules by which hypotheses become statements: what is said, and how sure one can be.

A rule gives every hypothesis a strength; the best of each cluster is chosen if it is strong
enough, and of two that lie on one place the stronger. Nothing is written here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.merge.calibration import TaskCalibration
from pipelines.merge.hypotheses import Hypotheses, feature_names, features
from specialists.regions.overlap import box_overlap


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """The k hypotheses that are said, the strongest first.

    `row` is their place among the hypotheses, int, (k,); `confidence` the calibrated probability
    that they are right, NaN where nothing is calibrated, (k,).
    """

    row: np.ndarray
    confidence: np.ndarray


def calibrated_fusion(
    hypotheses: Hypotheses,
    calibration: TaskCalibration,
    *,
    size_wh: tuple[int, int],
    least_confidence: float,
    apart: float,
) -> Choice:
    """Choose by the probability that the audit gives to what all voters say together."""
    fusion = calibration.fusion
    if fusion is None:
        raise ValueError(f"nothing is fused: {calibration.reason}")
    columns = feature_names(hypotheses.candidates.voters, fusion.names)
    probability = fusion.probability(columns, features(hypotheses, fusion.names, size_wh))
    rows = _best_of_clusters(hypotheses, probability)
    rows = separate(hypotheses, rows[probability[rows] >= least_confidence], apart)
    return Choice(row=rows, confidence=probability[rows])


def agreement(hypotheses: Hypotheses, *, min_votes: int, apart: float) -> Choice:
    """Choose what at least so many voters name alike.

    More votes come first; of as many, the words that are nearest to those of all voters, each
    counted by what it is worth.
    """
    votes = hypotheses.agreement.round().sum(axis=1)
    trust = np.nan_to_num(hypotheses.of_members(hypotheses.candidates.rank)).clip(0, 1)
    support = (hypotheses.agreement * trust).sum(axis=1) / hypotheses.is_present.sum(axis=1)
    strength = votes + 0.9 * support
    rows = _best_of_clusters(hypotheses, strength)
    rows = separate(hypotheses, rows[votes[rows] >= min_votes], apart)
    return Choice(row=rows, confidence=np.full(len(rows), np.nan))


def union(hypotheses: Hypotheses, *, apart: float) -> Choice:
    """Choose everything that anybody says, the surest of each place."""
    strength = hypotheses.candidates.rank[hypotheses.leader]
    rows = separate(hypotheses, _best_of_clusters(hypotheses, strength), apart)
    trust = hypotheses.candidates.trust[hypotheses.leader[rows]]
    return Choice(row=rows, confidence=trust)


def _best_of_clusters(hypotheses: Hypotheses, strength: np.ndarray) -> np.ndarray:
    """Return the strongest hypothesis of each cluster, the strongest cluster first."""
    order = np.argsort(-strength, kind="stable")
    _, first = np.unique(hypotheses.cluster[order], return_index=True)
    best: np.ndarray = order[np.sort(first)]
    return best


def separate(hypotheses: Hypotheses, rows: np.ndarray, apart: float) -> np.ndarray:
    """Return the rows, best first, without those that lie on the place of a better one.

    What overlaps by `apart` or more is the same place, whatever it is called, except where the
    names are questions that were asked.
    """
    boxes = hypotheses.box_xyxy[rows]
    iou, _ = box_overlap(boxes, boxes)
    subject = hypotheses.candidates.subject[hypotheses.leader[rows]]
    is_same_place = (iou >= apart) & (subject[:, None] == subject)
    kept: list[int] = []
    for place in range(len(rows)):
        if not is_same_place[place, kept].any():
            kept.append(place)
    return rows[kept]

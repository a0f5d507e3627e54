"""From candidates to hypotheses: which annotations may mean the same object, and their features.

Candidates that overlap form a cluster, at most one of each voter. Each label in a cluster is a
hypothesis: an object with this label is here. Its features are how like it the text of each voter
is, the size of the object, and the label, as some labels are often wrong. A calibration turns them
into a probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from florilegium.pipelines.merge.calibration import TaskCalibration, logit
from florilegium.pipelines.merge.candidates import Candidates
from florilegium.specialists.regions.overlap import box_overlap

SHAPE_FEATURES = ("spread", "size", "size_squared", "on_edge", "rival", "rival_same", "votes")
"""Features of the object itself: how far its voters' boxes disagree, how large it is, whether it
touches the border, how much a better ranked cluster overlaps it, and (`votes`, 0 or 1) whether at
least two voters agree on its label."""

_SMALLEST_AREA_PX = 1e-6
"""Keeps the logarithm of the size finite for an empty box."""
_SMALLEST_SIZE = 1e-3
"""Added to the relative size before the logarithm, so that tiny objects are not outliers."""
_EDGE_SHARE = 0.01
"""Share of the longer side of the image within which a box touches the border: one percent."""
_SEVERAL_VOTES = 2
"""Sum of the voters' likeness from which on the feature `votes` is 1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Hypotheses:
    """The h hypotheses of one image for one task.

    `cluster` is the cluster of each, ascending, int, (h,); `leader` the index of its best ranked
    candidate, int, (h,); `member` the index of each voter's candidate in the cluster, -1 for none,
    int, (h, voters); `likeness` how similar that candidate's text is to the leader's, 0..1, 0 for
    none, (h, voters); `box_xyxy` the mean box, pixels, (h, 4).
    """

    candidates: Candidates
    cluster: np.ndarray
    leader: np.ndarray
    member: np.ndarray
    likeness: np.ndarray
    box_xyxy: np.ndarray

    def __len__(self) -> int:
        return len(self.cluster)

    @property
    def words(self) -> np.ndarray:
        """The label or text of each hypothesis, str, (h,)."""
        return np.array(self.candidates.words, dtype=object)[self.leader]

    @property
    def is_present(self) -> np.ndarray:
        """Which voters have a candidate in the cluster, bool, (h, voters)."""
        return self.member >= 0

    def of_members(self, column: np.ndarray) -> np.ndarray:
        """Return a column of the candidates, (n,), for each member, (h, voters); NaN for none."""
        values = np.append(column.astype(np.float64), np.nan)  # -1 is the index of the NaN
        return values[self.member]


def hypotheses_of(
    candidates: Candidates, *, iou: float, calibration: TaskCalibration | None = None
) -> Hypotheses:
    """Cluster the candidates of an image; each text in a cluster is a hypothesis.

    Args:
        iou: least intersection over union with the best ranked of a cluster, 0..1.
    """
    cluster_of = cluster(candidates, iou)
    leader = _leaders(candidates, cluster_of)
    member = _members(candidates, cluster_of)[cluster_of[leader]]
    similarity = candidates.likeness[leader[:, None], member]
    weight = weights_of(candidates.voters, calibration)
    return Hypotheses(
        candidates=candidates,
        cluster=cluster_of[leader],
        leader=leader,
        member=member,
        likeness=np.where(member >= 0, similarity, 0.0),
        box_xyxy=_mean_boxes(candidates.box_xyxy, member, weight),
    )


def _leaders(candidates: Candidates, cluster_of: np.ndarray) -> np.ndarray:
    """Return the best ranked candidate of each text in each cluster, by cluster and text, (h,)."""
    by_certainty = np.argsort(-candidates.certainty, kind="stable")
    keys = np.stack([cluster_of, candidates.text_id], axis=1)
    _, first = np.unique(keys[by_certainty], axis=0, return_index=True)
    leaders: np.ndarray = by_certainty[first]
    return leaders


def _members(candidates: Candidates, cluster_of: np.ndarray) -> np.ndarray:
    """Return the candidate of each voter in each cluster, -1 for none, (clusters, voters)."""
    members = np.full((cluster_of.max(initial=-1) + 1, len(candidates.voters)), -1)
    members[cluster_of, candidates.voter] = np.arange(len(candidates))
    return members


def cluster(candidates: Candidates, iou: float) -> np.ndarray:
    """Number the clusters of the candidates, the best ranked first, int64, (n,).

    The best ranked candidate that is still free forms a cluster with, of every other voter, the
    free candidate that overlaps it most.
    """
    number = np.full(len(candidates), -1)
    overlap = candidates.overlap
    for seed in np.argsort(-candidates.certainty, kind="stable"):
        if number[seed] >= 0:
            continue
        is_other = candidates.voter != candidates.voter[seed]
        near = np.flatnonzero((number < 0) & is_other & (overlap[seed] >= iou))
        near = near[np.argsort(-overlap[seed, near], kind="stable")]
        _, best = np.unique(candidates.voter[near], return_index=True)
        number[[seed, *near[best]]] = number.max() + 1
    return number


def weights_of(voters: Sequence[str], calibration: TaskCalibration | None) -> np.ndarray:
    """Return the weight of each voter's boxes in a mean, 1 without a calibration, (voters,)."""
    if calibration is None:
        return np.ones(len(voters))
    return np.array([calibration.voters[voter].weight for voter in voters])


def _mean_boxes(box_xyxy: np.ndarray, member: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the weighted mean of the members' boxes, (h, 4)."""
    weights = (weight * (member >= 0))[:, :, None]
    boxes = np.vstack([box_xyxy, np.zeros(4)])[member]  # -1 is the index of the zeros
    mean: np.ndarray = (boxes * weights).sum(axis=1) / weights.sum(axis=1)
    return mean


def feature_names(voters: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns of `features`."""
    kinds = ("agrees", "agrees_logit", "differs", "differs_logit")
    return (
        *(f"{kind}/{voter}" for kind in kinds for voter in voters),
        *SHAPE_FEATURES,
        *(f"name/{name}" for name in names),
        *(f"name/{voter}/{name}" for voter in voters for name in names),
    )


def features(hypotheses: Hypotheses, names: Sequence[str], size_wh: tuple[int, int]) -> np.ndarray:
    """Return the features of each hypothesis, (h, len(feature_names)).

    Args:
        names: labels that have features of their own: the label, and which voters agree on it.
        size_wh: width and height of the image, pixels.
    """
    agrees = hypotheses.likeness
    differs = hypotheses.is_present - agrees
    log_odds = np.nan_to_num(hypotheses.of_members(logit(hypotheses.candidates.trust)))
    votes = [agrees, agrees * log_odds, differs, differs * log_odds]
    has_name = _has_name(hypotheses, names)
    width = agrees.shape[1] * len(names)  # not -1, which is ambiguous without hypotheses
    by_voter = (agrees[:, :, None] * has_name[:, None]).reshape(len(hypotheses), width)
    return np.hstack([*votes, _shape_features(hypotheses, size_wh), has_name, by_voter])


def _has_name(hypotheses: Hypotheses, names: Sequence[str]) -> np.ndarray:
    """Return which hypothesis has which name, 0 or 1, (h, names)."""
    number = {name: index for index, name in enumerate(names)}
    code = np.array([number.get(name, -1) for name in hypotheses.words], dtype=np.int64)
    return (code[:, None] == np.arange(len(names))).astype(np.float64)


def _shape_features(hypotheses: Hypotheses, size_wh: tuple[int, int]) -> np.ndarray:
    box = hypotheses.box_xyxy
    side = np.sqrt(np.clip(np.prod(box[:, 2:] - box[:, :2], axis=1), _SMALLEST_AREA_PX, None))
    size = np.log(side / np.sqrt(np.prod(size_wh)) + _SMALLEST_SIZE)
    margin = np.minimum(box[:, :2], np.array(size_wh) - box[:, 2:]).min(axis=1)
    rival, rival_same = _rivals(hypotheses)
    columns = [
        _spread(hypotheses),
        size,
        size**2,
        margin <= _EDGE_SHARE * max(size_wh),
        rival,
        rival_same,
        hypotheses.likeness.sum(axis=1) >= _SEVERAL_VOTES,
    ]
    return np.stack(columns, axis=1).astype(np.float64)


def _spread(hypotheses: Hypotheses) -> np.ndarray:
    """Return how far the members' boxes are from the mean box: mean of 1 - IoU, (h,)."""
    iou, _ = box_overlap(hypotheses.box_xyxy, hypotheses.candidates.box_xyxy)
    own = np.pad(iou, ((0, 0), (0, 1)))[np.arange(len(hypotheses))[:, None], hypotheses.member]
    is_present = hypotheses.is_present
    return ((1 - own) * is_present).sum(axis=1) / is_present.sum(axis=1)


def _rivals(hypotheses: Hypotheses) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest overlap with a better ranked cluster, and with one of the same text.

    Each is (h,).

    Overlap is the share of the smaller box that lies in the other.
    """
    box = hypotheses.box_xyxy
    _, inside = box_overlap(box, box)
    shared = np.maximum(inside, inside.T)
    subject = hypotheses.candidates.subject[hypotheses.leader]
    text_id = hypotheses.candidates.text_id[hypotheses.leader]
    # Clusters are numbered by rank, the best first.
    is_rival = (hypotheses.cluster < hypotheses.cluster[:, None]) & (subject[:, None] == subject)
    is_same = text_id[:, None] == text_id
    shared = shared * is_rival
    return shared.max(axis=1, initial=0), (shared * is_same).max(axis=1, initial=0)

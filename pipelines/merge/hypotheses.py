"""From candidates to hypotheses: which statements may mean the same thing, and what they tell.

Candidates that overlap form a cluster, at most one of each voter. Each name that is given in a
cluster is a hypothesis: this thing is here and is called so. Its features are what every voter
says for or against it, its size, and the name, for some names are given too easily; how probable
that makes it is for a calibration to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.merge.calibration import TaskCalibration, logit
from pipelines.merge.candidates import Candidates
from specialists.regions.overlap import box_overlap

SHAPE_FEATURES = ("spread", "size", "size_squared", "on_edge", "rival", "rival_same", "votes")
"""Features of the thing itself: how far its voters' boxes disagree, how large it is, whether
it touches the border, how much a surer cluster overlaps it, how many voters name it so."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Hypotheses:
    """The h hypotheses of one image for one task.

    `cluster` is the cluster of each, ascending, int, (h,); `leader` its surest candidate, int,
    (h,); `member` the candidate of each voter in the cluster, -1 for none, int, (h, voters);
    `agreement` how much that one's words agree, 0..1, (h, voters); `box_xyxy` the mean box,
    pixels, (h, 4).
    """

    candidates: Candidates
    cluster: np.ndarray
    leader: np.ndarray
    member: np.ndarray
    agreement: np.ndarray
    box_xyxy: np.ndarray

    def __len__(self) -> int:
        return len(self.cluster)

    @property
    def words(self) -> np.ndarray:
        """What each hypothesis calls its thing, str, (h,)."""
        return np.array(self.candidates.words, dtype=object)[self.leader]

    @property
    def is_present(self) -> np.ndarray:
        """Which voters have a candidate in the cluster, bool, (h, voters)."""
        return self.member >= 0

    def of_members(self, column: np.ndarray) -> np.ndarray:
        """Bring a column of the candidates, (n,), to their places, (h, voters); NaN for none."""
        values = np.append(column.astype(np.float64), np.nan)
        return values[self.member]


def hypotheses_of(
    candidates: Candidates, *, iou: float, calibration: TaskCalibration | None = None
) -> Hypotheses:
    """Cluster the candidates of an image and list what is said of each cluster.

    Args:
        iou: least intersection over union with the surest of a cluster, 0..1.
    """
    number = cluster(candidates, iou)
    by_rank = np.argsort(-candidates.rank, kind="stable")
    keys = np.stack([number, candidates.word], axis=1)[by_rank]
    names, first = np.unique(keys, axis=0, return_index=True)
    members = np.full((number.max(initial=-1) + 1, len(candidates.voters)), -1)
    members[number, candidates.voter] = np.arange(len(candidates))
    leader, member = by_rank[first], members[names[:, 0]]
    likeness = np.pad(candidates.likeness, ((0, 0), (0, 1)))
    weight = weights_of(candidates.voters, calibration)
    return Hypotheses(
        candidates=candidates,
        cluster=names[:, 0],
        leader=leader,
        member=member,
        agreement=likeness[leader[:, None], member],
        box_xyxy=_mean_boxes(candidates.box_xyxy, member, weight),
    )


def cluster(candidates: Candidates, iou: float) -> np.ndarray:
    """Number the clusters, the surest first, int64, (n,).

    The surest free candidate gathers of every other voter the free one that overlaps it most.
    """
    number = np.full(len(candidates), -1)
    overlap = candidates.overlap
    for seed in np.argsort(-candidates.rank, kind="stable"):
        if number[seed] >= 0:
            continue
        is_other = candidates.voter != candidates.voter[seed]
        near = np.flatnonzero((number < 0) & is_other & (overlap[seed] >= iou))
        near = near[np.argsort(-overlap[seed, near], kind="stable")]
        _, best = np.unique(candidates.voter[near], return_index=True)
        number[[seed, *near[best]]] = number.max() + 1
    return number


def weights_of(voters: Sequence[str], calibration: TaskCalibration | None) -> np.ndarray:
    """Return how exactly each voter draws, 1 where nothing is known, (voters,)."""
    if calibration is None:
        return np.ones(len(voters))
    return np.array([calibration.voters[voter].weight for voter in voters])


def _mean_boxes(box_xyxy: np.ndarray, member: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the weighted mean of the members' boxes, (h, 4)."""
    weights = (weight * (member >= 0))[:, :, None]
    boxes = np.vstack([box_xyxy, np.zeros(4)])[member]
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
    """Return what speaks for and against each hypothesis, (h, len(feature_names)).

    Args:
        names: those of which it matters that a thing is called so, and who calls it so.
        size_wh: width and height of the image, pixels.
    """
    agrees = hypotheses.agreement
    differs = hypotheses.is_present - agrees
    log_odds = np.nan_to_num(hypotheses.of_members(logit(hypotheses.candidates.trust)))
    votes = [agrees, agrees * log_odds, differs, differs * log_odds]
    is_called = _is_called(hypotheses, names)
    width = agrees.shape[1] * len(names)  # not -1, which has no meaning where nothing was said
    by_voter = (agrees[:, :, None] * is_called[:, None]).reshape(len(hypotheses), width)
    return np.hstack([*votes, _shape_features(hypotheses, size_wh), is_called, by_voter])


def _is_called(hypotheses: Hypotheses, names: Sequence[str]) -> np.ndarray:
    """Return which hypothesis has which name, 0 or 1, (h, names)."""
    number = {name: place for place, name in enumerate(names)}
    code = np.array([number.get(name, -1) for name in hypotheses.words], dtype=np.int64)
    return (code[:, None] == np.arange(len(names))).astype(np.float64)


def _shape_features(hypotheses: Hypotheses, size_wh: tuple[int, int]) -> np.ndarray:
    box = hypotheses.box_xyxy
    side = np.sqrt(np.clip(np.prod(box[:, 2:] - box[:, :2], axis=1), 1e-6, None))
    size = np.log(side / np.sqrt(np.prod(size_wh)) + 1e-3)
    margin = np.minimum(box[:, :2], np.array(size_wh) - box[:, 2:]).min(axis=1)
    rival, rival_same = _rivals(hypotheses)
    columns = [
        _spread(hypotheses),
        size,
        size**2,
        margin <= 0.01 * max(size_wh),
        rival,
        rival_same,
        hypotheses.agreement.sum(axis=1) >= 2,
    ]
    return np.stack(columns, axis=1).astype(np.float64)


def _spread(hypotheses: Hypotheses) -> np.ndarray:
    """Return how far the members' boxes are from the mean box: mean of 1 - IoU, (h,)."""
    iou, _ = box_overlap(hypotheses.box_xyxy, hypotheses.candidates.box_xyxy)
    own = np.pad(iou, ((0, 0), (0, 1)))[np.arange(len(hypotheses))[:, None], hypotheses.member]
    is_present = hypotheses.is_present
    return ((1 - own) * is_present).sum(axis=1) / is_present.sum(axis=1)


def _rivals(hypotheses: Hypotheses) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest overlap with a surer cluster, and with one of that name, each (h,).

    Overlap is the share of the smaller box that lies in the other.
    """
    box = hypotheses.box_xyxy
    _, inside = box_overlap(box, box)
    shared = np.maximum(inside, inside.T)
    subject = hypotheses.candidates.subject[hypotheses.leader]
    word = hypotheses.candidates.word[hypotheses.leader]
    # Clusters are numbered from the surest on.
    is_rival = (hypotheses.cluster < hypotheses.cluster[:, None]) & (subject[:, None] == subject)
    is_same = word[:, None] == word
    shared = shared * is_rival
    return shared.max(axis=1, initial=0), (shared * is_same).max(axis=1, initial=0)

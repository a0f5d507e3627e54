"""The rules that merge the voters' annotations: which are kept, with which confidence.

A rule is a class with one method, found by an entry point of `florilegium.merge_rules`. Most
derive from `Choosing` and only choose among hypotheses: each gets a strength, the best of each
cluster is chosen if it is strong enough, and of two that overlap the stronger.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.api import API_VERSION
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.engine.planning.registry import find_installed, installed_names
from florilegium.pipelines.merge.calibration import TaskCalibration
from florilegium.pipelines.merge.candidates import Candidates
from florilegium.pipelines.merge.captions import chosen_caption
from florilegium.pipelines.merge.hypotheses import (
    Hypotheses,
    feature_names,
    features,
    hypotheses_of,
    weights_of,
)
from florilegium.pipelines.merge.statement import repeated, statement_of
from florilegium.specialists.regions.overlap import box_overlap

MERGE_RULES = "florilegium.merge_rules"
AGREEMENT_RULE = "agreement"
"""The rule that is used where another one needs a calibration and has none."""

_WEIGHT_OF_TRUST = 0.9
"""Below 1, so that one more vote outweighs any mean trust, which is at most 1."""


class RuleOptions(BaseModel):
    """Options of a merge that its rule reads."""

    student: str = ""
    """Name of the voter whose annotations `replace` keeps."""
    iou: float = Field(default=0.5, gt=0, le=1)
    """Intersection over union from which on two regions may be the same object, 0..1."""
    apart: float = Field(default=0.5, gt=0, le=1)
    """Intersection over union from which on the weaker of two merged regions is dropped (NMS),
    0..1."""
    min_votes: int = Field(default=2, ge=1)
    """Voters that must agree, under the rule `agreement`."""
    least_confidence: float | None = Field(default=None, ge=0, le=1)
    """Probability below which nothing is merged, 0..1; by default the calibration's, per task."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """What a rule decides about: the candidates of one task in one image.

    `size_wh` is the size of the image in pixels. `has_one_voter` is true if a single stage of the
    graph has this task, so that no other can agree with it. `objects` are the objects of the image
    and `names` the labels of objects in other images, both for captions.
    """

    candidates: Candidates
    size_wh: tuple[int, int]
    calibration: TaskCalibration | None = None
    has_one_voter: bool = False
    objects: tuple[Annotation, ...] = ()
    names: tuple[str, ...] = ()


class Rule(ABC):
    """A way to make one annotation of several voters' annotations."""

    api_version: ClassVar[int] = API_VERSION
    """The version of the plugin API that the class is written for; a class of another package gives
    the number, and is refused by a florilegium that has another one."""
    needs_calibration: ClassVar[bool] = False
    """Whether it needs a fitted fusion of all voters. Without one, for instance because the audit
    of a task was too small, `agreement` is used."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Options that the rule needs, and whose defaults are empty."""

    def __init__(self, options: RuleOptions) -> None:
        """Take the options of a merge.

        Raises:
            ValueError: an option that the rule needs is missing.
        """
        for name in self.requires:
            if not getattr(options, name):
                raise ValueError(f"the merge rule {type(self).__name__} needs `{name}`: give it")
        self.options = options

    @abstractmethod
    def merge(self, case: Case) -> list[Annotation]:
        """Return the merged annotations, the best first; the engine sets ids and provenance."""


def find_rule(name: str) -> type[Rule]:
    """Return the class of a rule.

    Raises:
        ConfigError: there is no such rule.
    """
    return find_installed(MERGE_RULES, "merge rule", name, Rule)  # type: ignore[type-abstract]


def rule_names() -> list[str]:
    """Return the names of all installed rules, sorted."""
    return installed_names(MERGE_RULES)


class Replace(Rule):
    """Keeps the annotations of the student."""

    requires: ClassVar[tuple[str, ...]] = ("student",)

    def merge(self, case: Case) -> list[Annotation]:
        """Return the student's annotations."""
        return repeated(case.candidates, self.options.student)


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """The k hypotheses that are chosen, the strongest first.

    `row` is their index among the hypotheses, int, (k,); `confidence` the calibrated probability
    that they are right, NaN where nothing is calibrated, (k,).
    """

    row: np.ndarray
    confidence: np.ndarray


class Choosing(Rule):
    """A rule that chooses among the hypotheses about regions. Of captions, all these rules choose
    one in the same way."""

    @abstractmethod
    def choose(self, hypotheses: Hypotheses, case: Case) -> Choice:
        """Choose the hypotheses that become annotations."""

    def merge(self, case: Case) -> list[Annotation]:
        """Return an annotation for each chosen hypothesis."""
        candidates = case.candidates
        if candidates.task in CAPTION_TASKS:
            return chosen_caption(candidates, case.objects, case.names)
        if not len(candidates):
            return []
        iou = self.options.iou
        hypotheses = hypotheses_of(candidates, iou=iou, calibration=case.calibration)
        choice = self.choose(hypotheses, case)
        weight = weights_of(candidates.voters, case.calibration)
        return [
            statement_of(hypotheses, row, confidence, weight)
            for row, confidence in zip(choice.row.tolist(), choice.confidence, strict=True)
        ]


class CalibratedFusion(Choosing):
    """Chooses by the probability that a regression fitted to an audit gives to each hypothesis."""

    needs_calibration: ClassVar[bool] = True

    def choose(self, hypotheses: Hypotheses, case: Case) -> Choice:
        """Choose hypotheses with at least the least confidence.

        Raises:
            ValueError: the case has no calibration, or one without a fusion.
        """
        calibration = case.calibration
        fusion = calibration.fusion if calibration else None
        if calibration is None or fusion is None:
            raise ValueError(f"nothing is fused: {calibration.reason if calibration else ''}")
        least = self.options.least_confidence
        if least is None:
            least = calibration.least_confidence
        columns = feature_names(hypotheses.candidates.voters, fusion.names)
        features_of = features(hypotheses, fusion.names, case.size_wh)
        probability = fusion.probability(columns, features_of)
        rows = _best_of_clusters(hypotheses, probability)
        rows = separate(hypotheses, rows[probability[rows] >= least], self.options.apart)
        return Choice(row=rows, confidence=probability[rows])


class Union(Choosing):
    """Chooses the annotations of all voters, the best ranked of each cluster."""

    def choose(self, hypotheses: Hypotheses, case: Case) -> Choice:
        """Choose the best ranked of each cluster; its trust is the confidence."""
        strength = hypotheses.candidates.certainty[hypotheses.leader]
        rows = separate(hypotheses, _best_of_clusters(hypotheses, strength), self.options.apart)
        trust = hypotheses.candidates.trust[hypotheses.leader[rows]]
        return Choice(row=rows, confidence=trust)


class Agreement(Choosing):
    """Chooses hypotheses with the same text from `min_votes` voters; all of a single voter.

    More votes come first; of as many, the text that agrees most with those of all voters, weighted
    by their trust or score.
    """

    def choose(self, hypotheses: Hypotheses, case: Case) -> Choice:
        """Choose hypotheses with enough votes."""
        if case.has_one_voter:
            return Union(self.options).choose(hypotheses, case)
        votes = hypotheses.likeness.round().sum(axis=1)
        trust = np.nan_to_num(hypotheses.of_members(hypotheses.candidates.certainty)).clip(0, 1)
        mean_trust = (hypotheses.likeness * trust).sum(axis=1) / hypotheses.is_present.sum(axis=1)
        strength = votes + _WEIGHT_OF_TRUST * mean_trust
        rows = _best_of_clusters(hypotheses, strength)
        rows = rows[votes[rows] >= self.options.min_votes]
        rows = separate(hypotheses, rows, self.options.apart)
        return Choice(row=rows, confidence=np.full(len(rows), np.nan))


def _best_of_clusters(hypotheses: Hypotheses, strength: np.ndarray) -> np.ndarray:
    """Return the strongest hypothesis of each cluster, the strongest cluster first."""
    order = np.argsort(-strength, kind="stable")
    _, first = np.unique(hypotheses.cluster[order], return_index=True)
    best: np.ndarray = order[np.sort(first)]
    return best


def separate(hypotheses: Hypotheses, rows: np.ndarray, nms_iou: float) -> np.ndarray:
    """Return the rows, best first, without those that overlap a better one by `nms_iou` or more.

    Labels do not matter, except that answers to different queries do not compete.
    """
    boxes = hypotheses.box_xyxy[rows]
    iou, _ = box_overlap(boxes, boxes)
    subject = hypotheses.candidates.subject[hypotheses.leader[rows]]
    is_same_region = (iou >= nms_iou) & (subject[:, None] == subject)
    kept: list[int] = []
    for index in range(len(rows)):
        if not is_same_region[index, kept].any():
            kept.append(index)
    return rows[kept]

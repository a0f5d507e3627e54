"""Fitting one task to audited scenes: each voter's scores, and all voters together.

Evaluation and cross-validation are in `fit`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.pipelines.merge.calibration import Fusion, TaskCalibration, Voter
from florilegium.pipelines.merge.candidates import Candidates
from florilegium.pipelines.merge.hypotheses import (
    Hypotheses,
    feature_names,
    features,
    hypotheses_of,
)
from florilegium.pipelines.merge.learning.audit import Findings
from florilegium.pipelines.merge.learning.localisation import edge_weights
from florilegium.pipelines.merge.learning.regression import fit_fusion, fit_voter

NO_AUDIT = "no_audit"
TOO_FEW_AUDITED = "too_few_audited"
ONE_CLASS_ONLY = "one_class_only"

IOU = 0.5
"""Intersection over union from which on two regions may be the same object."""
MIN_AUDITED = 30
"""Judged hypotheses below which nothing is fused."""
MIN_NAMED = 5
"""Judged hypotheses of a name below which the name is no feature."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """The candidates of an audited sample for one task, with the audit.

    `verdict` is 1 for right, 0 for wrong, NaN for unknown, `thing` the number of the object, -1
    unless right, each (candidates,).
    """

    size_wh: tuple[int, int]
    candidates: Candidates
    findings: Findings
    verdict: np.ndarray
    thing: np.ndarray

    def hypotheses(self, learned: TaskCalibration) -> Hypotheses:
        """Return the hypotheses about the scene, with the calibration of its voters."""
        candidates = self.candidates.trusted(learned)
        return hypotheses_of(candidates, iou=IOU, calibration=learned)

    def verdicts(self, hypotheses: Hypotheses) -> tuple[np.ndarray, np.ndarray]:
        """Judge hypotheses by the audit: verdict and number of the object, each (h,)."""
        return self.findings.carried_over(hypotheses.words, hypotheses.box_xyxy)


def learn(scenes: Sequence[Scene], task: str, voters: Sequence[str]) -> TaskCalibration:
    """Fit a task; `reason` is why its voters are not fused, empty if they are."""
    learned = TaskCalibration(voters=_learn_voters(scenes, voters))
    if task in CAPTION_TASKS:  # one is chosen, none are fused
        return learned
    everything = [scene.hypotheses(learned) for scene in scenes]
    verdicts = [
        scene.verdicts(hypotheses)[0] for scene, hypotheses in zip(scenes, everything, strict=True)
    ]
    verdict = np.concatenate([np.zeros(0), *verdicts])
    is_known = ~np.isnan(verdict)
    is_right = verdict[is_known] == 1
    if reason := _too_little(is_right):
        return learned.model_copy(update={"reason": reason})
    words = np.concatenate([hypotheses.words for hypotheses in everything])[is_known]
    names = [name for name in sorted({*words}) if name and (words == name).sum() >= MIN_NAMED]
    rows = [
        features(hypotheses, names, scene.size_wh)
        for scene, hypotheses in zip(scenes, everything, strict=True)
    ]
    columns = feature_names(voters, names)
    fusion: Fusion = fit_fusion(columns, np.vstack(rows)[is_known], is_right, names)
    return learned.model_copy(update={"fusion": fusion})


def _too_little(is_right: np.ndarray) -> str:
    """Return the reason why no fusion can be fitted, empty if it can."""
    if not len(is_right):
        return NO_AUDIT
    if len(is_right) < MIN_AUDITED:
        return TOO_FEW_AUDITED
    return ONE_CLASS_ONLY if is_right.all() or not is_right.any() else ""


def _learn_voters(scenes: Sequence[Scene], voters: Sequence[str]) -> Mapping[str, Voter]:
    """Fit each voter's scores and the weight of its boxes."""
    score, voter, verdict = (
        np.concatenate([np.zeros(0), *columns])
        for columns in (
            [scene.candidates.score for scene in scenes],
            [scene.candidates.voter for scene in scenes],
            [scene.verdict for scene in scenes],
        )
    )
    is_known = ~np.isnan(verdict)
    prior = ((verdict == 1).sum() + 1) / (is_known.sum() + 2)
    weights = _edge_weights(scenes, len(voters))
    learned = {}
    for index, name in enumerate(voters):
        rows = is_known & (voter == index)
        learned[name] = fit_voter(score[rows], verdict[rows] == 1, float(prior), weights[index])
    return learned


def _edge_weights(scenes: Sequence[Scene], voters: int) -> list[float]:
    boxes, who, what, things = [np.zeros((0, 4))], [np.zeros(0, int)], [np.zeros(0, int)], 0
    for scene in scenes:
        is_drawn = (scene.thing >= 0) & ~np.isnan(scene.candidates.box_xyxy[:, 0])
        boxes.append(scene.candidates.box_xyxy[is_drawn])
        who.append(scene.candidates.voter[is_drawn])
        what.append(scene.thing[is_drawn] + things)
        things += scene.findings.things
    weights = edge_weights(np.vstack(boxes), np.concatenate(who), np.concatenate(what), voters)
    return [float(weight) for weight in weights]

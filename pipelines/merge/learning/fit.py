"""From an audit to a calibration: of each voter's scores, and of all voters together.

Every number that is reported of merged annotations is cross-validated: they are made by a
calibration that did not see their samples. Where the audit of a task is too small, the calibration
has the reason, and the merge falls back to `agreement`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.tasks import CAPTION_TASKS, DETECTION_TASKS
from florilegium.pipelines.merge.calibration import Calibration, TaskCalibration
from florilegium.pipelines.merge.candidates import candidates_of
from florilegium.pipelines.merge.learning.audit import Audit, LabelledSample, findings
from florilegium.pipelines.merge.learning.per_task import IOU, Scene, learn
from florilegium.pipelines.merge.learning.reliability import expected_calibration_error, wilson
from florilegium.pipelines.merge.rules import CalibratedFusion, Case, RuleOptions
from florilegium.specialists.regions.likeness import words_of

FOLDS = 5
"""Parts of the cross-validation; 5 or 10 are usual (Hastie et al. 2009, section 7.10)."""


def fit(
    labelled: Iterable[LabelledSample],
    audit: Audit,
    *,
    voters: Sequence[str],
    tasks: Sequence[str],
    earlier: Iterable[LabelledSample] = (),
) -> Calibration:
    """Fit a calibration to an audit.

    Args:
        labelled: samples with all annotations of the voters, before any filter.
        audit: which annotations are right. All annotations of an audited sample are used: those
            that were not audited are judged by audited ones with the same text and region.
        voters: names of the stages that vote.
        tasks: the tasks that are merged.
        earlier: samples with the annotations of earlier rounds, if the audit names some.

    Raises:
        ConfigError: the audit names annotations that do not exist.
    """
    audited = _audited(labelled, earlier, audit)
    learned = {
        task: _fit_task([_scene(*each, audit, task, voters) for each in audited], task, voters)
        for task in tasks
    }
    names = {
        words_of(one)
        for sample, _ in audited
        for one in sample.annotations
        if one.task in DETECTION_TASKS
    }
    return Calibration(
        voters=tuple(voters),
        tasks=learned,
        names=tuple(sorted(names - {""})),
        audited_samples=len(audited),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sample:
    """An audited sample without its image."""

    width: int
    height: int
    annotations: tuple[Annotation, ...]


def _audited(
    labelled: Iterable[LabelledSample], earlier: Iterable[LabelledSample], audit: Audit
) -> list[tuple[_Sample, list[Annotation]]]:
    """Return the audited samples, sorted by key, each with its audited annotations."""
    known: set[str] = set()
    found: dict[str, dict[str, Annotation]] = {}
    for sample in earlier:
        known.update(one.id for one in sample.annotations)
        for one in audit.of(sample.annotations):
            found.setdefault(sample.key, {})[one.id] = one
    samples = {}
    for sample in labelled:
        known.update(one.id for one in sample.annotations)
        for one in audit.of(sample.annotations):
            found.setdefault(sample.key, {})[one.id] = one
        if sample.key in found:
            samples[sample.key] = _Sample(
                width=sample.width, height=sample.height, annotations=tuple(sample.annotations)
            )
    audit.check(known)
    return [(samples[key], list(found[key].values())) for key in sorted(samples)]


def _scene(
    sample: _Sample, audited: Sequence[Annotation], audit: Audit, task: str, voters: Sequence[str]
) -> Scene:
    candidates = candidates_of(sample.annotations, task, voters)
    found = findings(audit, audited, task)
    verdict, thing = found.of(candidates.annotations)
    return Scene(
        size_wh=(sample.width, sample.height),
        candidates=candidates,
        findings=found,
        verdict=verdict,
        thing=thing,
    )


def _fit_task(scenes: Sequence[Scene], task: str, voters: Sequence[str]) -> TaskCalibration:
    """Fit one task to all scenes, and measure it by cross-validation."""
    learned = learn(scenes, task, voters)
    if learned.fusion is None and task not in CAPTION_TASKS:
        return learned
    outcomes: list[_Outcome] = []
    for fold in range(FOLDS):
        rest = [scene for index, scene in enumerate(scenes) if index % FOLDS != fold]
        model = learn(rest, task, voters)
        if task in CAPTION_TASKS:
            outcomes += [_unmerged(scene, model) for scene in scenes[fold::FOLDS]]
        elif model.fusion is not None:
            outcomes += [_merged(scene, model) for scene in scenes[fold::FOLDS]]
    held_out = _together(outcomes)
    least = 0.0 if task in CAPTION_TASKS else _best_threshold(held_out)
    return TaskCalibration.model_validate({**dict(learned), **_measured(held_out, least)})


@dataclass(frozen=True, kw_only=True, eq=False)
class _Outcome:
    """Annotations of audited scenes: their confidence, and whether they are right.

    `things` is the number of objects that any voter found in those scenes.
    """

    confidence: np.ndarray
    is_right: np.ndarray
    things: int


def _together(outcomes: Sequence[_Outcome]) -> _Outcome:
    return _Outcome(
        confidence=np.concatenate([np.zeros(0), *(one.confidence for one in outcomes)]),
        is_right=np.concatenate([np.zeros(0, bool), *(one.is_right for one in outcomes)]),
        things=sum(one.things for one in outcomes),
    )


def _merged(scene: Scene, model: TaskCalibration) -> _Outcome:
    """Judge the merged annotations of a scene, those of low confidence too."""
    hypotheses = scene.hypotheses(model)
    rule = CalibratedFusion(RuleOptions(least_confidence=0.0, apart=IOU))
    case = Case(candidates=hypotheses.candidates, size_wh=scene.size_wh, calibration=model)
    choice = rule.choose(hypotheses, case)
    verdict, thing = (column[choice.row] for column in scene.verdicts(hypotheses))
    # A second annotation of one object is a duplicate, so it is wrong.
    _, first = np.unique(thing, return_index=True)
    is_right = (verdict == 1) & np.isin(np.arange(len(thing)), first)
    is_known = ~np.isnan(verdict)
    return _Outcome(
        confidence=choice.confidence[is_known],
        is_right=is_right[is_known],
        things=scene.findings.things,
    )


def _unmerged(scene: Scene, model: TaskCalibration) -> _Outcome:
    """Judge the voters' own annotations of a scene."""
    is_known = ~np.isnan(scene.verdict)
    return _Outcome(
        confidence=scene.candidates.trusted(model).trust[is_known],
        is_right=scene.verdict[is_known] == 1,
        things=scene.findings.things,
    )


def _best_threshold(held_out: _Outcome) -> float:
    """Return half of the best F1: the optimal threshold of calibrated probabilities.

    (Lipton et al. 2014, Optimal Thresholding of Classifiers to Maximize F1 Measure.) It varies
    less from audit to audit than the threshold at which the best F1 was observed.
    """
    order = np.argsort(-held_out.confidence, kind="stable")
    right = held_out.is_right[order].cumsum()
    f1 = 2 * right / (np.arange(1, len(order) + 1) + max(held_out.things, 1))
    return float(f1.max(initial=0.0) / 2)


def _measured(held_out: _Outcome, least_confidence: float) -> Mapping[str, Any]:
    """Return precision, recall and calibration error from that confidence on."""
    is_kept = held_out.confidence >= least_confidence
    is_right = held_out.is_right[is_kept]
    right = int(is_right.sum())
    return {
        "least_confidence": least_confidence,
        "precision": wilson(right, len(is_right)),
        "recall": min(1.0, right / held_out.things) if held_out.things else None,
        "ece": expected_calibration_error(held_out.confidence[is_kept], is_right),
    }

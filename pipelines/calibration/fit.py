"""From an audit to a calibration: what each voter's word is worth, and all words together.

Every number that is reported is cross-validated: the statements it judges were made by a
calibration that did not see their samples. Where the audit does not suffice for a task the
calibration says why, and the merge goes by agreement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.annotation import CAPTION_TASKS, Annotation
from pipelines.calibration.audit import Audit, Findings, Said, findings
from pipelines.calibration.calibration import Calibration, TaskCalibration, Voter
from pipelines.calibration.localisation import edge_weights
from pipelines.calibration.regression import fit_fusion, fit_voter
from pipelines.calibration.reliability import expected_calibration_error, wilson
from pipelines.merge.candidates import NAMED_TASKS, candidates_of
from pipelines.merge.hypotheses import Hypotheses, feature_names, features, hypotheses_of
from pipelines.merge.rules import calibrated_fusion

NO_AUDIT = "no_audit"
TOO_FEW_AUDITED = "too_few_audited"
ONE_CLASS_ONLY = "one_class_only"

FOLDS = 5
IOU = 0.5
LEAST_AUDITED = 30
"""Judged hypotheses below which nothing is fused."""
_UNKNOWN_PRECISION = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scene:
    """An audited sample: what was said of it, and what was found, by task."""

    size_wh: tuple[int, int]
    annotations: tuple[Annotation, ...]
    findings: Mapping[str, Findings]


def fit(
    labelled: Iterable[Said],
    audit: Audit,
    *,
    voters: Sequence[str],
    tasks: Sequence[str],
    earlier: Iterable[Said] = (),
) -> Calibration:
    """Learn from an audit what the voters' words are worth.

    Args:
        labelled: samples with everything that the voters said, before any filter.
        audit: what was found. A sample in which anything was audited is used as a whole: what
            was not audited itself is judged by what was found at its place.
        voters: names of the stages that speak.
        tasks: what is merged.
        earlier: samples with what was said in earlier rounds, where the audit names that.

    Raises:
        ConfigError: the audit names annotations that nobody said.
    """
    scenes = _audited_scenes(labelled, earlier, audit, tasks)
    learned = {task: _fit_task(scenes, task, tuple(voters)) for task in tasks}
    names = {
        one.label.strip().casefold()
        for scene in scenes
        for one in scene.annotations
        if one.task in NAMED_TASKS and one.label.strip()
    }
    return Calibration(
        voters=tuple(voters),
        tasks=learned,
        names=tuple(sorted(names)),
        audited_samples=len(scenes),
    )


def _audited_scenes(
    labelled: Iterable[Said], earlier: Iterable[Said], audit: Audit, tasks: Sequence[str]
) -> list[_Scene]:
    """Return the samples in which something was audited, by key."""
    known: set[str] = set()
    audited: dict[str, list[Annotation]] = {}
    for sample in earlier:
        known.update(one.id for one in sample.annotations)
        audited.setdefault(sample.key, []).extend(audit.of(sample.annotations))
    scenes = {}
    for sample in labelled:
        known.update(one.id for one in sample.annotations)
        audited.setdefault(sample.key, []).extend(audit.of(sample.annotations))
        if audited[sample.key]:
            unique = {one.id: one for one in audited[sample.key]}.values()
            scenes[sample.key] = _Scene(
                size_wh=(sample.width, sample.height),
                annotations=tuple(sample.annotations),
                findings={task: findings(audit, unique, task) for task in tasks},
            )
    audit.check(known)
    return [scenes[key] for key in sorted(scenes)]


def _fit_task(scenes: Sequence[_Scene], task: str, voters: tuple[str, ...]) -> TaskCalibration:
    """Learn one task from all scenes, and measure it on scenes held out in turn."""
    learned = _learn(scenes, task, voters)
    if learned.fusion is None:
        return learned
    held_out = _Outcome.none()
    for fold in range(FOLDS):
        rest = [scene for place, scene in enumerate(scenes) if place % FOLDS != fold]
        model = _learn(rest, task, voters)
        if model.fusion is not None:
            held_out += _outcome(scenes[fold::FOLDS], task, voters, model)
    return _measured(learned, held_out)


def _learn(scenes: Sequence[_Scene], task: str, voters: tuple[str, ...]) -> TaskCalibration:
    each = _fit_voters(scenes, task, voters)
    learned = TaskCalibration(voters=each)
    if task in CAPTION_TASKS:
        return learned
    columns, verdicts = [np.zeros((0, len(feature_names(voters))))], [np.zeros(0)]
    for scene in scenes:
        hypotheses = _hypotheses(scene, task, voters, learned)
        verdict, _ = _verdicts(hypotheses, scene.findings[task])
        columns.append(features(hypotheses, scene.size_wh))
        verdicts.append(verdict)
    verdict = np.concatenate(verdicts)
    is_known = ~np.isnan(verdict)
    is_right = verdict[is_known] == 1
    if reason := _too_little(is_right):
        return learned.model_copy(update={"reason": reason})
    fusion = fit_fusion(feature_names(voters), np.vstack(columns)[is_known], is_right)
    return learned.model_copy(update={"fusion": fusion})


def _too_little(is_right: np.ndarray) -> str:
    """Say why nothing can be fused, or nothing."""
    if not len(is_right):
        return NO_AUDIT
    if len(is_right) < LEAST_AUDITED:
        return TOO_FEW_AUDITED
    return ONE_CLASS_ONLY if is_right.all() or not is_right.any() else ""


def _fit_voters(
    scenes: Sequence[_Scene], task: str, voters: tuple[str, ...]
) -> Mapping[str, Voter]:
    score, voter, verdict, thing = (
        [np.zeros(0)],
        [np.zeros(0, int)],
        [np.zeros(0)],
        [np.zeros(0, int)],
    )
    boxes, things = [np.zeros((0, 4))], 0
    for scene in scenes:
        heard = candidates_of(scene.annotations, task, voters)
        right, which = scene.findings[task].of(heard.annotations)
        score.append(heard.score)
        voter.append(heard.voter)
        boxes.append(heard.box_xyxy)
        verdict.append(right)
        thing.append(np.where(which >= 0, which + things, -1))
        things += scene.findings[task].things
    scores, who, right, what = map(np.concatenate, (score, voter, verdict, thing))
    is_known = ~np.isnan(right)
    prior = float((right == 1).sum() + 1) / (is_known.sum() + 2)
    drawn = what >= 0
    weights = edge_weights(np.vstack(boxes)[drawn], who[drawn], what[drawn], len(voters))
    return {
        name: fit_voter(
            scores[is_known & (who == place)],
            right[is_known & (who == place)] == 1,
            prior,
            float(weights[place]),
        )
        for place, name in enumerate(voters)
    }


def _hypotheses(
    scene: _Scene, task: str, voters: tuple[str, ...], learned: TaskCalibration
) -> Hypotheses:
    heard = candidates_of(scene.annotations, task, voters, learned)
    return hypotheses_of(heard, iou=IOU, calibration=learned)


def _verdicts(hypotheses: Hypotheses, found: Findings) -> tuple[np.ndarray, np.ndarray]:
    words = [hypotheses.candidates.words[row] for row in hypotheses.leader]
    return found.carried_over(words, hypotheses.box_xyxy)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Outcome:
    """Merged statements of audited scenes: how sure, and whether they were right.

    `things` is how many different things anybody said rightly in those scenes.
    """

    confidence: np.ndarray
    is_right: np.ndarray
    things: int

    @classmethod
    def none(cls) -> _Outcome:
        return cls(confidence=np.zeros(0), is_right=np.zeros(0, bool), things=0)

    def __add__(self, other: _Outcome) -> _Outcome:
        return _Outcome(
            confidence=np.append(self.confidence, other.confidence),
            is_right=np.append(self.is_right, other.is_right),
            things=self.things + other.things,
        )


def _outcome(
    scenes: Sequence[_Scene], task: str, voters: tuple[str, ...], model: TaskCalibration
) -> _Outcome:
    total = _Outcome.none()
    for scene in scenes:
        hypotheses = _hypotheses(scene, task, voters, model)
        choice = calibrated_fusion(
            hypotheses, model, size_wh=scene.size_wh, least_confidence=0.0, apart=IOU
        )
        verdict, thing = _verdicts(hypotheses, scene.findings[task])
        verdict, thing = verdict[choice.row], thing[choice.row]
        # The second statement of one thing is wrong: it is one too many.
        _, first = np.unique(thing, return_index=True)
        is_first = np.isin(np.arange(len(thing)), first)
        is_known = ~np.isnan(verdict)
        total += _Outcome(
            confidence=choice.confidence[is_known],
            is_right=((verdict == 1) & is_first)[is_known],
            things=scene.findings[task].things,
        )
    return total


def _measured(learned: TaskCalibration, held_out: _Outcome) -> TaskCalibration:
    """Add the threshold and what is to be expected of it."""
    least = _best_threshold(held_out)
    is_said = held_out.confidence >= least
    right = int(held_out.is_right[is_said].sum())
    ece = expected_calibration_error(held_out.confidence[is_said], held_out.is_right[is_said])
    changes = {
        "least_confidence": least,
        "precision": wilson(right, int(is_said.sum())),
        "recall": right / held_out.things if held_out.things else None,
        "ece": ece,
    }
    return TaskCalibration.model_validate({**dict(learned), **changes})


def _best_threshold(held_out: _Outcome) -> float:
    """Return half of the best F1, the optimal threshold of calibrated probabilities.

    (Lipton et al. 2014, Optimal Thresholding of Classifiers to Maximize F1 Measure.) It varies
    less from audit to audit than the threshold at which the best F1 was observed.
    """
    order = np.argsort(-held_out.confidence, kind="stable")
    right = held_out.is_right[order].cumsum()
    f1 = 2 * right / (np.arange(1, len(order) + 1) + max(held_out.things, 1))
    return float(f1.max(initial=0.0) / 2)

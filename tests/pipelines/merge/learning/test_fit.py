from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.merge.calibration import Calibration, TaskCalibration, read_calibration
from florilegium.pipelines.merge.learning.audit import Audit, findings
from florilegium.pipelines.merge.learning.fit import fit
from florilegium.pipelines.merge.learning.per_task import NO_AUDIT, ONE_CLASS_ONLY, TOO_FEW_AUDITED
from florilegium.pipelines.merge.stage import Merge, MergeConfig
from tests.pipelines.merge.voters import GHOST, VOTERS, Scene, audit_of, f1_of, sample_of, scene

TASK = "object_detection"
SCENES = [scene(number) for number in range(1000, 1120)]
AUDITED = SCENES[:100]


def fitted(scenes: list[Scene] = SCENES, audit: Audit | None = None, **options) -> Calibration:
    audit = audit_of(AUDITED) if audit is None else audit
    return fit(scenes, audit, **{"voters": tuple(VOTERS), "tasks": (TASK,), **options})


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return fitted()


def test_scores_become_the_share_of_right_ones(calibration: Calibration) -> None:
    unseen = [scene(number) for number in range(600)]
    for name in VOTERS:
        own = [(s, one) for s in unseen for one in s.annotations if one.specialist == name]
        right = np.array([s.right([one])[0] for s, one in own])
        score = np.array([one.score for _, one in own])
        probability = calibration.tasks[TASK].voters[name].probability(score)
        for half in (score < np.median(score), score >= np.median(score)):
            assert probability[half].mean() == pytest.approx(right[half].mean(), abs=0.1), name


def test_the_reported_precision_is_that_of_other_scenes(calibration: Calibration) -> None:
    learned = calibration.tasks[TASK]
    unseen = [scene(number) for number in range(600)]
    stage = Merge(MergeConfig(tasks=(TASK,), least_confidence=learned.least_confidence))
    stage._calibration = calibration
    answered = stage.predict([sample_of(*one.annotations) for one in unseen])
    right = np.concatenate([one.right(all_) for one, all_ in zip(unseen, answered, strict=True)])
    assert learned.precision.low <= right.mean() <= learned.precision.high
    assert learned.precision.audited < 400
    assert learned.ece < 0.1


def test_the_threshold_is_near_the_best_one(calibration: Calibration) -> None:
    unseen = [scene(number) for number in range(600)]
    stage = Merge(MergeConfig(tasks=(TASK,), least_confidence=0.0))
    stage._calibration = calibration
    answered = stage.predict([sample_of(*one.annotations) for one in unseen])

    def f1(least: float) -> float:
        return f1_of(
            unseen, [[one for one in all_ if one.confidence >= least] for all_ in answered]
        )

    best = max(f1(least) for least in np.linspace(0.2, 0.8, 13))
    assert f1(calibration.tasks[TASK].least_confidence) > best - 0.01
    assert f1(0.0) < best - 0.03, "a threshold is needed at all"


def test_who_draws_better_weighs_more(calibration: Calibration) -> None:
    weights = {name: one.weight for name, one in calibration.tasks[TASK].voters.items()}
    assert weights["careful"] > weights["student"] > weights["hasty"]


def test_a_name_that_is_given_too_easily_counts_less(calibration: Calibration) -> None:
    fusion = calibration.tasks[TASK].fusion
    assert fusion is not None
    names = {
        name: sum(
            weight for column, weight in fusion.weights.items() if column.endswith(f"/{name}")
        )
        for name in fusion.names
    }
    assert min(names, key=names.__getitem__) == GHOST
    assert calibration.names == ("circle", "cross", "heart", "ring", "star")


def test_an_audit_of_the_specialists_judges_the_student_too() -> None:
    audit = audit_of(AUDITED, ("careful", "hasty"))
    found, true = [], []
    for one in AUDITED:
        own = [a for a in one.annotations if a.specialist == "student"]
        found += findings(audit, audit.of(one.annotations), TASK).of(own)[0].tolist()
        true += [one.right([a])[0] for a in own]
    is_known = ~np.isnan(found)
    assert 0.5 < is_known.mean() < 0.9, "of what lies elsewhere nobody knows"
    assert (np.array(found) == true)[is_known].mean() > 0.95
    assert fitted(audit=audit).tasks[TASK].voters["student"].precision.audited == is_known.sum()


def test_an_audit_of_an_earlier_round_is_carried_over() -> None:
    def as_said_by(round_: int, one: Scene) -> Scene:
        renamed = [
            replace(a, id=f"{round_}:{a.id}") if a.specialist == "student" else a
            for a in one.annotations
        ]
        return replace(one, annotations=tuple(renamed))

    first, second = ([as_said_by(number, one) for one in SCENES] for number in (1, 2))
    audit = audit_of(first[:100])
    with pytest.raises(ConfigError, match="do not exist here: 1:"):
        fitted(second, audit)
    again = fitted(second, audit, earlier=first)
    assert again.audited_samples == 100
    before = fitted(first, audit).tasks[TASK].voters["student"]
    assert again.tasks[TASK].voters["student"].precision.audited == before.precision.audited


def test_the_order_of_samples_does_not_matter(calibration: Calibration) -> None:
    assert fitted(sorted(SCENES, key=lambda one: one.key[::-1])).to_json() == calibration.to_json()


def test_a_calibration_reads_back_as_itself(calibration: Calibration, tmp_path: Path) -> None:
    calibration.save(Folder(str(tmp_path)), "calibration.json")
    again = read_calibration(str(tmp_path / "calibration.json"))
    assert again == calibration
    assert again.digest == calibration.digest
    assert fitted(audit=audit_of(AUDITED[:90])).digest != calibration.digest


def reason(calibration: Calibration) -> str:
    learned = calibration.tasks[TASK]
    assert learned.fusion is None
    assert learned.precision.share is None
    return learned.reason


def test_without_enough_audited_nothing_is_fused_and_the_reason_is_said() -> None:
    assert reason(fitted(audit=Audit(right={}))) == NO_AUDIT
    assert reason(fitted(audit=audit_of(AUDITED[:3]))) == TOO_FEW_AUDITED
    all_right = dict.fromkeys(audit_of(AUDITED).right, True)
    assert reason(fitted(audit=Audit(right=all_right))) == ONE_CLASS_ONLY


def test_where_nothing_is_fused_the_stage_goes_by_agreement() -> None:
    learned = fitted(audit=audit_of(AUDITED[:3]))
    samples = [sample_of(*one.annotations) for one in SCENES[:20]]
    stage = Merge(MergeConfig(tasks=(TASK,)))
    stage._calibration = learned
    voted = [one for all_ in stage.predict(samples) for one in all_]
    assert voted
    assert all(len(one.merged_from) > 1 and one.confidence is None for one in voted)


def test_a_voter_that_never_spoke_is_expected_to_be_like_the_others() -> None:
    learned = fitted(voters=(*VOTERS, "newcomer")).tasks[TASK]
    newcomer = learned.voters["newcomer"].probability(np.array([0.9, np.nan]))
    shares = [learned.voters[name].precision.share for name in VOTERS]
    assert min(shares) < newcomer[0] < max(shares)
    assert newcomer[0] == pytest.approx(newcomer[1])


def test_captions_are_calibrated_and_chosen_not_fused() -> None:
    def captions(number: int) -> Scene:
        is_good = number % 3 > 0
        one = Annotation(
            kind="text", task="caption", text=f"caption {number}", id=f"c{number}",
            specialist="student", score=0.9 if is_good else 0.2,
        )  # fmt: skip
        return Scene(key=f"{number:06d}", annotations=(one,), things=())

    scenes = [captions(number) for number in range(90)]
    audit = Audit(right={f"c{number}": number % 3 > 0 for number in range(90)})
    learned = fitted(scenes, audit, tasks=("caption",), voters=("student",)).tasks["caption"]
    assert (learned.fusion, learned.reason, learned.least_confidence) == (None, "", 0)
    assert learned.precision.share == pytest.approx(2 / 3)
    low, high = learned.voters["student"].probability(np.array([0.2, 0.9]))
    assert low < 0.2
    assert high > 0.8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ('{"voters": [], "tasks": {}, "taks": 1}', "unknown key 'taks'"),
        ('{"voters": [], "tasks": {}, "format": 99}', "format 99, not 1: fit it again"),
    ],
)
def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_calibration(str(tmp_path / "calibration.json"))


def test_a_calibration_of_other_features_is_refused(calibration: Calibration) -> None:
    fusion = calibration.tasks[TASK].fusion
    assert fusion is not None
    with pytest.raises(ConfigError, match="fit again"):
        fusion.probability(["agrees/nobody"], np.zeros((1, 1)))
    assert isinstance(calibration.tasks[TASK], TaskCalibration)

"""Merging in a world of voters that err in known ways: better than its rivals, and honest."""

from __future__ import annotations

import numpy as np
import pytest

from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.merge.learning.fit import fit
from florilegium.pipelines.merge.learning.reliability import expected_calibration_error
from florilegium.pipelines.merge.stage import Merge, MergeConfig
from tests.pipelines.merge.voters import VOTERS, audit_of, f1_of, sample_of, scene

DETECTION = ("object_detection",)


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What 100 audited scenes teach; other scenes than those of the tests."""
    folder = tmp_path_factory.mktemp("calibration")
    scenes = [scene(number) for number in range(1000, 1100)]
    learned = fit(scenes, audit_of(scenes), voters=tuple(VOTERS), tasks=DETECTION)
    learned.save(Folder(str(folder)), "calibration.json")
    return str(folder / "calibration.json")


def test_calibrated_fusion_beats_the_other_rules_and_every_voter(calibration: str) -> None:
    scenes = [scene(number) for number in range(300)]
    samples = [sample_of(*one.annotations) for one in scenes]

    def f1(**options) -> float:
        config = MergeConfig(tasks=DETECTION, student="student", **options)
        return f1_of(scenes, Merge(config).predict(samples))

    fused = f1(calibration=calibration)
    others = {rule: f1(rule=rule) for rule in ("agreement", "union", "replace")}
    assert fused > max(others.values()) + 0.05, (fused, others)
    alone = [
        f1_of(scenes, [[a for a in one.annotations if a.specialist == name] for one in scenes])
        for name in VOTERS
    ]
    assert fused > max(alone) + 0.1


def test_confidences_are_probabilities(calibration: str) -> None:
    scenes = [scene(number) for number in range(300)]
    stage = Merge(MergeConfig(tasks=DETECTION, calibration=calibration, least_confidence=0.0))
    said_of = stage.predict([sample_of(*one.annotations) for one in scenes])
    right = np.concatenate([one.right(all_) for one, all_ in zip(scenes, said_of, strict=True)])
    confidence = np.array([one.confidence for all_ in said_of for one in all_])
    error = expected_calibration_error(confidence, right)
    assert error is not None
    assert error < 0.05


def test_what_the_calibration_finds_improbable_is_not_said(calibration: str) -> None:
    samples = [sample_of(*scene(number).annotations) for number in range(50)]
    said_of = Merge(MergeConfig(tasks=DETECTION, calibration=calibration)).predict(samples)
    confidences = [one.confidence or 0 for all_ in said_of for one in all_]
    assert min(confidences) > 0.3
    sure = MergeConfig(tasks=DETECTION, calibration=calibration, least_confidence=0.9)
    assert min(one.confidence or 0 for all_ in Merge(sure).predict(samples) for one in all_) >= 0.9

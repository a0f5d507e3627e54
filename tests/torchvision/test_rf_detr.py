from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import Sample
from florilegium.specialists.detection.detector import Detector, DetectorConfig
from tests.checkpoints.detector import WRITERS, pipeline_answers
from tests.specialists.detection.test_detector import assert_close, assert_sane, triples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return WRITERS["rf_detr"](tmp_path_factory.mktemp("rf_detr"))


def stage(folder: Path, **options: Any) -> Detector:
    detector = Detector(DetectorConfig(model=str(folder), **options))
    detector.load()
    return detector


def test_rf_detr_says_what_its_pipeline_says(folder: Path, odd_images: list[Sample]) -> None:
    answers = stage(folder, least_score=0.2).predict(odd_images)
    expected = list(pipeline_answers(folder, odd_images, 0.2))
    for sample, ours, theirs in zip(odd_images, answers, expected, strict=True):
        assert_sane(ours, sample)
        assert_close(triples(ours), theirs)
    assert all(answers)
    assert answers[0] != answers[1]


def test_an_answer_does_not_depend_on_the_batch(folder: Path, odd_images: list[Sample]) -> None:
    detector = stage(folder, batch_size=3)
    for one, sample in zip(detector.predict(odd_images), odd_images, strict=True):
        (alone,) = detector.predict([sample])
        assert_close(triples(one), triples(alone))


def test_rf_detr_runs_in_bfloat16_and_is_read_in_float32(
    folder: Path, odd_images: list[Sample]
) -> None:
    answers = stage(folder, dtype="bfloat16").predict(odd_images)
    for one, sample in zip(answers, odd_images, strict=True):
        assert_sane(one, sample)
    numbers = torch.tensor([one.box_xyxy for each in answers for one in each])
    assert (numbers.bfloat16().float() != numbers).any()


def test_awkward_images_are_answered(folder: Path, awkward: list[Sample]) -> None:
    for answers, sample in zip(stage(folder).predict(awkward), awkward, strict=True):
        assert_sane(answers, sample)


def test_an_image_size_that_the_model_cannot_take_ends_at_loading(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"image_size 104.* multiple of 32"):
        stage(folder, image_size=104)
    stage(folder, image_size=96)

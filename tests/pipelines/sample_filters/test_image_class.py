from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import Sample
from florilegium.engine.planning.config import validated
from florilegium.pipelines.sample_filters.image_class import ImageClass, ImageClassConfig
from tests.checkpoints.image_class import LABELS, write_classifier
from tests.pipelines.sample_filters.columns import of_rows

PROBLEMS = ("single_label_classification", "multi_label_classification")


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {one: write_classifier(tmp_path_factory.mktemp(one), one) for one in PROBLEMS}


@pytest.fixture(scope="module")
def images(photograph: Any) -> list[Sample]:
    return [photograph(name) for name in ("cat", "rocket", "page")]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_probabilities_are_those_of_the_pipeline(
    problem: str, classifiers: dict[str, Path], images: list[Sample]
) -> None:
    from transformers import pipeline

    model = str(classifiers[problem])
    stage = ImageClass(ImageClassConfig(model=model, labels=LABELS))
    stage.load()
    ask = pipeline("image-classification", model=model, device="cpu")
    for sample, found in zip(images, stage.measure(images), strict=True):
        wanted = {one["label"]: one["score"] for one in ask(Image.fromarray(sample.image))}
        assert found == pytest.approx(wanted, abs=1e-5)


def test_a_sample_above_one_of_the_thresholds_is_dropped(classifiers: dict[str, Path]) -> None:
    def judged(**more: Any) -> list[str]:
        options = {"model": str(classifiers[PROBLEMS[0]]), "labels": ["nsfw", "violence"], **more}
        stage = ImageClass(validated(ImageClassConfig, options, where="sample_filters.unsafe"))
        rows = [{"nsfw": 0.6, "violence": 0.1}, {"nsfw": 0.5, "violence": 0.5}]
        return stage.judge(of_rows([*rows, {"nsfw": 0.2, "violence": 0.3}])).reason.tolist()

    assert judged() == ["unsafe", "", ""]
    assert judged(most={"nsfw": 0.7}) == ["", "", ""]
    assert judged(most={"violence": 0.2}, reason="shocking") == ["shocking"] * 3


def test_a_class_that_the_model_lacks_is_found_before_anything_starts(
    classifiers: dict[str, Path],
) -> None:
    config = ImageClassConfig(model=str(classifiers[PROBLEMS[0]]), labels=("nsfv",))
    with pytest.raises(ConfigError, match="has no class 'nsfv'; did you mean 'nsfw'"):
        ImageClass(config).revision()


def test_a_threshold_of_another_class_is_refused() -> None:
    options = {"labels": ["nsfw"], "most": {"nsfv": 0.2}}
    with pytest.raises(ConfigError, match="'nsfv' is none of the `labels`; did you mean 'nsfw'"):
        validated(ImageClassConfig, options, where="sample_filters.unsafe")

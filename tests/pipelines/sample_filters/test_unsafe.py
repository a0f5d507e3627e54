from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import Sample
from florilegium.engine.planning.config import validated
from florilegium.pipelines.sample_filters.unsafe import (
    UnsafeClass,
    UnsafeClassConfig,
    UnsafePrompt,
    UnsafePromptConfig,
)
from tests.checkpoints.image_text import write_clip, write_siglip
from tests.checkpoints.unsafe_class import LABELS, write_classifier
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
    stage = UnsafeClass(UnsafeClassConfig(model=model, labels=LABELS))
    stage.load()
    ask = pipeline("image-classification", model=model, device="cpu")
    for sample, found in zip(images, stage.measure(images), strict=True):
        wanted = {one["label"]: one["score"] for one in ask(Image.fromarray(sample.image))}
        assert found == pytest.approx(wanted, abs=1e-5)


def test_a_sample_above_one_of_the_thresholds_is_dropped(classifiers: dict[str, Path]) -> None:
    def judged(**more: Any) -> list[str]:
        options = {"model": str(classifiers[PROBLEMS[0]]), "labels": ["nsfw", "violence"], **more}
        stage = UnsafeClass(validated(UnsafeClassConfig, options, where="sample_filters.unsafe"))
        rows = [{"nsfw": 0.6, "violence": 0.1}, {"nsfw": 0.5, "violence": 0.5}]
        return stage.judge(of_rows([*rows, {"nsfw": 0.2, "violence": 0.3}])).reason.tolist()

    assert judged() == ["unsafe", "", ""]
    assert judged(most={"nsfw": 0.7}) == ["", "", ""]
    assert judged(most={"violence": 0.2}, reason="shocking") == ["shocking"] * 3


def test_a_class_that_the_model_lacks_is_found_before_anything_starts(
    classifiers: dict[str, Path],
) -> None:
    config = UnsafeClassConfig(model=str(classifiers[PROBLEMS[0]]), labels=("nsfv",))
    with pytest.raises(ConfigError, match="has no class 'nsfv'; did you mean 'nsfw'"):
        UnsafeClass(config).revision()


def test_a_threshold_of_another_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="'nudty' is not judged; did you mean 'nudity'"):
        validated(UnsafePromptConfig, {"most": {"nudty": 0.2}}, where="sample_filters.unsafe")


@pytest.mark.parametrize("write", [write_clip, write_siglip])
def test_a_name_has_the_probability_of_its_best_sentence(
    write: Any, tmp_path: Path, images: list[Sample]
) -> None:
    from transformers import pipeline

    model = str(write(tmp_path))
    unsafe = {"cats": ("a cat", "a kitten"), "rockets": ("a rocket",)}
    stage = UnsafePrompt(UnsafePromptConfig(model=model, unsafe=unsafe, safe=("a page", "a cup")))
    stage.load()
    sentences = ["a cat", "a kitten", "a rocket", "a page", "a cup"]
    ask = pipeline("zero-shot-image-classification", model=model, device="cpu")
    for sample, found in zip(images, stage.measure(images), strict=True):
        answers = ask(
            Image.fromarray(sample.image), candidate_labels=sentences, hypothesis_template="{}"
        )
        score = {one["label"]: one["score"] for one in answers}
        wanted = {"cats": max(score["a cat"], score["a kitten"]), "rockets": score["a rocket"]}
        assert found == pytest.approx(wanted, abs=1e-5)
    row = stage.measure(images)[:1]
    least = {name: np.nextafter(value, 0) for name, value in row[0].items()}
    for name in unsafe:
        config = {"model": model, "unsafe": unsafe, "most": {"cats": 1, "rockets": 1}}
        config["most"] |= {name: least[name]}  # type: ignore[operator]
        stage.config = validated(UnsafePromptConfig, config, where="sample_filters.unsafe")
        assert stage.judge(of_rows(row)).reason.tolist() == ["unsafe"]

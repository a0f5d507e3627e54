from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import Sample
from florilegium.engine.planning.config import validated
from florilegium.specialists.similarity.image_tags import ImageTags, ImageTagsConfig
from tests.checkpoints.image_text import write_clip, write_naflex, write_siglip

FAMILIES = {"clip": write_clip, "siglip": write_siglip, "siglip2": write_naflex}
NAMES = ("cat", "cup of coffee", "astronaut", "rocket", "page")

Tagging = Callable[..., ImageTags]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in FAMILIES.items()}


@pytest.fixture(scope="module")
def tagging(checkpoints: dict[str, Path]) -> Tagging:
    def load(family: str = "clip", **options: Any) -> ImageTags:
        model = str(checkpoints[family])
        given = {"model": model, "vocabulary": NAMES, "least_score": 0.0, **options}
        specialist = ImageTags(ImageTagsConfig(**given))
        specialist.load()
        return specialist

    return load


@pytest.mark.parametrize("family", FAMILIES)
def test_tags_are_those_of_the_zero_shot_pipeline(
    family: str, tagging: Tagging, checkpoints: dict[str, Path], odd_images: list[Sample]
) -> None:
    """One image at a time, and a batch of different sizes."""
    from transformers import pipeline

    pipe = pipeline("zero-shot-image-classification", model=str(checkpoints[family]), device="cpu")
    specialist = tagging(family)
    together = specialist.predict(odd_images)
    for sample, tags in zip(odd_images, together, strict=True):
        wanted = pipe(Image.fromarray(sample.image), candidate_labels=list(NAMES))
        (alone,) = specialist.predict([sample])
        for predicted in (tags, alone):
            assert [tag.label for tag in predicted] == [one["label"] for one in wanted]
            np.testing.assert_allclose(
                [tag.score for tag in predicted], [one["score"] for one in wanted], atol=1e-5
            )


def test_a_tag_is_a_text_about_the_whole_image(tagging: Tagging, photograph) -> None:
    (tags,) = tagging(language="en").predict([photograph("cat")])
    assert {(tag.kind, tag.task, tag.language) for tag in tags} == {("text", "tag", "en")}
    assert all(tag.text == tag.label and not tag.box_xyxy for tag in tags)


def test_only_the_best_and_only_what_is_sure_is_said(tagging: Tagging, photograph) -> None:
    (every,) = tagging().predict([photograph("cat")])
    scores = [tag.score for tag in every]
    assert scores == sorted(scores, reverse=True)
    assert tagging(top_k=2).predict([photograph("cat")]) == [every[:2]]
    assert tagging(least_score=scores[2]).predict([photograph("cat")]) == [every[:3]]


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_a_name_is_the_mean_of_its_phrases_and_templates(
    family: str, tagging: Tagging, photograph
) -> None:
    templates = ("a {}.", "one {}")
    vocabulary = {"pet": ("cat", "dog"), "cup": ()}
    specialist = tagging(family, vocabulary=vocabulary, templates=templates)
    sentences = ["a cat.", "one cat", "a dog.", "one dog"]
    read = specialist._image_text.read([*sentences, "a cup.", "one cup"])
    mean = np.mean([read[one][0] for one in sentences], axis=0)
    np.testing.assert_allclose(specialist._vectors[0], mean / np.linalg.norm(mean), atol=1e-6)
    (tags,) = specialist.predict([photograph("cat")])
    assert {tag.label for tag in tags} == {"pet", "cup"}


def test_equal_names_keep_the_order_of_the_vocabulary(tagging: Tagging, photograph) -> None:
    vocabulary = {"one": ("cat",), "two": ("cat",), "three": ("cat",)}
    (tags,) = tagging(vocabulary=vocabulary).predict([photograph("cat")])
    assert [tag.label for tag in tags] == ["one", "two", "three"]
    assert [tag.score for tag in tags] == pytest.approx([1 / 3] * 3)


def test_other_words_are_another_revision_another_place_is_not(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "names.txt").write_text("\n".join(NAMES))

    def revision(vocabulary: Any) -> str:
        config = ImageTagsConfig(model=str(checkpoints["clip"]), vocabulary=vocabulary)
        return ImageTags(config).revision()

    assert revision(NAMES) == revision(str(tmp_path / "names.txt"))
    assert revision(NAMES) != revision(NAMES[::-1])


def test_a_missing_vocabulary_is_found_before_anything_starts(checkpoints) -> None:
    config = ImageTagsConfig(model=str(checkpoints["clip"]), vocabulary="nowhere.txt")
    with pytest.raises(ConfigError, match="there is no vocabulary 'nowhere"):
        ImageTags(config).revision()


def test_a_model_of_another_kind_is_found_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "detr"}')
    with pytest.raises(ConfigError, match="is of type 'detr'; an image-text model"):
        ImageTags(ImageTagsConfig(model=str(tmp_path))).revision()


@pytest.mark.parametrize("template", ["a photo", "{} and {}"])
def test_a_template_without_a_placeholder_is_refused(template: str) -> None:
    with pytest.raises(ConfigError, match=r"needs `\{\}` exactly once"):
        validated(ImageTagsConfig, {"templates": [template]}, where="specialists.image_tags")


def test_awkward_images_get_tags(tagging: Tagging, awkward: list[Sample]) -> None:
    assert [len(tags) for tags in tagging().predict(awkward)] == [5] * 4


def test_half_precision_ranks_alike(tagging: Tagging, odd_images: list[Sample]) -> None:
    half, full = (
        {tag.label: tag.score for tag in tagging(dtype=dtype).predict(odd_images[:1])[0]}
        for dtype in ("bfloat16", "float32")
    )
    assert half.keys() == full.keys()
    assert half != full
    assert half == pytest.approx(full, abs=0.05)

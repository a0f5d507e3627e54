"""The examples of a query: other images, each once, chosen as the config says."""

from __future__ import annotations

import numpy as np
import pytest

from florilegium.pipelines.export.shots import Shot
from florilegium.pipelines.export.supports import (
    ClassSupports,
    Images,
    RandomSupports,
    SimilarSupports,
    Supports,
)


def shot(image: int, answer: str = "a", classes: str = "", task: str = "caption") -> Shot:
    return Shot(
        image=image, task=task, question="", answer=answer, classes=frozenset(classes.split())
    )


IMAGES = Images(digest=[str(number) for number in range(40)])
SHOTS = [shot(number, classes="cat" if number % 4 == 0 else "dog") for number in range(40)]


@pytest.mark.parametrize("kind", [RandomSupports, ClassSupports])
def test_the_choice_is_the_same_again_and_without_the_query(kind: type[Supports]) -> None:
    for query in SHOTS[:8]:
        chosen = kind(SHOTS, IMAGES, seed=3).chosen(query, 39)
        assert sorted(one.image for one in chosen) == sorted({*range(40)} - {query.image})
        assert kind(SHOTS, IMAGES, seed=3).chosen(query, 39) == chosen
        assert kind(SHOTS, IMAGES, seed=4).chosen(query, 39) != chosen
        assert len(kind(SHOTS, IMAGES, seed=3).chosen(query, 4)) == 4
    assert kind(SHOTS, IMAGES, seed=3).chosen(SHOTS[0], 0) == []


def test_a_copy_of_the_query_or_of_another_example_is_not_chosen() -> None:
    images = Images(digest=["same", "same", "other", "other", "third"])
    shots = [shot(number) for number in range(5)]
    for seed in range(10):
        chosen = RandomSupports(shots, images, seed=seed).chosen(shots[0], 4)
        assert sorted(images.digest[one.image] for one in chosen) == ["other", "third"]


def test_images_with_a_class_of_the_query_come_first_and_the_best_stands_last() -> None:
    chosen = ClassSupports(SHOTS, IMAGES, seed=0).chosen(SHOTS[0], 12)
    assert [one.classes == {"cat"} for one in chosen] == [False] * 3 + [True] * 9


def test_a_classification_has_each_class_in_turn() -> None:
    names = ["cat"] * 30 + ["dog"] * 6 + ["owl"] * 4
    shots = [shot(n, name, name, task="tag") for n, name in enumerate(names)]
    chosen = ClassSupports(shots, IMAGES, seed=0).chosen(shots[0], 6)
    assert sorted(one.answer for one in chosen[:3]) == ["cat", "dog", "owl"]
    assert sorted(one.answer for one in chosen[3:]) == ["cat", "dog", "owl"]


def test_the_most_similar_image_stands_beside_the_query() -> None:
    angles = np.linspace(0, 1, 40)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    images = Images(digest=IMAGES.digest, vectors=vectors)
    chosen = SimilarSupports(SHOTS, images, seed=0).chosen(SHOTS[10], 4)
    assert {one.image for one in chosen} == {8, 9, 11, 12}
    assert {one.image for one in chosen[2:]} == {9, 11}

from __future__ import annotations

import pytest

from florilegium.pipelines.training.expressions import unique_texts
from tests.pipelines.training.labels import BOX, OTHER, phrase, region

DOG = region("region_description", BOX, text="a brown dog")
NEAR = (BOX[0], BOX[1], BOX[2] + 5, BOX[3])
"""A box with an IoU of 0.8 with `BOX`."""


def unique(*annotations):
    described = [one for one in annotations if one.task == "region_description"]
    return unique_texts(described, annotations)


@pytest.mark.parametrize(
    ("other", "is_unique"),
    [
        ({"text": "a white dog"}, True),
        ({"text": "the brown dog."}, False),
        ({"text": "A dog, brown and white"}, False),
        ({"label": "Brown dog", "task": "object_detection"}, False),
        ({"label": "brown dog", "task": "region_category"}, False),
        ({"label": "dog", "task": "object_detection"}, True),
        ({"text": "a brown dog", "task": "ocr"}, True),
        ({"text": "a brown dog", "box": BOX}, True),
        ({"text": "a brown dog", "box": NEAR}, True),
        ({"text": "a brown dog", "box": ()}, True),
    ],
)
def test_a_text_is_unique_if_no_other_region_has_all_of_its_words(other, is_unique) -> None:
    given = {"task": "region_description", "box": OTHER, **other}
    found = unique(DOG, region(given.pop("task"), given.pop("box"), **given))
    assert found.get("a brown dog") in ((BOX, NEAR) if is_unique else (None,))


def test_a_shorter_text_refers_to_what_a_longer_one_describes() -> None:
    found = unique(DOG, region("region_description", OTHER, text="the dog"))
    assert found == {"a brown dog": BOX}


def test_texts_without_words_or_boxes_and_phrases_are_no_expressions() -> None:
    texts = (region("region_description", BOX, text="a"), region("region_description", BOX),
             region("region_description", (), text="a cup"))  # fmt: skip
    assert unique(*texts) == {}
    assert unique(DOG, phrase("a brown dog", OTHER, 0, "c")) == {"a brown dog": BOX}


def test_an_expression_is_written_without_tokens() -> None:
    assert unique(region("region_description", BOX, text="a <loc_1> red\n<and> cup")) == {
        "a red cup": BOX
    }

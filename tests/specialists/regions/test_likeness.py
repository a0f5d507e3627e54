"""When an annotation that a person changed counts as right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.specialists.regions.likeness import still_right

BOX = Annotation(
    kind="region", task="object_detection", label="cat", box_xyxy=(0.0, 0.0, 10.0, 10.0)
)
PHRASE = replace(BOX, kind="phrase", task="phrase_grounding", label="", text="a cat", span=(0, 5))


@pytest.mark.parametrize(
    ("annotation", "change", "is_right"),
    [
        (BOX, {"box_xyxy": (0.0, 0.0, 10.0, 5.0)}, True),
        (BOX, {"box_xyxy": (0.0, 0.0, 10.0, 4.9)}, False),
        (BOX, {"label": " Cat"}, True),
        (BOX, {"label": "dog"}, False),
        (BOX, {"text": "more words"}, False),
        (PHRASE, {"box_xyxy": (0.0, 0.0, 10.0, 9.0)}, True),
        (PHRASE, {"span": (0, 4)}, False),
    ],
)
def test_the_same_words_about_nearly_the_same_place_were_right(
    annotation: Annotation, change: dict[str, Any], is_right: bool
) -> None:
    assert still_right(annotation, replace(annotation, **change)) is is_right

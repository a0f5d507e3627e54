from __future__ import annotations

import pytest

from florilegium.engine.core.counted import counted


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 images"),
        (1, "1 image"),
        (2, "2 images"),
        (12345, "12,345 images"),
        (0.5, "0.5 images"),
        (1.0, "1 image"),
    ],
)
def test_one_thing_is_told_in_the_singular(count: float, text: str) -> None:
    assert counted(count, "image") == text


def test_another_plural_may_be_given() -> None:
    assert [counted(count, "box", "boxes") for count in (1, 2)] == ["1 box", "2 boxes"]

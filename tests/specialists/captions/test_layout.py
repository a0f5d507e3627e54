from __future__ import annotations

import pytest

from florilegium.specialists.captions.layout import (
    is_filling,
    position_text,
    share_text,
    side_of,
    size_of,
)


@pytest.mark.parametrize(
    ("box_xyxy", "place"),
    [
        ((0.0, 0.0, 0.2, 0.2), "at the top left"),
        ((0.4, 0.4, 0.6, 0.6), "in the centre"),
        ((0.8, 0.4, 1.0, 0.6), "on the right"),
        ((0.4, 0.9, 0.6, 1.0), "at the bottom"),
        ((0.9, 0.9, 1.1, 1.1), "at the bottom right"),
    ],
)
def test_places_are_those_of_the_middle(box_xyxy: tuple[float, ...], place: str) -> None:
    assert position_text(box_xyxy) == place


def test_sizes_and_shares_are_those_of_the_area() -> None:
    assert size_of((0, 0, 0.7, 0.7)) == "large"
    assert size_of((0, 0, 0.1, 0.1)) == "small"
    assert size_of((0, 0, 0.4, 0.4)) == ""
    assert share_text(0.34) == "about a third"
    assert share_text(0.01) == ""
    assert is_filling((0, 0.05, 0.9, 1))
    assert not is_filling((0, 0, 1, 0.5))


def test_sides_are_told_only_where_boxes_are_apart() -> None:
    middle = (0.4, 0.4, 0.6, 0.6)
    assert side_of((0.0, 0.4, 0.3, 0.6), middle) == "to the left of"
    assert side_of((0.4, 0.0, 0.6, 0.3), middle) == "above"
    assert side_of((0.4, 0.7, 0.6, 1.0), middle) == "below"
    assert side_of((0.5, 0.5, 0.9, 0.9), middle) == ""

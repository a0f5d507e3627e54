from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from florilegium.specialists.captions.layout import position_text
from florilegium.specialists.grounding.positions import (
    UNKNOWN_POSITION,
    GridPosition,
    assign_boxes,
    stated_positions,
)

CELLS = [(row, column) for row in range(3) for column in range(3)]


def box(row: int, column: int) -> tuple[float, ...]:
    """A box in the middle of a cell of the grid of three by three."""
    return ((column + 0.3) / 3, (row + 0.3) / 3, (column + 0.7) / 3, (row + 0.7) / 3)


def places(text: str, word: str = "X") -> list[GridPosition | None]:
    """Return the positions of a word that is one letter long."""
    return stated_positions(
        text, [(at, at + 1) for at, letter in enumerate(text) if letter == word]
    )


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("at the top left", GridPosition(0, 0)),
        ("in the upper right-hand corner of the picture", GridPosition(0, 2)),
        ("on the left side of this photograph", GridPosition(None, 0)),
        ("at the bottom", GridPosition(2, None)),
        ("in the middle left", GridPosition(1, 0)),
        ("at the Top Center", GridPosition(0, 1)),
        ("in the centre", GridPosition(1, 1)),
        ("at the top right barks", GridPosition(0, 2)),
        ("to the left of a dog", UNKNOWN_POSITION),
        ("on the right hand of the man", UNKNOWN_POSITION),
        ("on the left arm", UNKNOWN_POSITION),
        ("at the top of the tree", UNKNOWN_POSITION),
        ("on the left and at the top", UNKNOWN_POSITION),
        ("on a table", None),
        ("that is left alone", None),
    ],
)
def test_a_place_is_one_of_the_picture(words: str, place: GridPosition | None) -> None:
    assert places(f"There is an X {words}.") == [place]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("X at the top and X at the bottom.", [GridPosition(0, None), GridPosition(2, None)]),
        ("At the top is X, at the bottom X.", [GridPosition(0, None), GridPosition(2, None)]),
        ("X is on the left. X is here.", [GridPosition(None, 0), None]),
        ("X and X at the top.", [None, GridPosition(0, None)]),
        ("X", [None]),
        ("", []),
    ],
)
def test_a_place_belongs_to_what_stands_beside_it(
    text: str, wanted: list[GridPosition | None]
) -> None:
    assert places(text) == wanted


def test_a_quotation_ends_no_sentence() -> None:
    text = 'It reads "No. Stop!" at the top.'
    assert stated_positions(text, [(10, 19)]) == [GridPosition(0, None)]


@given(cells=st.lists(st.sampled_from(CELLS), min_size=2, max_size=5, unique=True), data=st.data())
@settings(derandomize=True, max_examples=100)
def test_what_the_templates_tell_of_places_is_understood(
    cells: list[tuple[int, int]], data: st.DataObject
) -> None:
    boxes = [box(*cell) for cell in cells]
    order = data.draw(st.permutations(range(len(cells))))
    text = " ".join(f"The text X is written {position_text(boxes[number])}." for number in order)
    assert assign_boxes(places(text), boxes) == order


def test_without_places_mentions_and_boxes_go_by_their_order_if_they_are_as_many() -> None:
    boxes = [box(0, 0), box(2, 2)]
    assert assign_boxes([None, None], boxes) == [0, 1]
    assert assign_boxes([None], boxes) == [None]
    assert assign_boxes([None] * 3, boxes) == [None] * 3
    assert assign_boxes([], boxes) == []


def test_what_is_left_over_belongs_together() -> None:
    boxes = [box(0, 0), box(2, 2)]
    assert assign_boxes([None, GridPosition(0, 0)], boxes) == [1, 0]
    assert assign_boxes([None, GridPosition(0, 0)], [*boxes, box(1, 1)]) == [None, 0]


def test_what_two_mentions_claim_neither_gets() -> None:
    assert assign_boxes([GridPosition(0, 0), GridPosition(0, None)], [box(0, 0), box(2, 2)]) == [
        None,
        None,
    ]


def test_the_nearest_place_is_taken_and_the_opposite_never() -> None:
    column = [box(row, 0) for row in range(3)]
    assert assign_boxes([GridPosition(None, 0)], column) == [1], "as the templates say it"
    assert assign_boxes([GridPosition(None, 0)], column[::2]) == [None]
    assert assign_boxes([GridPosition(0, 0)], [box(0, 1), box(2, 2)]) == [0]
    assert assign_boxes([GridPosition(0, 0)], [box(0, 2)]) == [None]
    assert assign_boxes([UNKNOWN_POSITION], column) == [None]
    assert assign_boxes([UNKNOWN_POSITION], column[:1]) == [0]

"""Objects with boxes, as datasets write them."""

from __future__ import annotations

from typing import Any

import pytest

from florilegium.engine.sources.objects import Objects, read_objects

GOOD = [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("text", "no bbox"),
        ({"categories": []}, "no bbox"),
        ({"bbox": [GOOD]}, "no category or categories"),
        ({"bbox": [GOOD], "category": []}, "0 category for 1 bbox"),
        ({"bbox": [GOOD, GOOD], "category": ["a"]}, "1 category for 2 bbox"),
        ({"bbox": [], "category": ["a"]}, "1 category for 0 bbox"),
        ({"bbox": [GOOD], "category": ["a"], "iscrowd": []}, "0 iscrowd for 1 bbox"),
        ({"bbox": 7, "category": ["a"]}, "bbox is 7, not a list"),
        ({"bbox": [GOOD], "category": 7}, "category is 7, not a list"),
        (["text"], "neither columns nor rows"),
    ],
)
def test_objects_whose_boxes_have_no_certain_category_are_refused(value: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_objects(value)


@pytest.mark.parametrize(
    ("box", "problem"),
    [
        ([1, 2, 3, 0], "its height is not above 0"),
        ([1, 2, 0.001, 4], "its width is not above 0"),
        ([1, 2, -3, 4], "its width is not above 0"),
        ([1, 2, float("nan"), 4], "not finite"),
        ([float("inf"), 2, 3, 4], "not finite"),
        ([1e308, 2, 1e308, 4], "not finite"),
        ([10**400, 2, 3, 4], "too large"),
        ([1, 2, 3], "not [x, y, width, height]"),
        ([1, 2, 3, 4, 5], "not [x, y, width, height]"),
        (["1", 2, 3, 4], "not four numbers"),
        ([True, 2, 3, 4], "not four numbers"),
        ([1, None, 3, 4], "not four numbers"),
        (None, "is None"),
        ("1,2,3,4", "not [x, y, width, height]"),
    ],
)
def test_a_bad_box_is_left_out_alone_and_told(box: Any, problem: str) -> None:
    rows = [{"bbox": box, "category": "bad"}, {"bbox": GOOD, "category": "good"}]
    columns = {"bbox": [box, GOOD], "category": ["bad", "good"]}
    for value in (rows, columns):
        found = read_objects(value)
        assert [one.label for one in found.annotations] == ["good"]
        (problem,) = found.problems
        assert problem.startswith("box 1 ")
        assert problem in problem
        assert not found.is_all


@pytest.mark.parametrize("entry", ["text", 3, None, [1, 2, 3, 4]])
def test_an_entry_that_is_no_row_is_left_out_alone_and_told(entry: Any) -> None:
    found = read_objects([{"bbox": GOOD, "category": "good"}, entry])
    assert [one.label for one in found.annotations] == ["good"]
    assert (found.count, found.problems) == (2, ("box 2 has no category",))


@pytest.mark.parametrize(
    ("category", "problem"),
    [
        (None, "no category"),
        ("", "no category"),
        (" ", "no category"),
        (7, "the category 7, a number without a name"),
        (1.5, "1.5, which is no name"),
        ("a\0", "NUL"),
        (b"caf\xe9", "no UTF-8"),
    ],
)
def test_a_box_without_a_name_is_left_out_alone(category: Any, problem: str) -> None:
    found = read_objects({"bbox": [GOOD, GOOD], "categories": ["good", category]})
    assert [one.label for one in found.annotations] == ["good"]
    assert problem in found.problems[0]


def test_a_missing_category_of_a_row_costs_that_row() -> None:
    found = read_objects([{"bbox": GOOD}, {"bbox": GOOD, "label": "good"}, None])
    assert [one.label for one in found.annotations] == ["good"]
    assert found.problems == ("box 1 has no category", "box 3 has no category")


def test_names_beside_numbers_are_the_categories() -> None:
    found = read_objects({"bbox": [GOOD], "category": [7], "label": ["cat"]})
    assert [one.label for one in found.annotations] == ["cat"]


def test_a_crowd_flag_that_is_none_is_told() -> None:
    found = read_objects({"bbox": [GOOD], "category": ["a"], "iscrowd": ["maybe"]})
    assert (found.annotations, found.crowds) == ((), 0)
    assert "crowd flag 'maybe'" in found.problems[0]


@pytest.mark.parametrize("value", [[], {"bbox": [], "category": []}, {"bbox": None, "label": None}])
def test_no_objects_are_no_annotations(value: Any) -> None:
    assert read_objects(value) == Objects()

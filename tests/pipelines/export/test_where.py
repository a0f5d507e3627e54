"""Expressions over columns: what they choose, and what is refused."""

from __future__ import annotations

import pyarrow as pa
import pytest

from florilegium.engine.core.errors import UsageError
from florilegium.pipelines.export.where import parse_where

TABLE = pa.table(
    {
        "label": ["cat", "dog", "", "a 'big' dog"],
        "task": ["object_detection", "object_detection", "caption", "tag"],
        "score": pa.array([0.9, None, 0.25, 0.5], pa.float64()),
        "round": pa.array([0, 1, 2, 3], pa.int32()),
        "width": pa.array([64, 64, 64, 32], pa.int32()),
    }
)


def rows(text: str) -> list[int]:
    numbered = TABLE.append_column("row", pa.array(range(4)))
    return numbered.filter(parse_where(text).expression)["row"].to_pylist()


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("label == 'cat'", [0]),
        ("label != 'cat' and task == 'object_detection'", [1]),
        ("score >= 0.5", [0, 3]),
        ("not score >= 0.5", [2]),
        ("score is None", [1]),
        ("score is not None and round < 2", [0]),
        ("label in ('cat', 'dog') or score < .3", [0, 1, 2]),
        ("task not in ['tag', 'caption']", [0, 1]),
        ("'dog' in label", [1, 3]),
        ("'dog' not in label", [0, 2]),
        ("label == \"a 'big' dog\"", [3]),
        ("round >= -1 and not (width > 40 or label == 'cat')", [3]),
    ],
)
def test_an_expression_chooses_rows_and_a_missing_number_fits_no_comparison(
    text: str, chosen: list[int]
) -> None:
    assert rows(text) == chosen


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label = 'cat'", "is no expression"),
        ("lable == 'cat'", "did you mean 'label'"),
        ("reason == 'nms'", "about dropped annotations"),
        ("__import__('os').system('id')", "is not known in an expression"),
        ("label == open('x')", "is not known in an expression"),
        ("label == 'a' == 'b'", "is not known in an expression"),
        ("label in ()", "is not known in an expression"),
        ("score > '0.5'", "score is a number"),
        ("score > True", "score is a number"),
        ("label == 3", "label is a text"),
        ("'4' in round", "round is a number"),
        ("[x for x in label]", "is not known in an expression"),
        ("(" * 3000, "is no expression"),
        ("label == 'a' or " * 400, "at most 4000"),
    ],
)
def test_anything_but_comparisons_is_refused_with_what_is_known(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_where(text)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("width >= 640", False),
        ("width < 640 and label == 'cat'", True),
        ("width >= 640 and label == 'cat'", False),
        ("width >= 640 or label == 'cat'", True),
        ("not (width < 640 and label in ('cat', 'dog'))", True),
        ("key == 'b' and score is not None", False),
        ("'a' in key and score is not None", True),
    ],
)
def test_an_image_leaves_only_where_no_annotation_could_help(text: str, holds: bool) -> None:
    assert parse_where(text).may_hold(key="a", width=32, height=8) is holds

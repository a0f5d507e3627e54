"""What a sample filter measured is checked before it is stored."""

from __future__ import annotations

from typing import Any

import pytest

from florilegium.engine.core.limits import Limits
from florilegium.engine.core.sample_rows import SampleMeasurement, SampleMeasurementRows
from tests.curating import Large

ROWS = SampleMeasurementRows(("sharpness",), ("hash",))
SAMPLE: Any = None  # the checks of these rows do not look at it


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"sharpness": 1, "hash": "a"}, ""),
        ({}, ""),
        ({"sharpness": 10**400}, "no finite number"),
        ({"sharpness": 10**9000}, "no finite number"),
        ({"sharpness": float("nan")}, "no finite number"),
        ({"sharpness": True}, "no finite number"),
        ({"sharpness": "1"}, "no finite number"),
        ({"hash": 1}, "not a text"),
        ({"hash": "\ud800"}, "half of a character"),
        ({"hash": "a" * 1_000_000}, "limits.max_caption_characters"),
        ({1: 1.0}, "undeclared"),
        ([1.0], "a mapping"),
    ],
)
def test_what_cannot_be_stored_is_an_error_of_the_sample(values: Any, problem: str) -> None:
    row = SampleMeasurement(values)
    error = ROWS.problem([row], SAMPLE, Limits())
    assert problem in error.message if error and problem else error is None and not problem
    if error is None:
        ROWS.columns([row])  # does not raise


def test_a_sample_filter_may_declare_lists() -> None:
    stage = Large(Large.Config())
    lists: dict[str, Any] = {"measured": ["sharpness"], "measured_texts": ["hash"]}
    for name, value in lists.items():
        setattr(stage, name, value)
    rows = stage.rows
    assert hash(rows) == hash(ROWS)
    assert rows == ROWS

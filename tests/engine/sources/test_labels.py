"""Labels and metadata, whatever a source writes."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import pytest

from engine.sources.labels import MAX_METADATA_BYTES, captions, metadata_json, objects


def test_metadata_is_compact_sorted_json() -> None:
    values = {
        "b": np.float32(0.5),
        "a": {"z": np.int64(3), "y": [np.bool_(True), None]},
        "array": np.arange(3),
        "bytes": b"\x00\xff",
        "time": datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
        "nan": float("nan"),
        "inf": np.float64("inf"),
        "object": complex(1, 2),
        3: "key",
        "emoji": "🦊",
        "half": "\ud83d",
    }
    text = metadata_json(values)
    assert text == (
        '{"3":"key","a":{"y":[true,null],"z":3},"array":[0,1,2],"b":0.5,"bytes":"00ff",'
        '"emoji":"🦊","half":"?","inf":null,"nan":null,"object":"(1+2j)",'
        '"time":"2020-01-02T03:04:05+00:00"}'
    )
    assert text.encode()


def test_long_metadata_loses_its_longest_values_and_says_which() -> None:
    values = {"url": "http://x", "exif": "é" * 40_000, "html": "x" * MAX_METADATA_BYTES, "year": 1}
    text = metadata_json(values)
    assert len(text.encode()) <= MAX_METADATA_BYTES
    assert json.loads(text) == {"url": "http://x", "year": 1, "metadata_dropped": ["exif", "html"]}


@pytest.mark.parametrize(
    "values",
    [
        {f"key {number}": "value" for number in range(20_000)},
        {"k" * 100_000: 1},
        {f"{number}" + "🦊" * 2000: "x" for number in range(50)},
    ],
)  # fmt: skip
def test_metadata_is_bounded_whatever_it_holds(values: dict[str, Any]) -> None:
    text = metadata_json(values)
    assert len(text.encode()) <= MAX_METADATA_BYTES
    assert json.loads(text)["metadata_dropped"]


def test_metadata_nested_without_end_is_refused_not_followed() -> None:
    values: dict[str, Any] = {}
    values["self"] = values
    assert "nested too deeply" in metadata_json(values)


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (" A fox. ", ["A fox."]),
        (["One.", None, "", "Two.", "One."], ["One.", "Two."]),
        ("", []),
        (None, []),
        (3, []),
        ("\ud83d!", ["?!"]),
    ],
)
def test_captions_are_said_once_and_never_empty(value: Any, texts: list[str]) -> None:
    assert [annotation.text for annotation in captions(value)] == texts


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("text", "no bbox"),
        ({"categories": []}, "no bbox"),
        ({"bbox": [[1, 2, 3, 4]]}, "no category or categories"),
        ({"bbox": [[1, 2, 3, 4]], "category": []}, "for 0 categories"),
        ({"bbox": [[1, 2, 3]], "category": ["a"]}, "shape"),
        ({"bbox": [["x", 2, 3, 4]], "category": ["a"]}, "numbers"),
        ({"bbox": [[1, 2, 3, 4], [1]], "category": ["a", "b"]}, "numbers"),
        ({"bbox": [[1, 2, float("nan"), 4]], "category": ["a"]}, "not finite"),
        ({"bbox": [[1, 2, 0, 4]], "category": ["a"]}, "empty"),
        ({"bbox": [[1, 2, 3, 4]], "category": [7]}, "numbers without names"),
        ({"bbox": 7, "category": ["a"]}, "shape"),
        ({"bbox": [[1, 2, 3, 4]], "category": 7}, "no category"),
        (["text"], "neither columns nor rows"),
        ([{"bbox": [1, 2, 3, 4]}], "no category"),
    ],
)
def test_objects_of_another_shape_are_refused_with_the_reason(value: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        objects(value)


@pytest.mark.parametrize("value", [[], {"bbox": [], "category": []}, {"bbox": None, "label": None}])
def test_no_objects_are_no_annotations(value: Any) -> None:
    assert objects(value) == ()

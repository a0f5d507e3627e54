"""Metadata of any values as bounded JSON."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import pytest

from florilegium.engine.sources.metadata import MAX_METADATA_BYTES, metadata_json, with_problems


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


def test_what_is_wrong_with_labels_is_never_what_is_dropped() -> None:
    values = with_problems({f"key {n}": "value" for n in range(20_000)}, ["one", "two", "one"])
    assert json.loads(metadata_json(values))["label_error"] == "one; two"
    assert with_problems({"label_error": "before"}, ["after"]) == {"label_error": "before; after"}
    assert with_problems({"a": 1}, []) == {"a": 1}

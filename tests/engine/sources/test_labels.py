"""Labels of one image, whatever a source writes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from florilegium.engine.core.annotation import Annotation, to_columns
from florilegium.engine.sources.labels import Labels


def row_labels(row: dict[str, Any], encoding: str = "") -> tuple[dict[str, Any], list[Any]]:
    """Return the metadata of a row, and its annotations as label or text and box."""
    labels = Labels(encoding)
    labels.add_row(row)
    metadata, annotations = labels.finish()
    return json.loads(metadata), [(one.name, one.box_xyxy) for one in annotations]


@pytest.mark.parametrize(
    ("value", "texts", "problem"),
    [
        (" A fox. ", ["A fox."], None),
        (["One.", None, "", "Two.", "One."], ["One.", "Two."], None),
        ("", [], None),
        (None, [], None),
        (float("nan"), [], None),
        (3, [], "caption: a value of type int"),
        (["One.", {"en": "Two."}], ["One."], "caption: a value of type dict"),
        ("\ud83d!", [], "caption: half of a character (a lone surrogate)"),
        ("A\0 f\0o\0x", [], "caption: NUL characters, as text in another encoding has; "
         "set `encoding`"),
        ("café".encode(), ["café"], None),
    ],
)  # fmt: skip
def test_captions_are_said_once_and_are_text(value: Any, texts: list[str], problem: str) -> None:
    labels = Labels()
    labels.add_caption(value)
    metadata, annotations = labels.finish()
    assert [annotation.text for annotation in annotations] == texts
    assert json.loads(metadata).get("label_error") == problem


def test_one_bad_box_costs_one_box_and_all_stays_in_the_metadata() -> None:
    objects = {
        "bbox": [[1, 2, 10, 10], [5, 5, 10, 0]],
        "categories": ["cat", "chair"],
        "iscrowd": [0, 0],
        "area": [100.5, 0],
        "id": [7, 8],
    }
    metadata, annotations = row_labels({"objects": objects, "year": 1998})
    assert annotations == [("cat", (1, 2, 11, 12))]
    assert metadata == {
        "objects": objects,
        "year": 1998,
        "label_error": "objects: 1 of 2 boxes left out: "
        "box 2 is [5, 5, 10, 0]: its height is not above 0",
    }


def test_columns_beside_boxes_and_categories_stay_so_that_they_join_to_them() -> None:
    rows = [
        {"bbox": [1, 2, 3, 4], "category": "cat", "area": 12},
        {"bbox": [1, 2, 3, 4], "category": "cat", "area": 13, "id": 9},
    ]
    metadata, annotations = row_labels({"objects": rows})
    assert annotations == [("cat", (1, 2, 4, 6))] * 2
    assert metadata == {"objects": rows}
    plain = {"bbox": [[1, 2, 3, 4]], "category": ["cat"]}
    assert row_labels({"objects": plain}) == ({}, [("cat", (1, 2, 4, 6))])


@pytest.mark.parametrize("flag", [1, True, 1.0, "1", "True"])
def test_a_crowd_is_no_detection_and_the_metadata_says_so(flag: Any) -> None:
    objects = {
        "bbox": [[1, 2, 3, 4], [5, 6, 7, 8]],
        "category": ["person", "person"],
        "iscrowd": [flag, 0],
    }
    metadata, annotations = row_labels({"objects": objects})
    assert annotations == [("person", (5, 6, 12, 14))]
    assert metadata == {"objects": objects, "crowd_regions_left_out": 1}


def test_objects_may_be_json_in_a_cell() -> None:
    cell = '{"bbox": [[1, 2, 3, 4]], "categories": ["fox"]}'
    assert row_labels({"objects": cell}) == ({}, [("fox", (1, 2, 4, 6))])
    metadata, annotations = row_labels({"objects": "{'bbox': []}", "text": "A fox."})
    assert annotations == [("A fox.", ())]
    assert metadata["label_error"].startswith("objects: Expecting property name")
    assert metadata["objects"] == "{'bbox': []}"


def test_bytes_in_a_row_are_text_in_the_encoding_of_the_source_or_are_told() -> None:
    row = {"text": "café".encode("cp1252"), "title": "là".encode("cp1252")}
    metadata, annotations = row_labels(row, "cp1252")
    assert (metadata, annotations) == ({"text": "café", "title": "là"}, [("café", ())])
    metadata, annotations = row_labels(row)
    assert annotations == []
    assert metadata["text"] == row["text"].hex()
    assert metadata["label_error"].count("set the source's `encoding`") == 2


def contract_row(**values: Any) -> dict[str, Any]:
    annotation = Annotation(kind="text", task="caption", text="A rocket.", id="1")
    row = {name: array.to_pylist()[0] for name, array in to_columns([annotation]).items()}
    return row | values


@pytest.mark.parametrize(
    "bad",
    [
        contract_row(id=[1]),
        contract_row(parent_id=[]),
        contract_row(parent_id={}),
        contract_row(id=None),
        contract_row(kind="picture"),
        contract_row(kind="region", task="ocr", box_xyxy=[1, 2, 3]),
        contract_row(kind="region", task="object_detection", label="a", box_xyxy=["1", 2, 3, 4]),
        contract_row(box_xyxy=None),
        {"kind": "text"},
        "text",
        None,
        7,
    ],
)
def test_one_bad_annotation_of_our_own_output_costs_one(bad: Any) -> None:
    labels = Labels()
    labels.add_json(
        json.dumps({"annotations": [bad, contract_row()], "metadata": '{"a":1}'}).encode()
    )
    metadata, annotations = labels.finish()
    assert [annotation.text for annotation in annotations] == ["A rocket."]
    fields = json.loads(metadata)
    assert fields["a"] == 1
    assert fields["label_error"].startswith("annotations: 1 of 2 do not keep to the contract: ")


def test_a_phrase_goes_with_its_caption() -> None:
    caption = contract_row(text=None)
    phrase = contract_row(
        id="2", parent_id="1", kind="phrase", task="phrase_grounding", box_xyxy=[1, 2, 3, 4],
        span=[0, 1],
    )  # fmt: skip
    labels = Labels()
    labels.add_json(json.dumps({"annotations": [caption, phrase, contract_row(id="3")]}).encode())
    metadata, annotations = labels.finish()
    assert [annotation.id for annotation in annotations] == ["3"]
    assert "annotations: 2 of 3 do not" in json.loads(metadata)["label_error"]

"""Annotations of our own output that a stranger wrote: right ones come back, others are named."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.limits import Limits
from florilegium.engine.sources.labels import CROWDS, MORE_ROWS, Labels
from florilegium.engine.sources.own_output import MAX_LINEAGE, MAX_OWN_TASKS

EMPTY: dict[str, Any] = {
    **dict.fromkeys(("text", "label", "language", "parent_id", "id", "model", "revision"), ""),
    **{"box_xyxy": [], "quad": [], "span": [], "merged_from": [], "mask_rle": None},
    **{"score": None, "support": None, "specialist": "x", "stage": "", "round": 0},
}


def box(**changes: Any) -> dict[str, Any]:
    given = {"kind": "region", "task": "object_detection", "label": "cat"}
    return {**EMPTY, **given, "box_xyxy": [1, 1, 9, 9], **changes}


def caption(**changes: Any) -> dict[str, Any]:
    return {**EMPTY, "kind": "text", "task": "caption", "text": "a red fox", **changes}


def phrase(**changes: Any) -> dict[str, Any]:
    given = {"kind": "phrase", "task": "phrase_grounding", "text": "fox", "span": [6, 9]}
    return box(**{**given, "parent_id": "a", **changes})


def read(rows: list[Any]) -> tuple[tuple[Annotation, ...], str]:
    labels = Labels()
    labels.add_json(json.dumps({"annotations": rows}).encode())
    metadata, annotations = labels.finish()
    return annotations, json.loads(metadata).get("label_error", "")


def test_masks_come_back() -> None:
    mask = {"size": [30, 40], "counts": "PU1"}
    annotations, problem = read([box(task="segmentation", label="", box_xyxy=[], mask_rle=mask)])
    assert not problem
    assert annotations[0].mask_rle == ((30, 40), "PU1")


@pytest.mark.attack("files")
@pytest.mark.parametrize(
    ("rows", "kept", "message"),
    [
        ([box(task="T" * 50_000)], 0, "no name"),
        ([box(task="../../x")], 0, "no name"),
        ([box(task="| a |\n# b")], 0, "no name"),
        ([box(task="\x1b[31m")], 0, "no name"),
        ([box(task="")], 0, "no name"),
        ([box(task="..")], 0, "no name"),
        ([box(task="my-task.2")], 1, ""),
        ([box(task=f"t{number}") for number in range(300)], MAX_OWN_TASKS, "not known"),
        ([box(language="e" * 200_000)], 0, "200000 characters"),
        ([box(label="a\0b")], 0, "NUL"),
        ([caption(text="a \x1b[31m fox")], 0, "escape"),
        ([caption(text="\x01\x7f\x9b\u202e")], 0, "none of which is seen"),
        ([caption(text="\u200b\u200d\ufeff\u3164")], 0, "none of which is seen"),
        ([box(label="\u200b")], 0, "none of which is seen"),
        ([caption(id="a"), caption(id="a", text="a dog"), phrase()], 2, "the id of several"),
        ([caption(id="a"), phrase()], 2, ""),
        ([phrase(), caption(id="a")], 2, ""),
        ([caption(id="a"), phrase(span=[6, 10])], 1, "a caption of 9 characters"),
        ([phrase(span=[6, 10]), caption(id="a")], 1, "a caption of 9 characters"),
        ([phrase(), caption(id="a", text=5)], 0, "no text"),
        ([box(id="a", parent_id="a")], 0, "in a circle"),
        ([box(id="a", parent_id="b"), box(id="b", parent_id="a"), box()], 1, "in a circle"),
        ([box(id="a", parent_id=[]), box(parent_id="a")], 1, "no text"),
    ],
)
def test_what_does_not_keep_to_the_contract_is_left_out_and_named(
    rows: list[Any], kept: int, message: str
) -> None:
    annotations, problem = read(rows)
    assert len(annotations) == kept
    assert message in problem
    assert bool(problem) == bool(message)
    assert len(problem) <= 1000


@pytest.mark.attack("files")
@pytest.mark.parametrize("is_backwards", [False, True])
def test_a_chain_of_parents_ends(is_backwards: bool) -> None:
    rows = [box(id=f"{n}", parent_id=f"{n - 1}" if n else "") for n in range(5000)]
    annotations, problem = read(rows[::-1] if is_backwards else rows)
    assert sorted(int(one.id) for one in annotations) == list(range(MAX_LINEAGE))
    assert "made from each other" in problem


@pytest.mark.attack("files")
@pytest.mark.parametrize(
    "rows",
    [
        [{CROWDS: "x", MORE_ROWS: 5}, {"b": 1}],
        [{CROWDS: [1], MORE_ROWS: {}, "caption": "a fox"}, {"b": 1}, {"c": 2}],
        [{"more_rows": "x"}, {CROWDS: {}}],
    ],
)
def test_metadata_with_names_of_our_own_costs_no_image(rows: list[dict[str, Any]]) -> None:
    labels = Labels()
    crowd = {"bbox": [[1, 1, 5, 5]], "category": ["x"], "iscrowd": [1]}
    for row in rows:
        labels.add_row({**row, "objects": crowd})
    metadata = json.loads(labels.finish()[0])
    assert metadata[CROWDS] == len(rows)
    assert len(metadata[MORE_ROWS]) == len(rows) - 1


@pytest.mark.attack("files")
@pytest.mark.parametrize(
    ("document", "message"),
    [
        ('{"caption": "a", "caption": "b"}', "'caption' is there twice"),
        ('{"annotations": [1], "annotations": []}', "'annotations' is there twice"),
        ('{"a": [{"b": 1, "\\u0062": 2}]}', "'b' is there twice"),
        ('{"\\u202e": 1, "\\u202e": 2}', r"\\u202e"),
        ('{"a": [' + "[]," * 2000 + "[]]}", "limits.max_json_values"),
        ('{"a": [' + "{}," * 2000 + "{}]}", "limits.max_json_values"),
        ('{"a": [' + '"x,",' * 2000 + "1]}", "limits.max_json_values"),
        ("{" + ",".join(f'"{n}":1' for n in range(2000)) + "}", "limits.max_json_values"),
    ],
)
def test_json_that_hides_or_holds_too_much_is_no_label(document: str, message: str) -> None:
    labels = Labels(limits=Limits(max_json_values=1000))
    labels.add_json(document.encode())
    metadata, annotations = labels.finish()
    assert message in json.loads(metadata)["label_error"].replace("\\u", "\\\\u")
    assert not annotations


@pytest.mark.attack("files")
def test_commas_in_a_text_are_no_values() -> None:
    labels = Labels(limits=Limits(max_json_values=10))
    labels.add_json(json.dumps({"a": ",[{" * 100, "b": 'x",",",\\"'}).encode())
    assert json.loads(labels.finish()[0])["a"] == ",[{" * 100


@pytest.mark.attack("files")
@pytest.mark.parametrize("piece", ["[]", '"ab"'])
def test_the_largest_label_costs_little(piece: str) -> None:
    data = f'{{"caption":[{",".join([piece] * ((16 << 20) // (len(piece) + 1) - 10))}]}}'.encode()
    started = time.process_time()
    labels = Labels()
    labels.add_json(data)
    assert "max_json_values" in json.loads(labels.finish()[0])["label_error"]
    assert time.process_time() - started < 3


@pytest.mark.attack("files")
@pytest.mark.parametrize("text", ["\x01\x02", "\x9b\x7f", "\u200b\ufeff", "\u202e\u2066"])
def test_a_caption_of_nothing_that_is_seen_is_no_caption(text: str) -> None:
    labels = Labels()
    labels.add_caption([text, "a fox"])
    metadata, annotations = labels.finish()
    assert [one.text for one in annotations] == ["a fox"]
    assert "none of which is seen" in metadata

"""Single annotations judged by truth, and the audit that truth makes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.tasks import TASKS
from florilegium.pipelines.merge.learning.audit import read_audit
from florilegium.pipelines.shape_world.score.audit import audit_from_truth, audit_rows
from florilegium.pipelines.shape_world.score.rightness import is_right, rightness
from tests.pipelines.shape_world.score.labels import (
    SIDE,
    labelled,
    mask,
    perfect,
    phrase,
    region,
    scene,
    thing,
)

SCENE = scene()
RED_CIRCLE, SIGN = (10, 10, 30, 30), (50, 60, 95, 80)


def judged(task: str, box_xyxy: tuple[float, ...], label: str = "", text: str = "") -> bool | None:
    return is_right(region(task, box_xyxy, label, text), SCENE)


def text_is_right(text: str, task: str = "detailed_caption") -> bool | None:
    return is_right(Annotation(kind="text", task=task, text=text), SCENE)


def test_a_box_is_right_on_a_thing_of_its_label() -> None:
    assert judged("object_detection", RED_CIRCLE, "circle") is True
    assert judged("object_detection", (12, 10, 34, 30), "circle") is True
    assert judged("object_detection", RED_CIRCLE, "square") is False
    assert judged("object_detection", (25, 10, 45, 30), "circle") is False
    assert judged("region_proposal", RED_CIRCLE) is True
    assert judged("region_proposal", (0, 0, 99, 99)) is False


def test_a_box_without_coordinates_is_wrong() -> None:
    assert judged("object_detection", (), "circle") is False


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("a red circle", True),
        ("circle", True),
        ("red solid circle", True),
        ("a blue circle", False),
        ("a red striped circle", False),
        ("a lamp", False),
    ],
)
def test_a_described_region_must_fit_its_description(text: str, right: bool) -> None:
    for task in ("dense_region_caption", "region_description", "region_category"):
        assert judged(task, RED_CIRCLE, text=text) is right
    assert judged("open_vocabulary_detection", RED_CIRCLE, label=text) is right


def test_a_mask_is_right_on_the_visible_pixels_of_a_thing() -> None:
    inside = np.zeros((SIDE, SIDE), dtype=bool)
    inside[10:30, 10:24] = True
    assert is_right(mask(inside), SCENE) is True
    assert is_right(mask(inside & (np.arange(SIDE) < 19)), SCENE) is False
    referring = replace(mask(inside), task="referring_segmentation", text="the red circle")
    assert is_right(referring, SCENE) is True
    assert is_right(replace(referring, text="the blue circle"), SCENE) is False


def test_a_line_is_right_on_the_sign_with_its_word_ignoring_case() -> None:
    assert judged("ocr", SIGN, text=" stop ") is True
    assert judged("ocr", SIGN, text="STOPS") is False
    assert judged("ocr", RED_CIRCLE, text="STOP") is False
    assert text_is_right("Stop", "transcript") is True
    assert text_is_right("stop it", "transcript") is False


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("A red circle to the left of a blue square.", True),
        ("A red circle to the right of a blue square.", False),
        ("The picture shows two circles and a sign.", True),
        ("The picture shows three circles.", False),
        ("A green circle at the top left.", False),
        ('A sign that says "STOP" on a dark background.', True),
        ('A sign that says "STAR".', False),
        ('Text that reads "stop".', True),
        ("The picture shows a star.", False),
        ("A quiet afternoon.", None),
    ],
)
def test_a_caption_is_right_when_all_that_it_claims_is_true(text: str, right: bool | None) -> None:
    assert text_is_right(text) is right


def test_a_phrase_is_right_on_a_thing_that_it_may_refer_to() -> None:
    caption = Annotation(kind="text", task="caption", text='A red circle, "STOP", the sky.', id="c")

    def tied(words: str, box_xyxy: tuple[float, ...], label: str = "") -> bool | None:
        start = caption.text.index(words)
        return is_right(phrase(caption, (start, start + len(words)), box_xyxy, label), SCENE)

    assert tied("A red circle", RED_CIRCLE) is True
    assert tied("A red circle", (10, 60, 40, 90)) is False
    assert tied("STOP", SIGN, label="text") is True
    assert tied("STOP", RED_CIRCLE, label="text") is False
    assert tied("the sky", (0, 0, 99, 40)) is None


def test_every_task_is_decided_or_undecidable() -> None:
    for task in TASKS:
        one = region(task, RED_CIRCLE, "circle", "circle")
        assert rightness([one, one], SCENE) == [is_right(one, SCENE)] * 2
    assert rightness([], SCENE) == []


def test_rightness_is_independent_of_other_annotations() -> None:
    given = [
        region("object_detection", RED_CIRCLE, "square"),
        Annotation(kind="text", task="caption", text="A quiet afternoon."),
        region("ocr", SIGN, text="stop"),
        region("object_detection", RED_CIRCLE, "circle"),
        Annotation(kind="text", task="caption", text="A red circle."),
        region("ocr", RED_CIRCLE, text="stop"),
        region("region_proposal", (0, 0, 99, 99)),
        Annotation(kind="text", task="caption", text="A star."),
        region("object_detection", SIGN, "sign"),
    ]
    expected = [False, None, True, True, True, False, False, False, True]
    assert rightness(given, SCENE) == expected
    assert rightness(given[::-1], SCENE) == expected[::-1]


def test_a_region_matches_a_thing_from_an_iou_of_one_half() -> None:
    half, less = (10, 10, 30, 50), (10, 10, 30, 50.1)
    for task in ("object_detection", "open_vocabulary_detection"):
        assert [judged(task, box, "circle") for box in (half, less)] == [True, False]
    assert [judged("region_proposal", box) for box in (half, less)] == [True, False]
    pixels = np.zeros((SIDE, SIDE), dtype=bool)
    pixels[10:20, 10:30] = True
    assert is_right(mask(pixels), SCENE) is True
    pixels[10, 10] = False
    assert is_right(mask(pixels), SCENE) is False
    caption = Annotation(kind="text", task="caption", text="A red circle.", id="c")
    assert [is_right(phrase(caption, (0, 12), box), SCENE) for box in (half, less)] == [True, False]


def test_a_line_reads_a_sign_that_half_of_it_lies_on() -> None:
    assert judged("ocr", (50, 70, 95, 90), text="STOP") is True
    assert judged("ocr", (50, 70.1, 95, 90.1), text="STOP") is False


def test_relations_hold_for_touching_but_not_for_overlapping_things() -> None:
    def text_is_right(left: float) -> bool | None:
        things = (
            thing("circle", "red", (10, 10, 30, 30)),
            thing("star", "blue", (left, 10, 60, 30)),
        )
        beside = replace(SCENE, things=things)
        text = "A red circle to the left of a blue star."
        return is_right(Annotation(kind="text", task="caption", text=text), beside)

    assert [text_is_right(30), text_is_right(29)] == [True, False]


def test_duplicates_are_both_right() -> None:
    circle = region("object_detection", RED_CIRCLE, "circle")
    assert rightness([circle, circle], SCENE) == [True, True]


def test_the_audit_names_each_judged_annotation(tmp_path: Path) -> None:
    given = [
        *perfect(SCENE),
        replace(region("object_detection", RED_CIRCLE, "star"), id="wrong"),
        Annotation(kind="text", task="caption", text="Quiet.", id="unknown"),
    ]
    sample = labelled(SCENE, given)
    rows = list(audit_rows([sample], lambda key: SCENE))
    assert [row["id"] for row in rows] == [one.id for one in given[:-1]]
    assert {row["key"] for row in rows} == {sample.key}
    assert [row["id"] for row in rows if not row["right"]] == ["wrong"]

    path = tmp_path / "audit.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert read_audit(str(path)).right == audit_from_truth([sample], lambda key: SCENE).right

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, PlanError
from florilegium.engine.planning.config import validated
from florilegium.engine.planning.graph import plan
from florilegium.pipelines.filters.superseded import (
    MERGED,
    OUTVOTED,
    UNSURE,
    Superseded,
    SupersededConfig,
)
from tests.building import configure
from tests.pipelines.filters.statements import box, caption, reasons, statements


def judged(rows, *, sample=None, **options):
    return Superseded(SupersededConfig(**options)).judge(statements(rows, sample=sample))


ROWS = [
    box(0, 0, 9, 9, id="a", specialist="first"),
    box(0, 0, 9, 9, id="b", specialist="second"),
    box(50, 50, 99, 99, id="c", specialist="second"),
    box(0, 0, 9, 9, id="m", specialist="merge", merged_from=("a", "b"), confidence=0.8),
]


def test_a_text_of_the_source_is_dropped_only_where_another_text_of_its_box_was_chosen() -> None:
    def text(name: str, parent: str, specialist: str) -> Annotation:
        rest = {"task": "region_description", "label": "", "text": name, "parent_id": parent}
        return box(0, 0, 9, 9, id=name, specialist=specialist, **rest)

    rows = [
        ROWS[0],
        text("chosen", "a", "region_label"),
        *(text(f"{who} {parent}", parent, who) for who in ("source", "other") for parent in "ab"),
        text("source alone", "", "source"),
    ]
    by = {"region_label": ("region_description",)}
    found = reasons(judged(rows, by=by))
    assert found == ["", "", OUTVOTED, "", OUTVOTED, OUTVOTED, ""]
    without = reasons(judged([rows[0], *rows[2:]], by=by))
    assert without == ["", "", "", OUTVOTED, OUTVOTED, ""]
    boxes = [replace(one, specialist="source") for one in ROWS[:3]]
    assert reasons(judged([*boxes, ROWS[3]])) == [MERGED, MERGED, OUTVOTED, ""]


def test_voters_step_back_for_what_they_became() -> None:
    assert reasons(judged(ROWS)) == [MERGED, MERGED, OUTVOTED, ""]


def test_a_statement_speaks_for_its_own_sample_only() -> None:
    # The same image twice: ids repeat from sample to sample.
    assert reasons(judged([*ROWS, *ROWS[:2]], sample=[0] * 4 + [1] * 2)) == [
        MERGED, MERGED, OUTVOTED, "", OUTVOTED, OUTVOTED,
    ]  # fmt: skip


def test_other_tasks_are_not_judged() -> None:
    verdicts = judged([caption("a cup", id="t"), *ROWS])
    assert verdicts.is_judged.tolist() == [False, True, True, True, True]
    assert reasons(judged(ROWS, by={"merge": ("segmentation",)})) == [""] * 4


def test_each_task_has_the_merge_stage_that_merged_it() -> None:
    by = {"merge_boxes": ("object_detection",), "merge": ("caption",)}
    assert reasons(judged(ROWS, by=by)) == [OUTVOTED] * 4


def test_what_each_of_several_merge_stages_says_is_kept_and_what_it_heard_steps_back() -> None:
    captions = [
        caption("a cup", id="t", specialist="writer"),
        caption("a cup", id="u", specialist="captions", merged_from=("t",)),
    ]
    for by in (
        {"merge": ("object_detection",), "captions": ("caption",)},
        {"captions": ("caption",), "merge": ("object_detection",)},
    ):
        found = judged([*captions, *ROWS], by=by)
        assert reasons(found) == [MERGED, "", MERGED, MERGED, OUTVOTED, ""]
        assert found.is_judged.all()


def test_a_stage_speaks_for_the_tasks_that_it_merged_and_no_others() -> None:
    stranger = caption("a cup", id="v", specialist="merge", merged_from=("a",))
    alone = [ROWS[0], stranger]
    assert reasons(judged(alone)) == [OUTVOTED, ""]
    assert judged(alone).is_judged.tolist() == [True, False]


def test_merged_statements_below_a_confidence_are_unsure() -> None:
    assert reasons(judged(ROWS, least_confidence={"object_detection": 0.81}))[3] == UNSURE
    assert reasons(judged(ROWS, least_confidence={"object_detection": 0.8}))[3] == ""
    assert reasons(judged(ROWS, least_confidence={"segmentation": 0.9}))[3] == ""


def test_a_voter_is_merged_or_outvoted_however_unsure_it_is() -> None:
    voters = [replace(one, confidence=0.1) for one in ROWS[:3]]
    found = judged([*voters, ROWS[3]], least_confidence={"object_detection": 0.5})
    assert reasons(found) == [MERGED, MERGED, OUTVOTED, ""]


def test_a_merge_stage_that_says_nothing_outvotes_everybody() -> None:
    assert reasons(judged(ROWS[:3])) == [OUTVOTED] * 3


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ({"boxs": ["object_detection"]}, "names 'boxs', which is no specialist here; did you mean"),
        ({"boxes": ["object_detection", "ocr"]}, "names 'boxes' for ocr, but it produces object"),
    ],
)
def test_a_merge_stage_that_is_not_there_is_refused(by: dict, message: str) -> None:
    """Otherwise everybody would be outvoted."""
    specialists: dict = {
        "shapes_edges": {},
        "boxes": {"use": "merge", "tasks": ["object_detection"]},
    }
    filters = {"superseded": {"by": by}}
    config = configure("photos", Path("out"), specialists=specialists, filters=filters)
    with pytest.raises(PlanError, match=message):
        plan(config)


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ({"merge": ["object_detecton"]}, "did you mean 'object_detection'"),
        ({"a": ["caption"], "b": ["caption"]}, "merged by another stage"),
        ({}, "at least 1"),
    ],
)
def test_wrong_options_are_refused(by: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validated(SupersededConfig, {"by": by}, where="filters.superseded")

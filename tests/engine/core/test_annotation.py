from __future__ import annotations

from dataclasses import fields, replace

import pyarrow as pa
import pytest

from florilegium.engine.core.annotation import (
    ANNOTATION_FIELDS,
    ANNOTATION_NAMES,
    Annotation,
    MaskRLE,
    Provenance,
    from_json,
    from_table,
    stamp,
    to_columns,
)
from tests.engine.by_hand import caption, region

WHO = Provenance(specialist="eye", model="eyes/one", revision="abc", round=2, stage="f00d")
FULL = Annotation(
    kind="phrase",
    task="phrase_grounding",
    text="a red 猫 \U0001f408",
    label="cat",
    language="en",
    box_xyxy=(0.0, 1.5, 10.25, 11.0),
    quad=(0.0, 0.0, 9.0, 0.0, 9.0, 9.0, 0.0, 9.0),
    mask_rle=MaskRLE((30, 40), "abc`1"),
    score=0.25,
    support=0.75,
    parent_id="p",
    span=(2, 9),
    confidence=0.5,
    merged_from=("x", "y"),
    id="i",
    specialist="eye",
    model="m",
    revision="r",
    round=1,
    stage="s",
)
BARE = Annotation(kind="text", task="caption")


def table_of(*annotations: Annotation) -> pa.Table:
    return pa.table(to_columns(annotations))


def test_columns_give_back_the_same_annotations() -> None:
    assert from_table(table_of(FULL, BARE)) == [FULL, BARE]


def test_a_row_of_json_gives_back_the_same_annotation() -> None:
    rows = table_of(FULL, BARE).to_pylist()
    assert [from_json(row) for row in rows] == [FULL, BARE]


def test_words_are_the_text_first_and_a_name_is_the_label_first() -> None:
    both = replace(caption(), text="a red cat", label="cat")
    assert (both.words, both.name) == ("a red cat", "cat")
    text, label = replace(both, label=""), replace(both, text="")
    assert (text.words, text.name) == ("a red cat", "a red cat")
    assert (label.words, label.name) == ("cat", "cat")


def test_no_annotations_are_columns_with_the_right_types() -> None:
    assert table_of().schema == pa.schema(ANNOTATION_FIELDS)
    assert from_table(table_of()) == []


def test_the_columns_are_those_of_the_output_contract_in_its_order() -> None:
    contract = (
        "id kind task text label language box_xyxy quad mask_rle score support confidence "
        "parent_id span merged_from specialist model revision round stage"
    )
    assert contract.split() == list(ANNOTATION_NAMES)


def test_a_stamp_says_who_said_it() -> None:
    (stamped,) = stamp([region()], WHO, "sample")
    assert (stamped.specialist, stamped.model, stamped.revision, stamped.round, stamped.stage) == (
        "eye", "eyes/one", "abc", 2, "f00d",
    )  # fmt: skip


def test_a_stamp_keeps_what_the_stage_has_filled() -> None:
    own = {"id", "specialist", "model", "revision", "round", "stage"}
    filled = [one for one in fields(Annotation) if one.name not in own]
    assert all(getattr(FULL, one.name) != one.default for one in filled)
    (stamped,) = stamp([FULL], WHO, "sample")
    for one in filled:
        assert getattr(stamped, one.name) == getattr(FULL, one.name), one.name


def test_ids_repeat_for_the_same_stage_sample_and_place_and_differ_otherwise() -> None:
    def ids(stage: str, sample: str) -> list[str]:
        who = replace(WHO, stage=stage)
        return [one.id for one in stamp([region(), region()], who, sample)]

    assert ids("a", "b") == ids("a", "b")
    everything = [*ids("a", "b"), *ids("a", "c"), *ids("d", "b")]
    assert len(set(everything)) == 6


def test_an_id_does_not_depend_on_what_is_said() -> None:
    (one,), (other,) = stamp([region("cat")], WHO, "s"), stamp([region("dog")], WHO, "s")
    assert one.id == other.id


def test_a_parent_in_the_same_answer_is_found_by_its_new_id() -> None:
    child, parent = region(parent_id="mine"), caption(id="mine")
    new_child, new_parent = stamp([child, parent], WHO, "sample")
    assert new_child.parent_id == new_parent.id != "mine"


def test_a_parent_that_was_said_earlier_keeps_its_id() -> None:
    (child,) = stamp([region(parent_id="earlier")], WHO, "sample")
    assert child.parent_id == "earlier"


def test_coordinates_keep_two_decimals_and_scores_five() -> None:
    fine = region(
        score=0.1234567,
        support=0.9876543,
        box_xyxy=(0.123, 1.999, 3, 4.005),
        quad=(0.111,) * 8,
    )
    (stamped,) = stamp([fine], WHO, "sample")
    assert (stamped.score, stamped.support) == (0.12346, 0.98765)
    assert stamped.box_xyxy == (0.12, 2.0, 3.0, 4.0)
    assert set(stamped.quad) == {0.11}
    assert all(isinstance(edge, float) for edge in stamped.box_xyxy)


def test_no_score_stays_no_score() -> None:
    (stamped,) = stamp([region(score=None)], WHO, "sample")
    assert stamped.score is None


def test_a_row_without_a_field_is_an_error() -> None:
    row = table_of(BARE).to_pylist()[0]
    del row["span"]
    with pytest.raises(KeyError):
        from_json(row)

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError
from florilegium.pipelines.merge.learning.audit import Audit, Findings, findings, read_audit
from tests.pipelines.merge.voters import voted


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "audit.jsonl"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_an_audit_is_read_line_by_line(tmp_path: Path) -> None:
    path = written(
        tmp_path, '{"id": "a", "right": true, "key": "1"}\n\n{"id": "b", "right": false}\n'
    )
    assert read_audit(path) == Audit(right={"a": True, "b": False}, path=path)


def test_what_nobody_has_looked_at_teaches_nothing(tmp_path: Path) -> None:
    text = '{"id": "a", "right": null}\n{"id": "b", "right": true}\n{"id": "a", "right": false}\n'
    assert read_audit(written(tmp_path, text)).right == {"a": False, "b": True}
    with pytest.raises(ConfigError, match="answers nothing yet: put true or false"):
        read_audit(written(tmp_path, '{"id": "a", "right": null}\n'))


def test_a_mark_at_the_begin_and_separators_of_lines_in_texts_are_no_trouble(
    tmp_path: Path,
) -> None:
    text = '\ufeff{"id": "a", "says": "one\u2028two\x85", "right": true}\r\n'
    assert read_audit(written(tmp_path, text)).right == {"a": True}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "a", "right": true}\n{"id": "b"', "line 2: .* is not of the form"),
        ('{"id": "a", "right": "yes"}', "line 1: .* is not of the form"),
        ('{"right": true}', "is not of the form"),
        ('{"id": "a"}', "is not of the form"),
        ('{"id": "", "right": true}', "is not of the form"),
        ('{"id": "a", "right": 1}', "is not of the form"),
        ("[1, 2]", "is not of the form"),
        ('{"id": "a", "right": true}\n{"id": "a", "right": false}', "line 2: 'a' was found other"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"audit.jsonl, {message}|audit.jsonl, .*{message}"):
        read_audit(written(tmp_path, text))


def test_a_long_line_is_shown_by_its_beginning(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"line 1: '{'x' * 80}' is not of the form"):
        read_audit(written(tmp_path, "x" * 100))


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"audit\.jsonl is not UTF-8 text: .*0xff"):
        read_audit(str(tmp_path / "audit.jsonl"))


def test_an_audit_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there"):
        read_audit(str(tmp_path / "audit.jsonl"))


def test_unknown_annotations_are_counted_and_named_with_a_cure() -> None:
    audit = Audit(right=dict.fromkeys("abcdef", True), path="audit.jsonl")
    message = r"audit.jsonl names 4 of 6 .*: c, d, e, \.\.\.\. .*audit this run's own annotations"
    with pytest.raises(ConfigError, match=message):
        audit.check({"a", "b", "x"})
    audit.check(set("abcdefx"))
    with pytest.raises(ConfigError, match=r"names 3 of 6 annotations .*: d, e, f\. Ids change"):
        audit.check(set("abc"))


def found(*audited: tuple[Annotation, bool]) -> Findings:
    audit = Audit(right={one.id: is_right for one, is_right in audited})
    return findings(audit, [one for one, _ in audited], audited[0][0].task)


def verdict(found: Findings, annotation: Annotation) -> float:
    return float(found.of([annotation])[0][0])


def test_what_was_found_at_a_place_holds_for_what_others_say_there() -> None:
    known = found(
        (voted(10, 10, 30, 30, label="star", id="a"), True),
        (voted(60, 60, 80, 80, label="ring", id="b"), False),
    )
    assert verdict(known, voted(11, 11, 31, 31, label="Star", id="x")) == 1
    assert verdict(known, voted(61, 60, 81, 80, label="ring", id="x")) == 0
    assert np.isnan(verdict(known, voted(11, 11, 31, 31, label="ring", id="x"))), "nobody knows"
    assert np.isnan(verdict(known, voted(25, 25, 45, 45, label="star", id="x")))


def test_right_beats_wrong_but_an_own_finding_beats_both() -> None:
    wrong = voted(10, 10, 30, 42, label="star", id="b")
    known = found((voted(10, 10, 30, 30, label="star", id="a"), True), (wrong, False))
    assert verdict(known, voted(10, 10, 30, 34, label="star", id="x")) == 1
    assert verdict(known, wrong) == 0
    assert (
        verdict(found((wrong, False), (voted(10, 10, 30, 30, label="star", id="a"), True)), wrong)
        == 0
    )


def test_right_statements_of_one_thing_are_counted_once() -> None:
    known = found(
        (voted(10, 10, 30, 30, label="star", id="a"), True),
        (voted(11, 10, 31, 30, label="star", id="b"), True),
        (voted(60, 60, 80, 80, label="star", id="c"), True),
        (voted(90, 90, 99, 99, label="star", id="d"), False),
    )
    assert known.thing.tolist() == [0, 0, 1, -1]
    assert known.things == 2


def test_captions_are_the_same_when_their_words_are() -> None:
    def caption(text: str, name: str) -> Annotation:
        return Annotation(kind="text", task="caption", text=text, id=name)

    known = found((caption("A star.", "a"), True), (caption("A ring.", "b"), False))
    assert verdict(known, caption("a star. ", "x")) == 1
    assert verdict(known, caption("A ring.", "x")) == 0
    assert np.isnan(verdict(known, caption("A cup.", "x")))


def test_other_tasks_do_not_count() -> None:
    proposal = voted(10, 10, 30, 30, task="region_proposal", id="a")
    audit = Audit(right={"a": True})
    assert findings(audit, [proposal], "object_detection").things == 0


def test_what_lies_half_over_each_other_is_one_place_from_there_on() -> None:
    right, wrong = (
        found((voted(0, 0, 10, 10, label="star", id="a"), is_right)) for is_right in (True, False)
    )
    half, less = voted(0, 0, 10, 20, label="star", id="x"), voted(0, 0, 10, 20.1, label="star")
    assert (verdict(right, half), verdict(wrong, half)) == (1, 0)
    assert np.isnan([verdict(right, less), verdict(wrong, less)]).all()
    twins = found((voted(0, 0, 10, 10, id="a"), True), (replace(half, id="b"), True))
    assert twins.thing.tolist() == [0, 0]
    others = found((voted(0, 0, 10, 10, id="a"), True), (replace(less, id="b"), True))
    assert others.thing.tolist() == [0, 1]


def test_findings_are_carried_to_statements_in_any_order_thing_by_thing() -> None:
    known = found(
        (voted(60, 0, 80, 10, label="star", id="wrong"), False),
        (voted(0, 0, 20, 10, label="ring", id="ring"), True),
        (voted(0, 0, 20, 10, label="star", id="star"), True),
        (voted(1, 0, 21, 10, label="ring", id="same ring"), True),
        (voted(0, 40, 20, 80, label="star", id="tall star"), True),
    )
    assert known.thing.tolist() == [-1, 0, 1, 0, 2]
    assert known.things == 3
    asked = [
        voted(0, 42, 20, 82, label="STAR", id="x"),
        voted(100, 0, 120, 10, label="star", id="nobody knows"),
        voted(2, 0, 22, 10, label="ring", id="y"),
        voted(60, 0, 80, 11, label="star", id="z"),
        voted(60, 0, 80, 10, label="star", id="star"),
    ]
    verdicts, things = known.of(asked)
    np.testing.assert_equal(verdicts, [1, np.nan, 1, 0, 1])
    assert things.tolist() == [2, -1, 0, -1, 1], "its own finding counts, wherever it lies"


def test_the_nearest_of_several_right_ones_is_the_thing() -> None:
    known = found(
        (voted(0, 0, 20, 10, label="star", id="a"), True),
        (voted(8, 0, 28, 10, label="star", id="b"), True),
    )
    assert known.thing.tolist() == [0, 1]
    _, things = known.of([voted(5, 0, 25, 10, label="star"), voted(2, 0, 22, 10, label="star")])
    assert things.tolist() == [1, 0]


def test_what_lies_between_two_things_belongs_to_the_first_and_takes_no_other_along() -> None:
    known = found(*((voted(left, 0, left + 20, 10, id=f"{left}"), True) for left in (0, 6, 12)))
    assert known.thing.tolist() == [0, 0, 1]
    places = ((0, 50), (0, 100), (50, 100), (25, 75))
    wide = [(voted(left, 0, right, 10, id=f"{left}, {right}"), True) for left, right in places]
    assert found(*wide).thing.tolist() == [0, 0, 1, 2]


def test_a_region_and_the_whole_image_are_different_places() -> None:
    whole = Annotation(kind="text", task="caption", text="A star.", id="a")
    boxed = replace(whole, kind="region", box_xyxy=(0.0, 0.0, 0.0, 0.0), id="b")
    known = found((whole, True), (boxed, False))
    assert known.thing.tolist() == [0, -1]
    assert np.isnan(verdict(found((boxed, True)), whole))


def test_findings_are_about_what_was_audited_of_that_task_alone() -> None:
    boxes = [voted(0, 0, 9, 9, id=name) for name in "abc"]
    other = voted(0, 0, 9, 9, id="d", task="region_proposal")
    audit = Audit(right={"c": True, "a": False, "d": True})
    known = findings(audit, [*boxes, other], "object_detection")
    assert known.ids == {"a": 0, "c": 1}
    assert known.is_right.tolist() == [False, True]
    assert known.box_xyxy.shape == (2, 4)
    assert [one.id for one in audit.of([*boxes, other])] == ["a", "c", "d"]
    assert len(audit) == 3
    nothing = findings(audit, boxes[1:2], "object_detection")
    assert (nothing.things, nothing.of([])[0].tolist()) == (0, [])
    assert np.isnan(verdict(nothing, boxes[0]))

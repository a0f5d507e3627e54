from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.annotation import Annotation
from engine.errors import ConfigError
from pipelines.calibration.audit import Audit, Findings, findings, read_audit
from tests.pipelines.merge.voters import said


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
        ("[1, 2]", "is not of the form"),
        ('{"id": "a", "right": true}\n{"id": "a", "right": false}', "line 2: 'a' was found other"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_audit(written(tmp_path, text))


def test_an_audit_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there"):
        read_audit(str(tmp_path / "audit.jsonl"))


def test_unknown_annotations_are_counted_and_named_with_a_cure() -> None:
    audit = Audit(right=dict.fromkeys("abcdef", True), path="audit.jsonl")
    message = r"audit.jsonl names 4 of 6 .*: c, d, e, \.\.\.\. .*audit this run's own annotations"
    with pytest.raises(ConfigError, match=message):
        audit.check({"a", "b", "x"})
    audit.check(set("abcdefx"))


def found(*audited: tuple[Annotation, bool]) -> Findings:
    audit = Audit(right={one.id: is_right for one, is_right in audited})
    return findings(audit, [one for one, _ in audited], audited[0][0].task)


def verdict(found: Findings, annotation: Annotation) -> float:
    return float(found.of([annotation])[0][0])


def test_what_was_found_at_a_place_holds_for_what_others_say_there() -> None:
    known = found(
        (said(10, 10, 30, 30, label="star", id="a"), True),
        (said(60, 60, 80, 80, label="ring", id="b"), False),
    )
    assert verdict(known, said(11, 11, 31, 31, label="Star", id="x")) == 1
    assert verdict(known, said(61, 60, 81, 80, label="ring", id="x")) == 0
    assert np.isnan(verdict(known, said(11, 11, 31, 31, label="ring", id="x"))), "nobody knows"
    assert np.isnan(verdict(known, said(25, 25, 45, 45, label="star", id="x")))


def test_right_beats_wrong_but_an_own_finding_beats_both() -> None:
    wrong = said(10, 10, 30, 42, label="star", id="b")
    known = found((said(10, 10, 30, 30, label="star", id="a"), True), (wrong, False))
    assert verdict(known, said(10, 10, 30, 34, label="star", id="x")) == 1
    assert verdict(known, wrong) == 0


def test_right_statements_of_one_thing_are_counted_once() -> None:
    known = found(
        (said(10, 10, 30, 30, label="star", id="a"), True),
        (said(11, 10, 31, 30, label="star", id="b"), True),
        (said(60, 60, 80, 80, label="star", id="c"), True),
        (said(90, 90, 99, 99, label="star", id="d"), False),
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
    proposal = said(10, 10, 30, 30, task="region_proposal", id="a")
    audit = Audit(right={"a": True})
    assert findings(audit, [proposal], "object_detection").things == 0

"""An audit under way, on a small dataset whose labels are true."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from florilegium.engine.core.errors import OutputInUse, StorageError, UsageError
from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.audit.events import Fix, Missing
from florilegium.pipelines.audit.questions import ImageQuestion, StatementQuestion
from florilegium.pipelines.audit.session import (
    STATEMENTS_PER_IMAGE,
    AuditSession,
    audit_root,
    opened_audit,
)
from florilegium.pipelines.merge.learning.audit import read_audit
from florilegium.pipelines.verify.verify import verify_dataset


@pytest.fixture
def copy(scenes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scenes, tmp_path / "run"))


@pytest.fixture
def session(copy: Path) -> Iterator[AuditSession]:
    with opened_audit(Folder(str(copy))) as one:
        yield one


def statement(session: AuditSession, person: str = "Ada") -> StatementQuestion:
    question = session.next(person)
    assert isinstance(question, StatementQuestion)
    return question


def of_task(session: AuditSession, task: str) -> StatementQuestion:
    """Return the question about some annotation of a task."""
    for sample in session.dataset:
        for one in sample.annotations:
            if one.task == task:
                return session.statement(one.id)
    raise AssertionError(task)


def test_answers_are_there_when_it_is_opened_again(copy: Path) -> None:
    with opened_audit(Folder(str(copy))) as session:
        first = statement(session)
        session.judge("Ada", first.statement.id, "wrong", None)
        following = statement(session)
    again = AuditSession(open_dataset(str(copy)))
    assert statement(again).statement.id == following.statement.id
    assert again.progress("Ada").own == 1
    assert read_audit(str(copy / "audit.jsonl")).right == {first.statement.id: False}


def test_one_process_alone_can_audit(copy: Path, session: AuditSession) -> None:
    with pytest.raises(OutputInUse), opened_audit(Folder(str(copy))):
        pass


def test_undo_asks_again_with_the_answer_that_was_given(session: AuditSession) -> None:
    assert session.undo("Ada") is None
    question = of_task(session, "object_detection")
    session.judge("Ada", question.statement.id, "fixed", Fix(label="a new name"))
    undone = session.undo("Ada")
    assert isinstance(undone, StatementQuestion)
    assert undone.statement == question.statement
    assert undone.fix is not None
    assert undone.fix["label"] == "a new name"
    assert session.progress("Ada").own == 0


def test_a_box_that_was_moved_a_little_counts_as_right(session: AuditSession) -> None:
    question = of_task(session, "object_detection")
    x0, y0, x1, y1 = question.statement.box_xyxy
    for box, is_right in (((x0, y0, x1, y1 - (y1 - y0) / 5), True), ((0, 0, 1, 1), False)):
        session.judge("Ada", question.statement.id, "fixed", Fix(box_xyxy=box))
        assert session.findings.statements[question.statement.id]["Ada"].right is is_right


def test_an_answer_counts_when_the_file_of_the_audit_cannot_be_written(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("cannot write: no space left on device")

    with opened_audit(Folder(str(copy))) as session:
        name = statement(session).statement.id
        with monkeypatch.context() as patch:
            patch.setattr("florilegium.pipelines.audit.session.write_audit", full)
            session.judge("Ada", name, "wrong", None)
            assert "audit.jsonl is behind: cannot write" in session.progress("Ada").notes[0]
            with pytest.raises(StorageError, match="no space"):
                session.close()
    assert read_audit(str(copy / "audit.jsonl")).right == {name: False}


def test_a_phrase_is_shown_in_its_caption_and_its_span_can_be_fixed(session: AuditSession) -> None:
    question = of_task(session, "phrase_grounding")
    start, end = question.statement.span
    assert question.caption[start:end]
    session.judge("Ada", question.statement.id, "fixed", Fix(span=(start, end + 1)))
    assert session.findings.statements[question.statement.id]["Ada"].right is False
    other = of_task(session, "object_detection").statement.id
    with pytest.raises(UsageError, match="span"):
        session.judge("Ada", other, "fixed", Fix(span=(0, 1)))


def test_after_some_statements_a_person_is_asked_what_is_missing(session: AuditSession) -> None:
    for _ in range(STATEMENTS_PER_IMAGE):
        session.judge("Ada", statement(session).statement.id, "right", None)
    question = session.next("Ada")
    assert isinstance(question, ImageQuestion)
    assert question.queue == "random"
    assert question.annotations
    thing = Missing(task="object_detection", label="star", box_xyxy=(1, 1, 9, 9))
    session.search("Ada", question.key, [thing])
    statement(session)
    progress = session.progress("Ada")
    assert progress.images == 1
    recall = {one.task: one.recall for one in progress.recall}["object_detection"]
    assert recall.share is not None
    assert 0.5 < recall.share < 1
    undone = session.undo("Ada")
    assert isinstance(undone, ImageQuestion)
    assert undone.missing[0]["label"] == "star"


def test_images_that_a_person_chose_enter_no_estimate(session: AuditSession) -> None:
    key = next(iter(session.dataset)).key
    question = session.image(key)
    assert question.queue == "chosen"
    session.search("Ada", key, [])
    assert session.findings.images[key]["Ada"].queue == "chosen"
    assert session.progress("Ada").images == 0


def test_two_people_are_not_shown_the_same_statement(session: AuditSession) -> None:
    assert statement(session, "Ada").statement.id != statement(session, "Bob").statement.id


def test_what_does_not_fit_the_dataset_is_refused(session: AuditSession) -> None:
    with pytest.raises(UsageError, match="no annotation"):
        session.judge("Ada", "nothing", "right", None)
    with pytest.raises(UsageError, match="no image"):
        session.image("nothing")
    key = next(iter(session.dataset)).key
    with pytest.raises(UsageError, match="out of the image"):
        session.search(
            "Ada", key, [Missing(task="object_detection", label="x", box_xyxy=(0, 0, 999, 9))]
        )
    box = of_task(session, "object_detection").statement.id
    with pytest.raises(UsageError, match="out of its image"):
        session.judge("Ada", box, "fixed", Fix(box_xyxy=(0, 0, 999, 9)))
    with pytest.raises(UsageError, match="can be missing"):
        session.search("Ada", key, [Missing(task="caption", text="x")])
    assert not session.log.events


def test_gain_asks_statements_alone_and_marks_them(copy: Path) -> None:
    session = AuditSession(open_dataset(str(copy)), queue="gain")
    for _ in range(STATEMENTS_PER_IMAGE + 2):
        question = statement(session)
        assert question.queue == "gain"
        session.judge("Ada", question.statement.id, "right", None)
    progress = session.progress("Ada")
    assert progress.by_gain == STATEMENTS_PER_IMAGE + 2
    assert not any(one.precision.answered for one in progress.precision)


def test_the_audit_of_candidates_lies_where_refine_looks(tmp_path: Path) -> None:
    candidates = f"{tmp_path}/rounds/0/candidates/0"
    assert audit_root(Folder(candidates)).url == f"{tmp_path}/rounds/0/candidates"
    assert audit_root(Folder(str(tmp_path))).url == str(tmp_path)


def test_verify_knows_the_files_of_an_audit(copy: Path) -> None:
    output = Folder(str(copy))
    with opened_audit(output) as session:
        session.judge("Ada", statement(session).statement.id, "right", None)
    before = {one for one in verify_dataset(output) if "audit" in one}
    assert not before
    (copy / "audit/Ada.jsonl").write_text("{}\n")
    assert any("Ada.jsonl is damaged" in one for one in verify_dataset(output))

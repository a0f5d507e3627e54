"""The log: whole lines are never lost, torn ones never count."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from florilegium.engine.core.errors import OutputInUse, StorageError, UsageError
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import writing
from florilegium.pipelines.audit.events import (
    ImageSearched,
    Missing,
    StatementJudged,
    Undone,
    in_force,
)
from florilegium.pipelines.audit.log import AuditLog, checked_name
from florilegium.pipelines.dataset.takedown_lines import strip_audit

AT = "2026-01-31T12:00:00Z"


def judged(name: str, answer: str = "right", **changes: object) -> StatementJudged:
    right = {"right": True, "wrong": False}.get(answer)
    values = {"at": AT, "id": name, "key": "ä cat", "answer": answer, "right": right}
    values |= {"queue": "random", "stratum": "object_detection/dfine/0", "stratum_size": 9}
    return StatementJudged.model_validate(values | changes)


EVENTS = (
    judged("a1"),
    Undone(at=AT, id="a1", key="ä cat"),
    judged("a2", "wrong"),
    ImageSearched(
        at=AT, key="ä cat", queue="random", missing=(Missing(task="ocr", text="Bäckerei\n猫"),)
    ),
)


def written(folder: Path) -> bytes:
    log = AuditLog.of(Folder(str(folder)))
    for event in EVENTS:
        log.append("Jürgen", event)
    (file,) = folder.iterdir()
    return file.read_bytes()


def test_cut_off_anywhere_only_the_torn_line_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda number: None)  # it takes most of the time
    data = written(tmp_path)
    file = tmp_path / os.listdir(tmp_path)[0]
    for size in range(len(data) + 1):
        file.write_bytes(data[:size])
        log = AuditLog.of(Folder(str(tmp_path)))
        whole = data[:size].count(b"\n")
        assert tuple(log.events["Jürgen"]) == EVENTS[:whole]
        torn = size - (data[:size].rfind(b"\n") + 1)
        assert log.torn["Jürgen"] == torn
        assert (f"last {torn} bytes" in "".join(log.notes)) == bool(torn)
        if size % 7:
            continue
        log.append("Jürgen", EVENTS[0])
        again = AuditLog.of(Folder(str(tmp_path)))
        assert tuple(again.events["Jürgen"]) == (*EVENTS[:whole], EVENTS[0])
        assert not again.torn["Jürgen"]


def test_an_event_is_synced_before_it_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: (synced.append(os.fstat(number)), sync(number)))
    AuditLog.of(Folder(str(tmp_path))).append("Ada", judged("a1"))
    assert synced[0].st_size > 100


def test_a_line_that_does_not_fit_on_the_disk_leaves_the_log_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog.of(Folder(str(tmp_path)))
    log.append("Ada", judged("a1"))
    write = os.write

    def full(number: int, data: bytes) -> int:
        if len(data) < 50:
            raise OSError(28, "No space left on device")
        return write(number, data[:-10])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StorageError, match="a"):
            log.append("Ada", judged("a2"))
    log.append("Ada", judged("a3"))
    again = AuditLog.of(Folder(str(tmp_path)))
    assert [one.id for one in again.events["Ada"] if isinstance(one, StatementJudged)] == [
        "a1",
        "a3",
    ]


def test_a_damaged_line_within_the_log_is_an_error(tmp_path: Path) -> None:
    data = written(tmp_path)
    file = tmp_path / os.listdir(tmp_path)[0]
    file.write_bytes(data.replace(b'"right"', b'"left"', 1))
    with pytest.raises(StorageError, match="line 1"):
        AuditLog.of(Folder(str(tmp_path)))


def test_object_storage_cannot_keep_a_log() -> None:
    with pytest.raises(UsageError, match="line by line"):
        AuditLog.of(Folder("memory://audit"))


def test_names_of_people_lead_nowhere(tmp_path: Path) -> None:
    log = AuditLog.of(Folder(str(tmp_path / "audit")))
    for name in ("../../etc", "..", ".", "a/b", "Ada Lovelace", "猫"):
        log.append(name, judged("a1"))
    assert os.listdir(tmp_path) == ["audit"]
    assert set(AuditLog.of(log.folder).events) == set(log.events)
    for bad in ("", "  ", "a\nb", "x" * 61):
        with pytest.raises(ValueError, match="printable"):
            checked_name(bad)
    with pytest.raises(ValueError, match="too long for the name of a file"):
        log.append("猫" * 60, judged("a1"))
    assert checked_name("Ju\u0308rgen") == "J\u00fcrgen"  # one person, however it is typed


def test_a_log_under_another_name_is_refused_and_not_mixed_in(tmp_path: Path) -> None:
    AuditLog.of(Folder(str(tmp_path))).append("Jürgen", judged("a1"))
    (tmp_path / "Jürgen.jsonl").write_bytes((tmp_path / "J%C3%BCrgen.jsonl").read_bytes())
    with pytest.raises(StorageError, match=r"J%C3%BCrgen\.jsonl"):
        AuditLog.of(Folder(str(tmp_path)))


def undone(name: str) -> Undone:
    return Undone(at=AT, id=name, key="ä cat")


def test_undo_takes_back_an_answer_and_leaves_those_before(tmp_path: Path) -> None:
    events = [judged("a"), judged("b"), undone("b"), judged("c"), undone("c")]
    assert in_force(list(events)) == [judged("a")]
    assert in_force([judged("d"), judged("d", "wrong")]) == [judged("d", "wrong")]
    assert in_force([judged("d"), judged("d", "wrong"), undone("d")]) == [judged("d")]


def test_a_takedown_strips_answers_and_what_took_them_back(tmp_path: Path) -> None:
    log = AuditLog.of(Folder(str(tmp_path / "audit")))
    for event in (judged("a", key="dog"), judged("b"), undone("b")):
        log.append("Ada", event)
    (tmp_path / "audit.jsonl").write_text('{"id": "b", "right": true, "key": "ä cat"}\n')
    folder = Folder(str(tmp_path))
    assert strip_audit(folder, {"ä cat"}, is_dry=True) == strip_audit(folder, {"ä cat"}) == 3
    assert AuditLog.of(log.folder).events["Ada"] == [judged("a", key="dog")]
    assert (tmp_path / "audit.jsonl").read_text() == ""


def test_a_takedown_waits_for_people_who_would_write_the_answers_again(tmp_path: Path) -> None:
    folder, log = Folder(str(tmp_path)), Folder(str(tmp_path / "audit"))
    AuditLog.of(log).append("Ada", judged("a"))
    with writing(log), pytest.raises(OutputInUse):
        strip_audit(folder, {"ä cat"})
    assert AuditLog.of(log).events["Ada"]

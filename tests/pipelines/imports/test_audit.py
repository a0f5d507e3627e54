"""The log of an audit as corrections of its run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.audit.events import Fix, Missing
from florilegium.pipelines.audit.session import opened_audit
from florilegium.pipelines.corrections.correction import Correction
from florilegium.pipelines.corrections.store import folder_of, read_corrections
from florilegium.pipelines.imports.audit import AuditImporter
from florilegium.pipelines.imports.importing import import_corrections

WHEN = "2026-01-31T12:00:00Z"


def audited(scenes: Path, run: Path) -> tuple[list[Correction], list[str]]:
    """Return the corrections that an audit of a run gives, and the ids it was about: right, moved,
    renamed, with another span, wrong, unsure, taken back."""
    shutil.copytree(scenes, run)
    output = Folder(str(run))
    with opened_audit(output) as session:
        ones = [one for sample in session.dataset for one in sample.annotations]
        boxes = [one for one in ones if one.task == "object_detection"][:6]
        phrase = next(one for one in ones if one.task == "phrase_grounding")
        x0, y0, x1, y1 = boxes[1].box_xyxy
        session.judge("Ada", boxes[0].id, "right", None)
        session.judge("Ada", boxes[1].id, "fixed", Fix(box_xyxy=(x0, y0, x1, (y0 + y1) / 2)))
        session.judge("Ada", boxes[2].id, "fixed", Fix(label="a new name"))
        start, end = phrase.span
        session.judge("Ada", phrase.id, "fixed", Fix(span=(start, end - 1)))
        session.judge("Ada", boxes[3].id, "wrong", None)
        session.judge("Ada", boxes[4].id, "unsure", None)
        session.judge("Ada", boxes[5].id, "wrong", None)
        session.undo("Ada")
        key = next(iter(session.dataset)).key
        thing = Missing(task="object_detection", label="comet", box_xyxy=(1, 1, 9, 9))
        session.search("Ada", key, [thing])
    import_corrections(output, run / "audit/Ada.jsonl", AuditImporter(), who="", when=WHEN)
    found = read_corrections(folder_of(output))
    return found, [boxes[0].id, boxes[1].id, boxes[2].id, phrase.id, boxes[3].id]


def test_answers_become_corrections_of_the_person(scenes: Path, tmp_path: Path) -> None:
    found, (right, moved, renamed, cut, wrong) = audited(scenes, tmp_path / "run")
    by_id = {one.about.id if one.about else "": one for one in found}
    assert {name: one.finding for name, one in by_id.items()} == {
        right: "confirmed",
        moved: "changed",
        renamed: "changed",
        cut: "changed",
        wrong: "rejected",
        "": "added",
    }
    assert {(one.who, one.tool) for one in found} == {("Ada", "florilegium")}
    box, name, phrase, added = (by_id[one].annotation for one in (moved, renamed, cut, ""))
    before = by_id[cut].about
    assert None not in (box, name, phrase, added, before)
    assert box.box_xyxy != by_id[moved].about.box_xyxy  # type: ignore[union-attr]
    assert name.label == "a new name"
    assert (phrase.text, phrase.span[1]) == (before.text[:-1], before.span[1] - 1)
    assert (added.label, added.box_xyxy) == ("comet", (1, 1, 9, 9))


def test_what_is_no_log_is_refused(scenes: Path, tmp_path: Path) -> None:
    shutil.copytree(scenes, tmp_path / "run")
    (tmp_path / "Ada.jsonl").write_text('{"event": "statement"}\n')
    with pytest.raises(ConfigError, match="no log of an audit"):
        import_corrections(
            Folder(str(tmp_path / "run")),
            tmp_path / "Ada.jsonl",
            AuditImporter(),
            who="",
            when=WHEN,
        )

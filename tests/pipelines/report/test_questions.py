"""What always giving the most frequent answer would get right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.files import REPORT, STATISTICS
from florilegium.pipelines.report.page import write_report
from tests.pipelines.report.dataset import Page, Photo, caption, finished, plain, publish


def asked(name: str, question: str, answer: str, **changes: Any) -> Annotation:
    given = {"id": name, "task": "question_answer", "specialist": "asker", "language": "en"}
    return Annotation(kind="text", text=question, label=answer, **{**given, **changes})


QUESTIONS = (
    asked("a", "Is there a cat in the picture?", "yes"),
    asked("b", "Is there a dog in the picture?", "No."),
    asked("c", "Is there a cup in the picture?", "yes"),
    asked("d", "What colour is the cat?", "the red"),
    asked("e", "What colour is the cup?", "blue", score=0.1),
    asked("f", "What colour is the cup?", "red", language=""),
    asked("g", "What colour is the cat?", "blue", parent_id="d", specialist="student"),
    asked("h", "Welche Farbe hat die Katze?", "rot", parent_id="d", language="de"),
    asked("i", "Wo ist die Katze?", "links", language="de"),
)


def test_the_report_has_the_blind_guesser_by_kind(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    publish(output, [Photo(key="cat", data=plain(), annotations=QUESTIONS)])
    write_report(output, finished(output))
    found = json.loads(output.read(STATISTICS) or b"")["questions"]
    assert found["existence"] == {
        "questions": 3, "yes": 2, "no": 1, "most_frequent": "yes", "blind": 0.66667,
    }  # fmt: skip
    assert found["colour"]["questions"] == 2
    assert found["colour"]["most_frequent"] == "red"
    assert list(found) == ["colour", "existence"]
    page = Page((output.read(REPORT) or b"").decode())
    [section] = [one for one in page.find("section") if one.attributes.get("id") == "questions"]
    assert "0.667" in section.content
    assert "1 more question in other languages" in section.content


def test_without_questions_there_is_no_such_section(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    publish(output, [Photo(key="cat", data=plain(), annotations=[caption()])])
    write_report(output, finished(output))
    assert "questions" not in json.loads(output.read(STATISTICS) or b"")
    assert b'id="questions"' not in (output.read(REPORT) or b"")

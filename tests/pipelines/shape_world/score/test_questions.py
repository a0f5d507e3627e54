"""Answers against the scene of `labels`: two circles left, a square and a sign right."""

from __future__ import annotations

from typing import Any

import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.pipelines.shape_world.score.questions import true_answer
from florilegium.pipelines.shape_world.score.score import Score
from florilegium.pipelines.shape_world.score.table import score_table
from tests.pipelines.shape_world.score.labels import scene, scored
from tests.pipelines.shape_world.score.test_table import row, shown


def asked(question: str, answer: str, name: str, **rest: Any) -> Annotation:
    fields = {"kind": "text", "task": "question_answer", "specialist": "asker", "id": name}
    return Annotation(**{**fields, "text": question, "label": answer, **rest})


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is there a circle in the picture?", "yes"),
        ("Is there a star in the picture?", "no"),
        ("How many circles are in the picture?", "2"),
        ("How many crosses are in the picture?", "0"),
        ("What colour is the square?", "blue"),
        ("What colour is the circle?", None),
        ("What colour is the star?", None),
        ("Where is the square?", "top right"),
        ("Where is the circle?", None),
        ("Is the square above the sign?", "yes"),
        ("Is the sign above the square?", "no"),
        ("Is the square to the left of the sign?", "no"),
        ("Is the circle to the left of the sign?", None),
        ("What does the text say?", "STOP"),
        ("What does the text at the bottom right say?", "STOP"),
        ("What does the text at the top say?", None),
        ("Why is the sky blue?", None),
    ],
)
def test_the_true_answer_is_computed_from_the_scene(question: str, answer: str | None) -> None:
    assert true_answer(question, scene()) == answer


def test_answers_are_scored_by_specialist_and_kind_and_a_missing_one_is_wrong() -> None:
    rows = [
        asked("What colour is the square?", "blue", "a"),
        asked("What does the text say?", "STOP", "b"),
        asked("How many circles are in the picture?", "3", "c"),
        asked("What colour is the star?", "red", "d"),
    ]
    answers = [
        asked(rows[0].text, "Blue.", "e", specialist="student", parent_id="a"),
        asked(rows[1].text, "STEP", "f", specialist="student", parent_id="b"),
    ]
    score = scored([*rows, *answers])
    asker, student = score.questions["asker"], score.questions["student"]
    assert [(one.predicted, one.asked, one.anls, one.accuracy) for one in asker.values()] == [
        (2, 1, 1.0, 1.0),
        (1, 1, 0.0, 0.0),
        (1, 1, 1.0, 1.0),
        (4, 3, 2 / 3, 2 / 3),
    ]
    assert list(asker) == ["colour", "count", "reading", "all"]
    assert [(one.predicted, one.asked, one.anls, one.accuracy) for one in student.values()] == [
        (1, 1, 1.0, 1.0),
        (0, 1, 0.0, 0.0),
        (1, 1, 0.75, 0.0),
        (2, 3, 1.75 / 3, 1 / 3),
    ]
    lines = shown(score_table({"labels": score}))
    assert row(lines, "all, ANLS")[0].strip() == "0.667"
    assert score.numbers()["questions.student.reading.anls"] == 0.75


def test_a_translation_is_no_answer() -> None:
    asker = asked("What colour is the square?", "blue", "a", language="en")
    german = {"language": "de", "specialist": "translate", "parent_id": "a"}
    score = scored([asker, asked("Welche Farbe hat das Quadrat?", "blau", "b", **german)])
    assert list(score.questions) == ["asker"]
    student = asked(asker.text, "blau", "c", language="en", specialist="student", parent_id="a")
    assert scored([asker, student]).questions["student"]["all"].anls == 0.5


def test_a_blind_guesser_is_measured_beside_the_answers() -> None:
    shapes = ("circle", "square", "star", "ring")
    rows = [asked(f"Is there a {name} in the picture?", "yes", name) for name in shapes]
    found = scored(rows).questions["asker"]["existence"]
    assert (found.accuracy, found.blind, found.blind_by_question) == (0.5, 0.5, 1.0)


def test_without_questions_the_record_has_none() -> None:
    score: Score = scored([])
    assert "questions" not in score.to_json()

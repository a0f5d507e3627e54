from __future__ import annotations

from typing import Any

import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Picture, Sample
from florilegium.pipelines.filters.answerable import (
    OTHER_ANSWER,
    SECOND_ANSWER,
    UNANSWERED,
    Answerable,
    AnswerableConfig,
)
from tests.pipelines.filters.statements import reasons, statements


def asked(answer: str, name: str, **rest: Any) -> Annotation:
    given = {"kind": "text", "task": "question_answer", "text": "What is it?", "label": answer}
    return Annotation(**{**given, "id": name, "specialist": "asker", **rest})


def told(answer: str, question: str, specialist: str = "student") -> Annotation:
    name = f"{question}-{specialist}"
    return asked(answer, name, parent_id=question, specialist=specialist)


def judged(*rows: Annotation, **options: Any) -> list[str]:
    """Measure and judge, as a build does."""
    stage = Answerable(AnswerableConfig(**options))
    sample = Sample(key="one", width=9, height=9, picture=Picture(b""), annotations=rows)
    [measured] = stage.measure([sample])
    found = {one.annotation_id: one.values["answer_similarity"] for one in measured}
    numbers = [found.get(row.id, float("nan")) for row in rows]
    return reasons(stage.judge(statements(rows, measurements={"answer_similarity": numbers})))


@pytest.mark.parametrize(
    ("answer", "other", "reason"),
    [
        ("three", "3", ""),
        ("HOTEL", "hotel.", ""),
        ("HOTEL", "HOTFL", ""),
        ("HOTEL", "BANK", OTHER_ANSWER),
        ("10", "100", OTHER_ANSWER),
        ("yes", "no", OTHER_ANSWER),
        ("yes", "Yes, there is.", ""),
    ],
)
def test_a_question_stays_where_another_gives_its_answer(
    answer: str, other: str, reason: str
) -> None:
    assert judged(asked(answer, "q"), told(other, "q")) == [reason, SECOND_ANSWER]
    assert judged(asked(answer, "q"), told(other, "q"), keep_answers=True) == [reason, ""]


def test_a_question_that_nobody_else_answered_is_dropped() -> None:
    assert judged(asked("red", "q"), asked("red", "r"), told("red", "r")) == [
        UNANSWERED,
        "",
        SECOND_ANSWER,
    ]


def test_a_translation_is_no_answer_and_is_dropped_with_its_question_only() -> None:
    question = asked("red", "q", language="en")
    german = {"text": "Was ist es?", "language": "de", "specialist": "translate"}
    translation = asked("rot", "t", parent_id="q", **german)
    answer = told("red", "q")
    assert judged(question, translation, answer) == ["", "", SECOND_ANSWER]
    assert judged(question, translation) == [UNANSWERED, ""]
    wrong = asked("blau", "t-student", **{**german, "specialist": "student", "parent_id": "t"})
    assert judged(question, translation, answer, wrong) == [
        *("", OTHER_ANSWER),
        *(SECOND_ANSWER, SECOND_ANSWER),
    ]


def test_of_several_answers_the_best_counts_and_only_of_those_that_may_judge() -> None:
    rows = (asked("red", "q"), told("blue", "q", "one"), told("red", "q", "other"))
    assert judged(*rows)[0] == ""
    assert judged(*rows, by=("one",))[0] == OTHER_ANSWER
    assert judged(*rows, by=("third",))[0] == UNANSWERED
    assert Answerable(AnswerableConfig(by=("one",))).required_stages == {
        "one": ("question_answer",)
    }


def test_a_threshold_judges_stored_numbers() -> None:
    rows = (asked("HOTEL", "q"), told("HOTFL", "q"))
    assert judged(*rows, least_similarity=0.9)[0] == OTHER_ANSWER
    assert judged(*rows, least_similarity=0)[0] == ""
    wrong = (asked("red", "q"), told("blue", "q"))
    assert judged(*wrong, least_similarity=0)[0] == ""


def test_other_tasks_are_not_judged() -> None:
    caption = Annotation(kind="text", task="caption", text="A dog.", id="c")
    about = asked("red", "q", parent_id="c")
    assert judged(caption, about, told("red", "q")) == ["", "", SECOND_ANSWER]

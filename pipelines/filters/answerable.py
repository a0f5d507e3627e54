"""Drops questions whose answer another specialist does not find in the image.

A specialist that can see answers the questions of another one: `florence2` with the task
`question_answer`, or a plugin. Its answers are children of the questions, and so are translations,
which are no answers. Here questions and answers are compared; no pixels are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from florilegium.engine.core.annotation import SCORE_DECIMALS
from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import THRESHOLD, Filter, StageConfig, one_of
from florilegium.engine.core.tasks import ANSWER_TASKS
from florilegium.specialists.words.answers import ANLS_THRESHOLD, is_translation, similarity

OTHER_ANSWER = "other_answer"

UNANSWERED = "unanswered"

SECOND_ANSWER = "second_answer"

SIMILARITY = "answer_similarity"


class AnswerableConfig(StageConfig):
    """Options of `Answerable`."""

    by: tuple[str, ...] = ()
    """Specialists whose answers count; by default all that answer questions of others."""
    least_similarity: Annotated[float, THRESHOLD, Field(ge=0, le=1)] = ANLS_THRESHOLD
    """Lowest similarity of the best other answer, 0..1: 1 minus the share of characters that are
    edited. Numbers, "yes" and "no" are equal, 1, or not, 0."""
    keep_answers: Annotated[bool, THRESHOLD] = False
    """Whether the other answers stay, so that a question is there once for each specialist."""


class Answerable(Filter[AnswerableConfig]):
    """Compare the answer to each question with those of other specialists to the same question.

    A question that none of them answered is dropped, too. A translation is dropped with its
    question; it is judged by itself only if it was answered itself.
    """

    Config = AnswerableConfig
    reads = (one_of(*ANSWER_TASKS),)
    measured = (SIMILARITY,)
    needs = ("rapidfuzz",)
    extra = "refine"

    def __init__(self, config: AnswerableConfig) -> None:
        super().__init__(config)
        self.required_stages = dict.fromkeys(config.by, ANSWER_TASKS)

    def measure(self, samples: Sequence[Sample]) -> list[list[Measurement]]:
        """Measure the similarity of the best other answer to each question."""
        return [self._measured(sample) for sample in samples]

    def _measured(self, sample: Sample) -> list[Measurement]:
        questions = {one.id: one for one in sample.of(*ANSWER_TASKS)}
        best: dict[str, float] = {}
        for answer in questions.values():
            asked = questions.get(answer.parent_id)
            if asked is None or is_translation(answer, asked):
                continue
            if not self.config.by or answer.specialist in self.config.by:
                found = round(similarity(answer.label, asked.label), SCORE_DECIMALS)
                best[asked.id] = max(found, best.get(asked.id, 0.0))
        return [Measurement(name, {SIMILARITY: found}) for name, found in best.items()]

    def judge(self, statements: Statements) -> Verdicts:
        """Judge questions by the stored similarities, and other answers as such."""
        verdicts = Verdicts(len(statements))
        of_task = statements.of_tasks(ANSWER_TASKS)
        is_question = np.isin(statements.task.astype(str), ANSWER_TASKS)
        parent = statements.parent
        is_child = (parent >= 0) & is_question[parent]
        is_translated = is_child & _are_translations(statements, parent)
        is_second = of_task & is_child & ~is_translated
        asked = of_task & ~is_second
        found = statements.measurements[SIMILARITY]
        verdicts.measure(SIMILARITY, found, asked & ~np.isnan(found))
        verdicts.drop(asked & ~is_translated & np.isnan(found), UNANSWERED)
        verdicts.drop(asked & (found < self.config.least_similarity), OTHER_ANSWER)
        if not self.config.keep_answers:
            verdicts.drop(is_second, SECOND_ANSWER)
        return verdicts


def _are_translations(statements: Statements, parent: np.ndarray) -> np.ndarray:
    """Return `is_translation` for all rows, bool, shape (n,); without meaning where there is no
    parent."""
    language, text = statements.texts("language"), statements.texts("text")
    is_other = (language != "") & (language != language[parent]) & (text != text[parent])
    return np.asarray(is_other, dtype=bool)

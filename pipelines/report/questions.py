"""What a guesser who sees no image gets right of the questions of a dataset, by kind of question.

Questions in English, as answers are compared there; those of others are counted only.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.tasks import ANSWER_TASKS
from florilegium.specialists.words.answers import kind_of, normalised_answer
from florilegium.specialists.words.languages import same_language

DECIMALS = 5
COLUMNS = ("id", "task", "text", "label", "language", "parent_id", "kept")


@dataclass(frozen=True, kw_only=True, slots=True)
class Balance:
    """Questions of one kind: how many, those with the answers "yes" and "no", the most frequent
    answer, and the share of questions that it answers, 0..1."""

    questions: int
    yes: int
    no: int
    most_frequent: str
    blind: float


class QuestionBalance:
    """Counts the answers of kept questions by kind."""

    def __init__(self) -> None:
        self.others = 0
        """Questions that are not in English."""
        self._answers: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, table: pa.Table) -> None:
        """Count the questions of a shard's Parquet file; what another specialist answered to a
        question of the table is none."""
        of_task = table.filter(pc.is_in(table.column("task"), pa.array(ANSWER_TASKS)))
        is_answer = pc.is_in(of_task.column("parent_id"), of_task.column("id").combine_chunks())
        kept = of_task.filter(pc.and_not(of_task.column("kept"), is_answer))
        columns = (kept.column(name).to_pylist() for name in ("text", "label", "language"))
        for question, answer, language in zip(*columns, strict=True):
            if language and not same_language(language, "en"):
                self.others += 1
            else:
                self._answers[kind_of(question)][normalised_answer(answer)] += 1

    def by_kind(self) -> dict[str, Balance]:
        """Return the counts by kind, sorted; empty without questions."""
        return {kind: _balance(self._answers[kind]) for kind in sorted(self._answers)}


def _balance(answers: Counter[str]) -> Balance:
    most_frequent = min(answers, key=lambda answer: (-answers[answer], answer))
    return Balance(
        questions=answers.total(),
        yes=answers["yes"],
        no=answers["no"],
        most_frequent=most_frequent,
        blind=round(answers[most_frequent] / answers.total(), DECIMALS),
    )

"""Questions: the parts of a sample about which a stage can be asked independently.

A stage that answers about annotations one by one (`Stage.each`) has a question for each of them,
with the annotations that descend from it; any other stage has one for the whole sample. A question
has a digest, and the answer to it is stored under that: after a change of thresholds, only new
questions are asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.rows import INVALID_OUTPUT
from florilegium.engine.core.sample import Sample, digest_of
from florilegium.engine.core.stage import Stage

Asked = tuple[tuple[str, int], ...]
"""The questions about a sample, each with its digest and the number of rows in its answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What a stage is asked: the annotations that it answers about, by id.

    `digest` covers them and all others that the stage is shown with them. Ids stand for contents:
    they are made of the stage and of what it was asked.
    """

    digest: str
    ids: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is stored about a sample: answers by the digest of their question, and which questions
    were once asked together. `whole` is an answer to all of the sample, from a time when no gate
    stood before the stage, so that its question was not stored."""

    answers: dict[str, list[Any]] = field(default_factory=dict)
    asked: set[tuple[str, ...]] = field(default_factory=set)
    whole: list[Any] | None = None

    def add(self, asked: Asked, rows: Sequence[Any]) -> None:
        """Take the rows of a layer about the sample, in their order."""
        start = 0
        for digest, count in asked:
            self.answers.setdefault(digest, list(rows[start : start + count]))
            start += count
        self.asked.add(tuple(digest for digest, _ in asked))

    def for_questions(self, questions: Sequence[Question]) -> Known:
        """Return the same, with an answer to all of the sample as one to its only question."""
        if self.whole is not None and len(questions) == 1:
            self.add(((questions[0].digest, len(self.whole)),), self.whole)
        return self

    def answers_all(self, questions: Sequence[Question]) -> bool:
        """Whether nothing has to be asked.

        A stage may fail on a sample where nothing was found, so questions without any row in their
        answers count as answered only if they were asked together.
        """
        digests = tuple(question.digest for question in questions)
        answers = [self.answers.get(digest) for digest in digests]
        return digests in self.asked or (None not in answers and any(answers)) or not digests


@dataclass(frozen=True, kw_only=True)
class SampleQuestions:
    """The questions about one sample, which has what passed the gate, and what is known of it."""

    sample: Sample
    questions: Sequence[Question]
    known: Known

    @property
    def is_known(self) -> bool:
        """Whether nothing is to be asked."""
        return self.known.answers_all(self.questions)

    @property
    def new(self) -> Sequence[Question]:
        """The questions without a known answer; all where known answers are not enough."""
        new = [one for one in self.questions if one.digest not in self.known.answers]
        return new or self.questions

    def has_rows(self, answer: Mapping[str, Sequence[Any]] | SampleError) -> bool:
        """Whether a new answer to some questions and the known answers have any row together."""
        if isinstance(answer, SampleError):
            return False
        found = {**self.known.answers, **answer}
        return any(found.get(question.digest) for question in self.questions)


def questions_of(stage: Stage[Any], sample: Sample) -> list[Question]:
    """Return the questions about a sample, in the order of its annotations."""
    if not stage.each:
        ids = [one.id for one in sample.annotations]
        return [Question(digest=_digest(ids), ids=frozenset(ids))]
    owner = _owners(stage, sample)
    context = [one.id for one in sample.annotations if one.id not in owner]
    own: dict[str, list[str]] = {}
    for one in sample.annotations:
        if one.id in owner:
            own.setdefault(owner[one.id], []).append(one.id)
    chosen = {one.id for one in stage.chosen(sample)}
    return [
        Question(digest=_digest([*own[one.id], "", *context]), ids=frozenset(own[one.id]))
        for one in sample.annotations
        if one.id in chosen and one.task in stage.each
    ]


def _digest(ids: Sequence[str]) -> str:
    return digest_of(ids)[:16]


def _owners(stage: Stage[Any], sample: Sample) -> dict[str, str]:
    """Return the annotation of `each` to which each one belongs, by id: itself, or the nearest that
    it descends from. What descends from none is shown with every question."""
    by_id = {one.id: one for one in sample.annotations}
    owner: dict[str, str] = {}
    for one in sample.annotations:
        root = one
        seen = {root.id}
        while (
            root.task not in stage.each and root.parent_id in by_id and root.parent_id not in seen
        ):
            root = by_id[root.parent_id]
            seen.add(root.id)
        if root.task in stage.each:
            owner[one.id] = root.id
    return owner


def shown(stage: Stage[Any], sample: Sample, questions: Iterable[Question]) -> Sample:
    """Return the sample as a stage sees it that is asked these questions."""
    if not stage.each:
        return sample
    wanted = frozenset[str]().union(*(question.ids for question in questions))
    owner = _owners(stage, sample)
    seen = (one for one in sample.annotations if one.id in wanted or one.id not in owner)
    return replace(sample, annotations=tuple(seen))


def divided(
    stage: Stage[Any], questions: Sequence[Question], rows: Sequence[Any]
) -> list[list[Any]]:
    """Divide the rows of an answer by question, each list in their order.

    Raises:
        SampleError: a row is about something that was not asked.
    """
    if not stage.each:
        return [list(rows)]
    index = {name: number for number, one in enumerate(questions) for name in one.ids}
    parts: list[list[Any]] = [[] for _ in questions]
    own = {name: row for row in rows if (name := _own_id(row))}
    for row in rows:
        subject = _subject(stage, row, own)
        if subject not in index:
            raise SampleError(
                INVALID_OUTPUT,
                f"an answer about {subject!r}: a stage with `each` answers about the annotations "
                f"that it is asked about",
            )
        parts[index[subject]].append(row)
    return parts


def _own_id(row: Any) -> str:
    """Return the id that a row has within its answer, if it has one."""
    return getattr(row, "id", "")


def _subject(stage: Stage[Any], row: Any, own: Mapping[str, Any]) -> str:
    """Return what a row is about, through the rows of the same answer that it descends from."""
    subject = stage.rows.subject(row)
    for _ in own:
        if subject not in own:
            break
        subject = stage.rows.subject(own[subject])
    return subject


def passed(sample: Sample, kept: Collection[str] | None) -> Sample:
    """Return the sample with those annotations only that a gate kept; all when there is none."""
    if kept is None:
        return sample
    return replace(sample, annotations=tuple(one for one in sample.annotations if one.id in kept))

"""From a chat model's reply to questions, each checked: what is asked for, and what is refused.

A reply is a JSON list of objects. One that breaks a rule is refused with a reason; a reply that is
no list of objects is an error. Knows no service.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from florilegium.engine.core.errors import SampleError
from florilegium.specialists.online.context import one_line
from florilegium.specialists.online.failure import INVALID_ANSWER
from florilegium.specialists.online.reply import without_reasoning
from florilegium.specialists.questions.templates import PLAIN_KINDS
from florilegium.specialists.words.instructions import is_instruction
from florilegium.specialists.words.languages import language_of
from florilegium.specialists.words.refusals import opens_with_refusal
from florilegium.specialists.words.writing import script_share, words_of_any_script

REPLY_KINDS = (*PLAIN_KINDS, "other")

MALFORMED = "malformed"
NO_PARENT = "no_parent"
"""The answer rests on nothing, or on a number that was not given."""
OTHER_KIND = "other_kind"
TOO_LONG = "too_long"
OTHER_LANGUAGE = "other_language"
INSTRUCTION = "instruction"
DUPLICATE = "duplicate"
TOO_MANY = "too_many"

_LEAST_OF_SCRIPT = 0.5
"""Share of a question's letters that are of its language's script, at least."""
_MAX_LISTED = 1000
"""Objects of a reply that are looked at, at most."""
_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)
"""A block of code around the whole answer, as chat models write it."""


class ChatQuestion(BaseModel):
    """A question of a reply; `rests_on` has the numbers of annotations, 1 and up."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    question: str
    answer: str
    kind: str
    rests_on: list[int] = Field(alias="from")


@dataclass(frozen=True, kw_only=True, slots=True)
class Checks:
    """What a question must be like; the options of `chat_questions` have the same names."""

    kinds: tuple[str, ...]
    most: int
    language: str
    question_characters: int
    answer_characters: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Questions:
    """The questions of a reply that pass, and how many were refused, by reason."""

    questions: tuple[ChatQuestion, ...]
    refused: Counter[str]


_LIST: TypeAdapter[list[object]] = TypeAdapter(list[object])


def order_for(checks: Checks) -> str:
    """Return what a prompt ends with: the form of the reply.

    Raises:
        ConfigError: the language is not known.
    """
    language = language_of(checks.language).name
    return (
        f"Write at most {checks.most} questions in {language}, of these kinds: "
        f"{', '.join(checks.kinds)}. Reply with a JSON list and nothing else, of objects "
        '{"question": "...", "answer": "...", "kind": "...", "from": [1]}. "from" has the numbers '
        "in square brackets of all facts that the answer rests on, at least one. "
        f"A question has at most {checks.question_characters} characters, an answer "
        f"{checks.answer_characters}."
    )


def questions_in(answer: str, sources: int, checks: Checks) -> Questions | SampleError:
    """Return the questions of a reply about `sources` numbered annotations, or an error where it is
    no JSON list."""
    text = without_reasoning(answer)
    if fenced := _FENCE.fullmatch(text):
        text = fenced[1]
    try:
        listed = _LIST.validate_json(text)
    except ValidationError:
        return SampleError(INVALID_ANSWER, f"the answer is no JSON list but {answer[:200]!r}")
    refused: Counter[str] = Counter()
    found: dict[tuple[str, ...], ChatQuestion] = {}
    for one in listed[:_MAX_LISTED]:
        question = _question(one)
        reason = _fault(question, sources, checks) if question else MALFORMED
        if question is None or reason:
            refused[reason] += 1
            continue
        words = tuple(words_of_any_script(question.question))
        if words in found or len(found) == checks.most:
            refused[DUPLICATE if words in found else TOO_MANY] += 1
            continue
        found[words] = question
    refused[TOO_MANY] += max(0, len(listed) - _MAX_LISTED)
    return Questions(questions=tuple(found.values()), refused=+refused)


def _question(listed: object) -> ChatQuestion | None:
    """Return an object of a reply with its texts on one line; `None` if it is no question."""
    try:
        one = ChatQuestion.model_validate(listed)
    except ValidationError:
        return None
    question, answer = one_line(one.question), one_line(one.answer)
    if not any(map(str.isalnum, question)) or not any(map(str.isalnum, answer)):
        return None
    rests_on = list(dict.fromkeys(one.rests_on))
    return one.model_copy(update={"question": question, "answer": answer, "rests_on": rests_on})


def _fault(one: ChatQuestion, sources: int, checks: Checks) -> str:
    """Return why a question is refused; "" if it is good."""
    script = language_of(checks.language).script
    is_longer = len(one.question) > checks.question_characters
    faults = (
        (NO_PARENT, not one.rests_on or any(not 1 <= n <= sources for n in one.rests_on)),
        (OTHER_KIND, one.kind not in checks.kinds),
        (TOO_LONG, is_longer or len(one.answer) > checks.answer_characters),
        (OTHER_LANGUAGE, script_share(one.question, script) < _LEAST_OF_SCRIPT),
        (INSTRUCTION, any(_is_no_data(text) for text in (one.question, one.answer))),
    )
    return next((reason for reason, is_fault in faults if is_fault), "")


def _is_no_data(text: str) -> bool:
    return is_instruction(text) or opens_with_refusal(text)

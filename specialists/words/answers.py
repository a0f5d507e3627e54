"""Comparing short answers to questions: as normalised texts, as numbers, by edit distance; and the
kinds of questions.

Normalisation is that of the VQA evaluation (Antol et al., 2015): case, articles, punctuation and
spelled numbers make no difference. ANLS is the average normalised Levenshtein similarity of DocVQA
(Mathew et al., 2021). English only.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from florilegium.engine.core.annotation import Annotation
from florilegium.specialists.words.nouns import NUMBERS

ANLS_THRESHOLD = 0.5
"""Similarity below which an answer counts as another one, in ANLS."""
_DIGIT_OF = {**{word: str(number) for number, word in enumerate(NUMBERS)}, "none": "0", "zero": "0"}
_ARTICLES = frozenset(("a", "an", "the"))
_SIDES = frozenset(("at", "on", "in"))
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3})")
_POLAR = re.compile(r"\W*(yes|no)\b\W*(?:$|(?<=[,.;:!-])|(?<=[,.;:!-] ))")
_WORD = re.compile(r"[-+]?\d+(?:\.\d+)?|[^\W_]+(?:'[^\W_]+)?")
_SPELLINGS = MappingProxyType({"center": "centre", "gray": "grey"})
_KINDS = (
    ("count", r"how many\b"),
    ("colour", r"(?:what|which) colou?r\b"),
    ("reading", r"what (?:is written|words? )|what (?:do|does) .* (?:say|read)\b"),
    ("position", r"where\b"),
    ("relation", r"(?:is|are) (?:the|this|that|these|those) .*"
     r"\b(?:left of|right of|above|below|under|over|behind|in front of|next to|beside)\b"),
    ("existence", r"(?:is|are) there\b|(?:do|can) you see\b"),
    ("yes or no", r"(?:is|are|was|were|do|does|did|has|have|can|could|will)\b"),
)  # fmt: skip
_PATTERNS = tuple((kind, re.compile(pattern)) for kind, pattern in _KINDS)
OTHER_KIND = "other"


def normalised_answer(answer: str) -> str:
    """Return an answer in lower case, without articles and punctuation, numbers as digits.

    Of "Yes, there is" only the first word counts. "No" before a noun is 0.
    """
    text = _THOUSANDS.sub("", answer.casefold())
    if polar := _POLAR.match(text):
        return polar[1]
    words = [word for word in _WORD.findall(text) if word not in _ARTICLES]
    while len(words) > 1 and words[0] in _SIDES:
        words = words[1:]
    return " ".join(_SPELLINGS.get(word, _DIGIT_OF.get(word, word)) for word in words)


def similarity(answer: str, other: str) -> float:
    """Return the similarity of two answers, 0..1: 1 minus the normalised Levenshtein distance.

    Between numbers, or "yes" and "no", it is 1 or 0: 10 is not nearly 100.
    """
    from rapidfuzz.distance import Levenshtein

    one, two = normalised_answer(answer), normalised_answer(other)
    if _is_exact(one) or _is_exact(two):
        return float(one == two)
    return float(Levenshtein.normalized_similarity(one, two))


def anls(answer: str, true: str) -> float:
    """Return the similarity of an answer to the true one, 0 below `ANLS_THRESHOLD`."""
    found = similarity(answer, true)
    return found if found >= ANLS_THRESHOLD else 0.0


def _is_exact(normalised: str) -> bool:
    return normalised in ("yes", "no") or bool(re.fullmatch(r"[-+]?\d+(?:\.\d+)?", normalised))


def kind_of(question: str) -> str:
    """Return the kind of a question by its words: `count`, `colour`, `existence`, ... or
    `other`."""
    words = " ".join(question.casefold().split())
    return next((kind for kind, pattern in _PATTERNS if pattern.match(words)), OTHER_KIND)


def is_translation(one: Annotation, asked: Annotation) -> bool:
    """Return whether a child of a question is the question in another language: an answer repeats
    the question, or has its language or none."""
    return one.language not in ("", asked.language) and one.text != asked.text


@dataclass(frozen=True, kw_only=True, slots=True)
class Guess:
    """What a guesser who does not see the images gets right, as shares of the questions, 0..1.

    `by_kind` if it gives the most frequent answer of each kind of question, `by_question` that of
    each question; the latter says little where most questions are asked once.
    """

    questions: int
    by_kind: float
    by_question: float


def blind_guess(pairs: Iterable[tuple[str, str]]) -> Mapping[str, Guess]:
    """Return the scores of a blind guesser on (question, answer), by kind of question, sorted."""
    answers: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for question, answer in pairs:
        answers[kind_of(question)][question][normalised_answer(answer)] += 1
    return {kind: _guess(answers[kind].values()) for kind in sorted(answers)}


def _guess(by_question: Iterable[Counter[str]]) -> Guess:
    counts = list(by_question)
    of_kind = sum(counts, Counter[str]())
    total = of_kind.total()
    return Guess(
        questions=total,
        by_kind=max(of_kind.values()) / total,
        by_question=sum(max(one.values()) for one in counts) / total,
    )

"""Scores of questions and answers: each answer against the true one, by who gave it and by kind.

The true answer is computed from the scene. A question that the patterns here do not know, or that
has no single true answer in the scene ("What colour is the star?" without a star), is not scored.
A specialist that answers the questions of another one gives an empty answer to those that it leaves
out. A translation of a question is no answer, and is not scored.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from florilegium.engine.core.tasks import ANSWER_TASKS
from florilegium.pipelines.shape_world.scene import NAMES, Scene, Thing
from florilegium.pipelines.shape_world.score.claims import SIDES
from florilegium.pipelines.shape_world.score.comparison import SceneComparison
from florilegium.specialists.captions.layout import position_text
from florilegium.specialists.words.answers import (
    anls,
    blind_guess,
    is_translation,
    kind_of,
    normalised_answer,
)
from florilegium.specialists.words.nouns import plural

_SINGULAR = {form: name for name in NAMES for form in (name, plural(name))}
_NAME = rf"(?P<name>{'|'.join(sorted(_SINGULAR, key=len, reverse=True))})"
_OTHER = _NAME.replace("?P<name>", "?P<other>")
_PATTERNS = {
    "existence": re.compile(rf"is there an? {_NAME} in the picture\?"),
    "count": re.compile(rf"how many {_NAME} are in the picture\?"),
    "colour": re.compile(rf"what colour is the {_NAME}\?"),
    "position": re.compile(rf"where is the {_NAME}\?"),
    "relation": re.compile(
        rf"is the {_NAME} (?:to the )?(?P<side>{'|'.join(SIDES)}) the {_OTHER}\?"
    ),
    "reading": re.compile(r"what does the text(?: (?:at|on|in) the (?P<place>[a-z ]+))? say\?"),
}
ALL = "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerScore:
    """The answers of one specialist to questions of one kind: `predicted` answers, and `asked`
    questions that have a true answer.

    `anls` is the mean normalised Levenshtein similarity to the true answer, 0 below one half;
    `accuracy` the share of answers that are equal to it, normalised: the VQA accuracy for a single
    reference. `blind` is the accuracy of always giving the most frequent true answer to this kind
    of question, `blind_by_question` of that to each question. All 0..1.
    """

    predicted: int
    asked: int
    anls: float | None
    accuracy: float | None
    blind: float | None
    blind_by_question: float | None


Name = tuple[int, str]
"""The number of a scene and the id of a question about it."""


@dataclass(kw_only=True, slots=True)
class _Answers:
    """The answers of one specialist: `predicted` counts them by kind; `found` has the question, the
    answer and the true answer by the name of the question; `of` are the questions of others, by
    their asker."""

    predicted: Counter[str] = field(default_factory=Counter)
    found: dict[Name, tuple[str, str, str]] = field(default_factory=dict)
    of: dict[str, set[Name]] = field(default_factory=lambda: defaultdict(set))


@dataclass(kw_only=True, slots=True)
class QuestionTally:
    """Answers over samples, by specialist."""

    _answers: dict[str, _Answers] = field(default_factory=lambda: defaultdict(_Answers))

    def add(self, comparison: SceneComparison) -> None:
        """Add the questions about a sample."""
        number = comparison.scene.number
        questions = {one.id: one for one in comparison.of(*ANSWER_TASKS)}
        for one in questions.values():
            asked = questions.get(one.parent_id)
            if asked and is_translation(one, asked):
                continue
            own = self._answers[one.specialist]
            own.predicted[kind_of(one.text)] += 1
            true = true_answer(one.text, comparison.scene)
            if true is not None:
                own.found[number, one.id] = (one.text, one.label, true)
            if asked:
                own.of[asked.specialist].add((number, asked.id))

    def score(self) -> dict[str, dict[str, AnswerScore]]:
        """Return the scores by specialist and kind, `all` kinds last."""
        return {
            name: _scores(own.predicted, [*own.found.values(), *self._left_out(own)])
            for name, own in sorted(self._answers.items())
        }

    def _left_out(self, own: _Answers) -> Iterator[tuple[str, str, str]]:
        """Yield the questions that a specialist was asked and gave no answer to."""
        for asker, answered in own.of.items():
            for name, (question, _, true) in self._answers[asker].found.items():
                if name not in answered:
                    yield question, "", true


def _scores(
    predicted: Mapping[str, int], triples: Sequence[tuple[str, str, str]]
) -> dict[str, AnswerScore]:
    guesses = blind_guess((question, true) for question, _, true in triples)
    scores = {}
    for kind in sorted({*predicted, *guesses}):
        own = [triple for triple in triples if kind_of(triple[0]) == kind]
        guess = guesses.get(kind)
        blind = (guess.by_kind, guess.by_question) if guess else None
        scores[kind] = _score(predicted.get(kind, 0), own, blind)
    whole = _score(sum(predicted.values()), triples, _mean_guess(list(scores.values())))
    return {**scores, ALL: whole}


def _score(
    predicted: int, triples: Sequence[tuple[str, str, str]], blind: tuple[float, float] | None
) -> AnswerScore:
    similarities = [anls(answer, true) for _, answer, true in triples]
    is_right = [normalised_answer(one) == normalised_answer(true) for _, one, true in triples]
    return AnswerScore(
        predicted=predicted,
        asked=len(triples),
        anls=float(np.mean(similarities)) if triples else None,
        accuracy=float(np.mean(is_right)) if triples else None,
        blind=blind[0] if blind else None,
        blind_by_question=blind[1] if blind else None,
    )


def _mean_guess(scores: Sequence[AnswerScore]) -> tuple[float, float] | None:
    """Return what a guesser gets right who knows the kind of each question, and each question."""
    asked = [one for one in scores if one.asked]
    if not asked:
        return None
    weights = [one.asked for one in asked]
    by_kind = np.average([one.blind for one in asked], weights=weights)
    by_question = np.average([one.blind_by_question for one in asked], weights=weights)
    return float(by_kind), float(by_question)


def true_answer(question: str, scene: Scene) -> str | None:
    """Return the true answer to a question about a scene; `None` if there is no single one."""
    words = " ".join(question.casefold().split())
    for kind, pattern in _PATTERNS.items():
        if match := pattern.fullmatch(words):
            return _ANSWERS[kind](match, scene)
    return None


def _called(name: str, scene: Scene) -> list[Thing]:
    return [thing for thing in scene.things if thing.name == _SINGULAR[name]]


def _existence(match: re.Match[str], scene: Scene) -> str:
    return "yes" if _called(match["name"], scene) else "no"


def _count(match: re.Match[str], scene: Scene) -> str:
    return str(len(_called(match["name"], scene)))


def _colour(match: re.Match[str], scene: Scene) -> str | None:
    colours = {thing.colour for thing in _called(match["name"], scene)}
    return colours.pop() if len(colours) == 1 else None


def _position(match: re.Match[str], scene: Scene) -> str | None:
    places = {_place(thing, scene) for thing in _called(match["name"], scene)}
    return places.pop() if len(places) == 1 else None


def _place(thing: Thing, scene: Scene) -> str:
    height, width = scene.pixels.shape[:2]
    box = np.array(thing.box_xyxy) / (width, height, width, height)
    return position_text(box.tolist()).partition("the ")[2]


def _relation(match: re.Match[str], scene: Scene) -> str | None:
    one, other = _called(match["name"], scene), _called(match["other"], scene)
    if len(one) != 1 or len(other) != 1:
        return None
    left, top, right, bottom = one[0].box_xyxy
    other_left, other_top, other_right, other_bottom = other[0].box_xyxy
    is_so = {
        "left of": right <= other_left,
        "right of": left >= other_right,
        "above": bottom <= other_top,
        "below": top >= other_bottom,
    }
    return "yes" if is_so[SIDES[match["side"]]] else "no"


def _reading(match: re.Match[str], scene: Scene) -> str | None:
    words = [
        thing.word
        for thing in scene.things
        if thing.word and match["place"] in (None, _place(thing, scene))
    ]
    return words[0] if len(words) == 1 else None


_ANSWERS = {
    "existence": _existence,
    "count": _count,
    "colour": _colour,
    "position": _position,
    "relation": _relation,
    "reading": _reading,
}

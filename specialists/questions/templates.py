"""Templates of questions in English, a function for each kind, from what is known of an image.

Which facts are asked about is decided by a digest of the image, so that it is the same in each
build. Knows no pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from types import MappingProxyType
from typing import TypeVar

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import digest_of
from florilegium.specialists.captions.layout import is_filling, position_text, side_of
from florilegium.specialists.questions.facts import Facts, Line, Thing
from florilegium.specialists.words.nouns import is_plural, plural, with_article

_MARGIN = 0.03
"""Distance from a border of the grid of three by three, relative to the image, under which a
position is not asked about."""
_BORDERS = (1 / 3, 2 / 3)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A question with its answer, and the annotations that must all be right for it to be."""

    question: str
    answer: str
    sources: tuple[Annotation, ...]


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Asks about one image. `digest` is that of the image, `absent` are names of what is not there,
    in the order of the digest, and `most` limits the questions or pairs of questions of a kind."""

    facts: Facts
    absent: Sequence[str]
    digest: str
    most: int

    def drawn(self, values: Sequence[T], spelled: Callable[[T], str], kind: str) -> list[T]:
        """Return values in an order that the digest of the image decides."""
        return in_order(values, spelled, f"{self.digest}/{kind}")


def in_order(values: Sequence[T], spelled: Callable[[T], str], seed: str) -> list[T]:
    """Return values in an order that a seed decides, and that depends on no other value."""
    return sorted(values, key=lambda value: digest_of([seed, spelled(value)]))


def existence(asker: Asker) -> Iterator[Draft]:
    """Ask for what is there and for as many names of what is not: yes and no are balanced.

    An answer "no" has no source: it was asked only where no annotation of any score may be of it.
    """
    present = asker.drawn(list(asker.facts.names), str, "existence")
    for there, absent in islice(zip(present, asker.absent, strict=False), asker.most):
        source = asker.facts.names[there]
        yield Draft(question=_is_there(there), answer="yes", sources=(source,))
        yield Draft(question=_is_there(absent), answer="no", sources=())


def _is_there(name: str) -> str:
    be = "Are" if is_plural(name) else "Is"
    return f"{be} there {with_article(name, name)} in the picture?"


def count(asker: Asker) -> Iterator[Draft]:
    """Ask for the number of things of a name, each number once, 0 among them."""
    names_of: dict[int, list[str]] = {0: list(asker.absent)}
    for name, number in asker.facts.counts.items():
        names_of.setdefault(number, []).append(name)
    numbers = [number for number, names in names_of.items() if names]
    for number in asker.drawn(numbers, str, "count")[: asker.most]:
        names = names_of[number]
        name = asker.drawn(names, str, "count")[0] if number else names[-1]
        sources = tuple(thing.source for thing in asker.facts.things if thing.name == name)
        yield Draft(
            question=f"How many {plural(name)} are in the picture?",
            answer=str(number),
            sources=sources,
        )


def colour(asker: Asker) -> Iterator[Draft]:
    """Ask for the colour of a thing that its name alone refers to."""
    coloured = [thing for thing in asker.facts.single if thing.colour]
    for thing in asker.drawn(coloured, _name, "colour")[: asker.most]:
        question = f"What colour {_be(thing.name)} the {thing.name}?"
        yield Draft(question=question, answer=thing.colour, sources=(thing.source,))


def position(asker: Asker) -> Iterator[Draft]:
    """Ask where in the picture a thing is, on a grid of three by three."""
    return _positions(asker, asker.facts.single, "position")


def phrase_position(asker: Asker) -> Iterator[Draft]:
    """Ask the same about a thing as a caption calls it."""
    return _positions(asker, asker.facts.phrases, "phrase_position")


def _positions(asker: Asker, things: Sequence[Thing], kind: str) -> Iterator[Draft]:
    placed = [thing for thing in things if _has_position(thing.box_xyxy)]
    for thing in asker.drawn(placed, _name, kind)[: asker.most]:
        question = f"Where {_be(thing.name)} the {thing.name}?"
        yield Draft(question=question, answer=_place(thing.box_xyxy), sources=(thing.source,))


def relation(asker: Asker) -> Iterator[Draft]:
    """Ask twice about two things, on whose side one lies and the other does not: yes and no."""
    return _relations(asker, asker.facts.single, "relation")


def phrase_relation(asker: Asker) -> Iterator[Draft]:
    """Ask the same about two things as captions call them.

    Whether a phrase is there is not asked: phrases have attributes and names of what is absent have
    none, which would give the answer away.
    """
    return _relations(asker, asker.facts.phrases, "phrase_relation")


def _relations(asker: Asker, things: Sequence[Thing], kind: str) -> Iterator[Draft]:
    pairs = [
        (first, second)
        for first, second in combinations(things, 2)
        if side_of(first.box_xyxy, second.box_xyxy)
    ]
    for pair in asker.drawn(pairs, _names, kind)[: asker.most]:
        one, other = asker.drawn(pair, _name, "subject")
        side = side_of(one.box_xyxy, other.box_xyxy)
        sources = (one.source, other.source)
        yield Draft(question=_is_beside(one, side, other), answer="yes", sources=sources)
        yield Draft(question=_is_beside(other, side, one), answer="no", sources=sources)


def _is_beside(one: Thing, side: str, other: Thing) -> str:
    be = _be(one.name).capitalize()
    return f"{be} the {one.name} {side} the {other.name}?"


def reading(asker: Asker) -> Iterator[Draft]:
    """Ask for the text: the only line, or one that is alone in its place."""
    lines = asker.facts.lines or ()
    if len(lines) == 1:
        asked = [("What does the text say?", lines[0])]
    else:
        by_place: dict[str, list[Line]] = {}
        for line in lines:
            by_place.setdefault(position_text(line.box_xyxy), []).append(line)
        asked = [
            (f"What does the text {place} say?", own[0])
            for place, own in by_place.items()
            if len(own) == 1 and _has_position(own[0].box_xyxy)
        ]
    for question, line in asker.drawn(asked, lambda one: one[0], "reading")[: asker.most]:
        yield Draft(question=question, answer=line.text, sources=(line.source,))


KINDS: Mapping[str, Callable[[Asker], Iterator[Draft]]] = MappingProxyType(
    {
        "existence": existence,
        "count": count,
        "colour": colour,
        "position": position,
        "relation": relation,
        "reading": reading,
        "phrase_position": phrase_position,
        "phrase_relation": phrase_relation,
    }
)
"""The kinds of questions, each with what makes them."""
OF_PHRASES = ("phrase_position", "phrase_relation")
"""Those about phrases of captions."""
PLAIN_KINDS = tuple(kind for kind in KINDS if kind not in OF_PHRASES)


def _name(thing: Thing) -> str:
    return thing.name


def _names(pair: tuple[Thing, Thing]) -> str:
    return " ".join(sorted(thing.name for thing in pair))


def _be(name: str) -> str:
    return "are" if is_plural(name) else "is"


def _place(box_xyxy: tuple[float, ...]) -> str:
    """Return "top left", "left" or "centre"."""
    return position_text(box_xyxy).partition("the ")[2]


def _has_position(box_xyxy: tuple[float, ...]) -> bool:
    """Return whether a box has a clear place on the grid."""
    left, top, right, bottom = box_xyxy
    centres = ((left + right) / 2, (top + bottom) / 2)
    is_clear = all(abs(centre - border) >= _MARGIN for centre in centres for border in _BORDERS)
    return is_clear and not is_filling(box_xyxy)

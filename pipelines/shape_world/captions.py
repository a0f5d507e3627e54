"""What is true about a scene, in English of three lengths.

The words are those of the scene's truth and nothing else; the wording varies little, so that
a small language model can learn it. This module knows no pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.shape_world.scene import SIGN, Relation, Thing

_NUMBERS = ("no things", "one thing", "two things", "three things", "four things", "five things",
            "six things")  # fmt: skip
_LARGE, _SMALL = 0.3, 0.19
"""Side of a square with the area of the box, as a share of the image's side."""
_FULL_LENGTH = 52
"""A more detailed caption takes in relations until it has about this many words."""


def captions(
    things: Sequence[Thing], relations: Sequence[Relation], ground: str, rng: np.random.Generator
) -> dict[str, str]:
    """Say three captions; `ground` is what the background looks like, e.g. `light gray`.

    Args:
        things: in any order; captions take the largest first.
        relations: places in `things`; each with its inverse.
        ground: an adjective for the background.
        rng: chooses between equally good wordings.
    """
    order = sorted(range(len(things)), key=lambda place: -_side(things[place]))
    told = _without_inverse(relations, order)
    return {
        "caption": _brief(things, order, told, ground),
        "detailed_caption": _detailed(things, order, told, ground, rng),
        "more_detailed_caption": _more_detailed(things, order, told, ground, rng),
    }


def phrase(thing: Thing, article: str = "a", size: str = "") -> str:
    """Name a thing by its attributes: `a large red striped circle`."""
    pattern = "" if thing.pattern == "solid" else thing.pattern
    words = [word for word in (size, thing.colour, pattern, thing.name) if word]
    if article == "a" and words[0][0] in "aeiou":
        article = "an"
    return " ".join([article, *words])


def _introduced(thing: Thing, size: str = "") -> str:
    """A phrase, with the word if it is a sign."""
    said = f' that says "{thing.word}"' if thing.name == SIGN else ""
    return phrase(thing, size=size) + said


def _brief(
    things: Sequence[Thing], order: Sequence[int], told: Sequence[Relation], ground: str
) -> str:
    if len(order) == 1:
        return _sentence(f"{phrase(things[order[0]])} on a {ground} background")
    pair = set(order[:2])
    for relation in told:
        if {relation.subject, relation.object} == pair:
            subject, other = things[relation.subject], things[relation.object]
            return _sentence(f"{phrase(subject)} {_side_of(relation)} {phrase(other)}")
    return _sentence(f"{phrase(things[order[0]])} and {phrase(things[order[1]])}")


def _detailed(
    things: Sequence[Thing],
    order: Sequence[int],
    told: Sequence[Relation],
    ground: str,
    rng: np.random.Generator,
) -> str:
    opening = ("The image shows", "The picture shows")[rng.integers(2)]
    sentences = [f"{opening} {_listed([_introduced(things[place]) for place in order])}"]
    if told:
        sentences.append(_related(things, told[0]))
    if len(order) < 4:
        sentences.append(f"the background is {ground}")
    return " ".join(map(_sentence, sentences))


def _more_detailed(
    things: Sequence[Thing],
    order: Sequence[int],
    told: Sequence[Relation],
    ground: str,
    rng: np.random.Generator,
) -> str:
    noun = ("image", "picture")[rng.integers(2)]
    verb = "is" if len(order) == 1 else "are"
    sentences = [f"there {verb} {_NUMBERS[len(order)]} in the {noun}, on a {ground} background"]
    for place in order:
        thing = things[place]
        sentences.append(f"{_introduced(thing, _size(thing))} is {_place(thing)}")
    for relation in told:
        if sum(len(sentence.split()) for sentence in sentences) > _FULL_LENGTH:
            break
        sentences.append(_related(things, relation))
    return " ".join(map(_sentence, sentences))


def _related(things: Sequence[Thing], relation: Relation) -> str:
    subject, other = things[relation.subject], things[relation.object]
    return f"{phrase(subject, 'the')} is {_side_of(relation)} {phrase(other, 'the')}"


def _side_of(relation: Relation) -> str:
    is_sideways = relation.predicate.endswith("of")
    return f"to the {relation.predicate}" if is_sideways else relation.predicate


def _without_inverse(relations: Sequence[Relation], order: Sequence[int]) -> list[Relation]:
    """Keep one of each two directions, those between the largest things first."""
    rank = {place: position for position, place in enumerate(order)}
    kept = [each for each in relations if rank[each.subject] < rank[each.object]]
    return sorted(kept, key=lambda each: (rank[each.subject], rank[each.object]))


def _listed(phrases: Sequence[str]) -> str:
    if len(phrases) == 1:
        return phrases[0]
    return f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _side(thing: Thing) -> float:
    x1, y1, x2, y2 = thing.box_xyxy
    return float(np.sqrt((x2 - x1) * (y2 - y1))) / thing.mask.shape[0]


def _size(thing: Thing) -> str:
    side = _side(thing)
    return "large" if side > _LARGE else "small" if side < _SMALL else ""


def _place(thing: Thing) -> str:
    """Where the middle of a thing lies, in thirds of the image."""
    x1, y1, x2, y2 = thing.box_xyxy
    height, width = thing.mask.shape
    column = int(3 * (x1 + x2) / 2 / width)
    row = int(3 * (y1 + y2) / 2 / height)
    if row == column == 1:
        return "in the center"
    if row == 1:
        return f"on the {('left', 'center', 'right')[column]} side"
    edge = "top" if row == 0 else "bottom"
    return f"at the {edge}" if column == 1 else f"at the {edge} {('left', '', 'right')[column]}"

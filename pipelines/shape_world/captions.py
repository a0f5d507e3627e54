"""True captions of a scene in English, in three lengths.

They use the words of the ground truth only, and vary little, so that a small language model can
learn them. Knows no pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from florilegium.pipelines.shape_world.scene import SIGN, Relation, Thing

_NUMBERS = ("no things", "one thing", "two things", "three things", "four things", "five things",
            "six things")  # fmt: skip
_LARGE, _SMALL = 0.3, 0.19
"""Above and below these, a thing is called large or small: the side of a square with the area of
its box, as a share of the image's side."""
_FULL_LENGTH = 52
"""A more detailed caption adds relations until it has about this many words."""


def captions(
    things: Sequence[Thing], relations: Sequence[Relation], ground: str, rng: np.random.Generator
) -> dict[str, str]:
    """Write three captions, by caption task.

    Args:
        things: in any order; captions take the largest first.
        relations: indices into `things`; each with its inverse.
        ground: an adjective for the background, such as `light`.
        rng: chooses between equally good wordings.
    """
    order = sorted(range(len(things)), key=lambda index: -_side(things[index]))
    relations_once = _without_inverse(relations, order)
    return {
        "caption": _brief(things, order, relations_once, ground),
        "detailed_caption": _detailed(things, order, relations_once, ground, rng),
        "more_detailed_caption": _more_detailed(things, order, relations_once, ground, rng),
    }


def phrase(thing: Thing, article: str = "a", size: str = "") -> str:
    """Name a thing by its attributes: `a large red striped circle`."""
    pattern = "" if thing.pattern == "solid" else thing.pattern
    words = [word for word in (size, thing.colour, pattern, thing.name) if word]
    if article == "a" and words[0][0] in "aeiou":
        article = "an"
    return " ".join([article, *words])


def _introduced(thing: Thing, size: str = "") -> str:
    """A phrase; for a sign, with its word."""
    inscription = f' that says "{thing.word}"' if thing.name == SIGN else ""
    return phrase(thing, size=size) + inscription


def _brief(
    things: Sequence[Thing], order: Sequence[int], relations_once: Sequence[Relation], ground: str
) -> str:
    if len(order) == 1:
        return _sentence(f"{phrase(things[order[0]])} on a {ground} background")
    pair = set(order[:2])
    for relation in relations_once:
        if {relation.subject, relation.object} == pair:
            subject, other = things[relation.subject], things[relation.object]
            return _sentence(f"{phrase(subject)} {_side_of(relation)} {phrase(other)}")
    return _sentence(f"{phrase(things[order[0]])} and {phrase(things[order[1]])}")


def _detailed(
    things: Sequence[Thing],
    order: Sequence[int],
    relations_once: Sequence[Relation],
    ground: str,
    rng: np.random.Generator,
) -> str:
    opening = ("The image shows", "The picture shows")[rng.integers(2)]
    sentences = [f"{opening} {_listed([_introduced(things[index]) for index in order])}"]
    if relations_once:
        sentences.append(_related(things, relations_once[0]))
    if len(order) < 4:
        sentences.append(f"the background is {ground}")
    return " ".join(map(_sentence, sentences))


def _more_detailed(
    things: Sequence[Thing],
    order: Sequence[int],
    relations_once: Sequence[Relation],
    ground: str,
    rng: np.random.Generator,
) -> str:
    noun = ("image", "picture")[rng.integers(2)]
    verb = "is" if len(order) == 1 else "are"
    sentences = [f"there {verb} {_NUMBERS[len(order)]} in the {noun}, on a {ground} background"]
    for index in order:
        thing = things[index]
        sentences.append(f"{_introduced(thing, _size(thing))} is {_position(thing)}")
    for relation in relations_once:
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
    """Keep one of each two directions, sorted by the sizes of the things, largest first."""
    rank = {index: position for position, index in enumerate(order)}
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


def _position(thing: Thing) -> str:
    """Describe the position of a thing's centre, in thirds of the image."""
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

"""Templates of captions in three lengths, in English, from groups of objects and lines of text.

Each sentence states only what these contain. Knows no annotations and no pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from florilegium.specialists.captions.layout import (
    is_filling,
    position_text,
    share_of,
    share_text,
    side_of,
    size_of,
)
from florilegium.specialists.words.nouns import (
    NUMBERS,
    is_plural,
    listing,
    plural,
    quoted,
    sentence,
    with_article,
)


@dataclass(frozen=True, kw_only=True)
class ObjectGroup:
    """The objects of one name in an image, and their highest score.

    `boxes` are relative to the image, 0..1, highest scores first; there is none for a tag.
    """

    name: str
    boxes: tuple[tuple[float, ...], ...] = ()
    colour: str = ""
    score: float | None
    has_size: bool = True
    """Whether its size may be stated."""

    @property
    def count(self) -> int:
        """The number of objects, at least one."""
        return max(1, len(self.boxes))

    @property
    def box_xyxy(self) -> tuple[float, ...]:
        """The box of a single object, else empty."""
        return self.boxes[0] if len(self.boxes) == 1 else ()

    @property
    def fills(self) -> bool:
        """Whether it is stated to fill the picture."""
        return self.has_size and bool(self.box_xyxy) and is_filling(self.box_xyxy)

    @property
    def is_many(self) -> bool:
        """Whether its verbs are plural."""
        return self.count > 1 or is_plural(self.name)

    @property
    def noun(self) -> str:
        """The name, in the plural if there are several, without adjectives."""
        return plural(self.name) if self.count > 1 else self.name

    def phrase(self, *, has_size: bool = True) -> str:
        """Return "a large red cup", "three orange flowers", "blue jeans"."""
        is_sized = has_size and self.has_size and bool(self.box_xyxy)
        size = size_of(self.box_xyxy) if is_sized else ""
        words = " ".join(word for word in (size, self.colour, self.noun) if word)
        if self.count == 1:
            return with_article(words, self.name)
        return f"{NUMBERS[self.count] if self.count < len(NUMBERS) else 'many'} {words}"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of OCR and its box, relative to the image."""

    text: str
    box_xyxy: tuple[float, ...]
    score: float | None

    @property
    def quote(self) -> str:
        """The text in quotation marks."""
        return quoted(self.text)


def brief(things: Sequence[ObjectGroup], lines: Sequence[Line]) -> str:
    """Return a short sentence about the first object and its position."""
    if not things:
        return sentence(f"text that reads {lines[0].quote}")
    return sentence(_placed(things[0]))


def detailed(things: Sequence[ObjectGroup], lines: Sequence[Line], around: Sequence[str]) -> str:
    """Return sentences about some objects with positions, a line of text and the background."""
    return " ".join(
        [
            *([sentence(listing([_placed(thing) for thing in things]))] if things else []),
            *_written(lines),
            *_background(around),
        ]
    )


def medium(colours: Sequence[str], *, is_black_and_white: bool) -> str:
    """Return a sentence about the picture itself, "" if nothing prevails in it."""
    if is_black_and_white:
        return sentence("a black and white picture")
    return sentence(f"a picture that is mostly {listing(colours)}") if colours else ""


def more_detailed(
    things: Sequence[ObjectGroup], lines: Sequence[Line], around: Sequence[str]
) -> str:
    """Return sentences about all objects, their positions, sizes and relations, and the text."""
    shown = [sentence(f"the picture shows {listing([thing.phrase() for thing in things])}")]
    return " ".join(
        [
            *(shown if things else []),
            *_extents(things),
            *_relations(things),
            *_written(lines),
            *_background(around),
        ]
    )


def _placed(thing: ObjectGroup) -> str:
    if not thing.box_xyxy:
        return thing.phrase()
    if thing.fills:
        return f"{thing.phrase(has_size=False)} filling most of the picture"
    return f"{thing.phrase()} {position_text(thing.box_xyxy)}"


def _extents(things: Sequence[ObjectGroup]) -> Iterator[str]:
    for thing in things:
        be, take, fill = ("are", "take", "fill") if thing.is_many else ("is", "takes", "fills")
        if thing.fills:
            yield sentence(f"the {thing.noun} {fill} most of the picture")
        elif thing.boxes:
            places = listing(list(dict.fromkeys(position_text(box) for box in thing.boxes)))
            is_sized = thing.has_size and bool(thing.box_xyxy)
            share = share_text(share_of(thing.box_xyxy)) if is_sized else ""
            extent = f" and {take} up {share} of the picture" if share else ""
            yield sentence(f"the {thing.noun} {be} {places}{extent}")


def _relations(things: Sequence[ObjectGroup]) -> Iterator[str]:
    placed = [thing for thing in things if thing.box_xyxy]
    for other in placed[1:]:
        side = side_of(other.box_xyxy, placed[0].box_xyxy)
        if side:
            verb = "are" if other.is_many else "is"
            yield sentence(f"the {other.noun} {verb} {side} the {placed[0].noun}")


def _written(lines: Sequence[Line]) -> Iterator[str]:
    if len(lines) == 1:
        yield sentence(f"the text {lines[0].quote} is written {position_text(lines[0].box_xyxy)}")
    elif lines:
        yield sentence(f"the text reads {listing([line.quote for line in lines])}")


def _background(colours: Sequence[str]) -> Iterator[str]:
    if colours:
        yield sentence(f"the background is mostly {listing(colours)}")

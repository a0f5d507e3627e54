"""Parsing the claims of a text: objects with attributes, relations, quoted words.

By regular expressions for the vocabulary of the true captions and of the specialists' templates;
other words are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise, product

from florilegium.pipelines.shape_world.scene import COLOURS, NAMES, PATTERNS, Predicate
from florilegium.specialists.words import colours as measured
from florilegium.specialists.words.nouns import NUMBERS, plural

_COLOURS = sorted({word for name in (*measured.COLOURS, *COLOURS, "gray") for word in name.split()})
_SHADES = ("dark", "light")
_SIZES = ("large", "small")
_NOUNS: Mapping[str, str] = {form: name for name in NAMES for form in (name, plural(name))}
_MANY = 2
"""The number of objects that a plural without a number claims."""
SIDES: Mapping[str, Predicate] = {
    "left of": "left of",
    "right of": "right of",
    "above": "above",
    "over": "above",
    "below": "below",
    "under": "below",
}

_QUOTE = re.compile(r'"([^"]*)"')
_MENTION = re.compile(
    rf"(?<![\w-])(?:(?P<article>a|an|the|many|{'|'.join(NUMBERS)})\s+)?"
    rf"(?P<adjectives>(?:(?:{'|'.join([*_SIZES, *_COLOURS, *PATTERNS])})\s+)*)"
    rf"(?P<noun>{'|'.join(sorted(_NOUNS, key=len, reverse=True))})(?![\w-])",
    re.IGNORECASE,
)
_SIDE = re.compile(
    r'(?:\s+that (?:says|reads) "_*")?\s+(?:(?:is|are)\s+)?(?:(?:to|on)\s+the\s+)?'
    rf"(?P<side>{'|'.join(SIDES)})\s+",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One object that a text mentions; `colour` and `pattern` are empty if it has none."""

    name: str
    colour: str = ""
    pattern: str = ""

    def agrees(self, other: Claim) -> bool:
        """Return whether both may be about one object: same name, no contradiction."""
        return (
            self.name == other.name
            and (not self.colour or not other.colour or self.colour == other.colour)
            and (not self.pattern or not other.pattern or self.pattern == other.pattern)
        )

    @property
    def attributes(self) -> int:
        """The number of attributes; `solid`, the default pattern, does not count."""
        return bool(self.colour) + (self.pattern not in ("", "solid"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Mention:
    """A span of the text, end exclusive, and the indices of the `things` that it refers to."""

    start: int
    stop: int
    things: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """All claims of a text. Numbers in `mentions` and `relations` are indices into `things`."""

    things: tuple[Claim, ...]
    mentions: tuple[Mention, ...]
    relations: tuple[tuple[int, Predicate, int], ...]
    quotes: tuple[str, ...]

    @property
    def attributes(self) -> int:
        """The number of attributes of all objects."""
        return sum(thing.attributes for thing in self.things)


@lru_cache(maxsize=4096)
def claim_of(text: str) -> Claim | None:
    """Return the first object of a label or a short phrase, or `None`."""
    return next((_claim(match) for match in _MENTION.finditer(_without_quotes(text))), None)


@lru_cache(maxsize=4096)
def claims_of(text: str) -> Claims:
    """Parse a caption.

    "A circle" introduces an object; "the circle" refers to one that was introduced, if any agrees;
    "two circles" are two objects. A relation is two mentions with nothing but its words between.
    """
    unquoted = _without_quotes(text)
    things: list[Claim] = []
    mentions: list[Mention] = []
    for match in _MENTION.finditer(unquoted):
        referents = _resolved(match, things)
        if referents:
            mentions.append(Mention(start=match.start(), stop=match.end(), things=referents))
    return Claims(
        things=tuple(things),
        mentions=tuple(mentions),
        relations=tuple(dict.fromkeys(_relations(unquoted, mentions))),
        quotes=tuple(_QUOTE.findall(text)),
    )


def _without_quotes(text: str) -> str:
    """Blank quoted words, so that a sign with the word "STAR" is no star; lengths stay."""
    return _QUOTE.sub(lambda quote: f'"{"_" * len(quote[1])}"', text)


def _claim(match: re.Match[str]) -> Claim:
    """Parse a mention; of "dark red" only the hue counts, as shades are vague."""
    adjectives = match["adjectives"].lower().split()
    hues = [word for word in adjectives if word in _COLOURS and word not in _SHADES]
    patterns = [word for word in adjectives if word in PATTERNS]
    return Claim(
        name=_NOUNS[match["noun"].lower()],
        colour=hues[-1] if hues else "",
        pattern=patterns[-1] if patterns else "",
    )


def _resolved(match: re.Match[str], things: list[Claim]) -> tuple[int, ...]:
    """Return the indices of the objects of a mention; new ones are added to `things`."""
    claim, article = _claim(match), (match["article"] or "").lower()
    is_many = match["noun"].lower() != claim.name
    if article in ("", "the"):
        known = [index for index, thing in enumerate(things) if thing.agrees(claim)]
        known = known if is_many else known[:1]
        for index in known:
            things[index] = _joined(things[index], claim)
        if known:
            return tuple(known)
    count = _MANY if is_many else 1
    if article in NUMBERS:
        count = NUMBERS.index(article)
    things += [claim] * count
    return tuple(range(len(things) - count, len(things)))


def _joined(thing: Claim, later: Claim) -> Claim:
    colour, pattern = thing.colour or later.colour, thing.pattern or later.pattern
    return replace(thing, colour=colour, pattern=pattern)


def _relations(unquoted: str, mentions: list[Mention]) -> Iterator[tuple[int, Predicate, int]]:
    for first, second in pairwise(mentions):
        side = _SIDE.fullmatch(unquoted, first.stop, second.start)
        if side:
            for subject, other in product(first.things, second.things):
                yield subject, SIDES[side["side"].lower()], other

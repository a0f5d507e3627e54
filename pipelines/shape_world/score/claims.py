"""What a text claims about a scene: things with their attributes, sides, quoted words.

Read by plain patterns over the words in which the world's captions and the specialists'
templates speak; other words claim nothing. This module knows no scene and no truth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise, product

from pipelines.shape_world.scene import COLOURS, NAMES, PATTERNS, Predicate
from specialists.words import colours as measured
from specialists.words.nouns import NUMBERS, plural

_COLOURS = sorted({word for name in (*measured.COLOURS, *COLOURS, "gray") for word in name.split()})
_SHADES = ("dark", "light")
_SIZES = ("large", "small")
_NOUNS: Mapping[str, str] = {form: name for name in NAMES for form in (name, plural(name))}
_MANY = 2
"""What a plural without a number claims at least."""
_SIDES: Mapping[str, Predicate] = {
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
    rf"(?P<side>{'|'.join(_SIDES)})\s+",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One thing that a text says is there; `colour` and `pattern` are empty where unsaid."""

    name: str
    colour: str = ""
    pattern: str = ""

    def agrees(self, other: Claim) -> bool:
        """Tell whether both may be about the same thing: one name, nothing contradicts."""
        return (
            self.name == other.name
            and (not self.colour or not other.colour or self.colour == other.colour)
            and (not self.pattern or not other.pattern or self.pattern == other.pattern)
        )

    @property
    def attributes(self) -> int:
        """How many attributes are said; that a thing is solid goes without saying."""
        return bool(self.colour) + (self.pattern not in ("", "solid"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Mention:
    """A place in the text, first and one-past-last character, and the `things` it speaks of."""

    start: int
    stop: int
    things: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """All that a text claims. Numbers in `mentions` and `relations` are places in `things`."""

    things: tuple[Claim, ...]
    mentions: tuple[Mention, ...]
    relations: tuple[tuple[int, Predicate, int], ...]
    quotes: tuple[str, ...]

    @property
    def attributes(self) -> int:
        """How many attributes are said of all things."""
        return sum(thing.attributes for thing in self.things)


@lru_cache(maxsize=4096)
def claim_of(text: str) -> Claim | None:
    """Return what a label or a short phrase names first, or nothing."""
    return next((_claim(match) for match in _MENTION.finditer(_without_quotes(text))), None)


@lru_cache(maxsize=4096)
def claims_of(text: str) -> Claims:
    """Read a caption.

    "A circle" introduces a thing, "the circle" speaks of one that was introduced, if any agrees;
    each of "two circles" is a thing. A side binds two mentions with nothing else in between.
    """
    plain = _without_quotes(text)
    things: list[Claim] = []
    mentions: list[Mention] = []
    for match in _MENTION.finditer(plain):
        meant = _resolved(match, things)
        if meant:
            mentions.append(Mention(start=match.start(), stop=match.end(), things=meant))
    return Claims(
        things=tuple(things),
        mentions=tuple(mentions),
        relations=tuple(dict.fromkeys(_relations(plain, mentions))),
        quotes=tuple(_QUOTE.findall(text)),
    )


def _without_quotes(text: str) -> str:
    """Blank what is quoted, so that a sign that says "STAR" shows no star; lengths stay."""
    return _QUOTE.sub(lambda quote: f'"{"_" * len(quote[1])}"', text)


def _claim(match: re.Match[str]) -> Claim:
    """Read a mention; of "dark red" only the hue counts, the shade is a matter of taste."""
    said = match["adjectives"].lower().split()
    hues = [word for word in said if word in _COLOURS and word not in _SHADES]
    patterns = [word for word in said if word in PATTERNS]
    return Claim(
        name=_NOUNS[match["noun"].lower()],
        colour=hues[-1] if hues else "",
        pattern=patterns[-1] if patterns else "",
    )


def _resolved(match: re.Match[str], things: list[Claim]) -> tuple[int, ...]:
    """Return the things that a mention speaks of; those it introduces are added."""
    claim, article = _claim(match), (match["article"] or "").lower()
    is_many = match["noun"].lower() != claim.name
    if article in ("", "the"):
        known = [place for place, thing in enumerate(things) if thing.agrees(claim)]
        known = known if is_many else known[:1]
        for place in known:
            things[place] = _joined(things[place], claim)
        if known:
            return tuple(known)
    count = _MANY if is_many else 1
    if article in NUMBERS:
        count = NUMBERS.index(article)
    things += [claim] * count
    return tuple(range(len(things) - count, len(things)))


def _joined(thing: Claim, said: Claim) -> Claim:
    colour, pattern = thing.colour or said.colour, thing.pattern or said.pattern
    return replace(thing, colour=colour, pattern=pattern)


def _relations(plain: str, mentions: list[Mention]) -> Iterator[tuple[int, Predicate, int]]:
    for first, second in pairwise(mentions):
        side = _SIDE.fullmatch(plain, first.stop, second.start)
        if side:
            for subject, other in product(first.things, second.things):
                yield subject, _SIDES[side["side"].lower()], other

"""The claims of a caption that was written by the templates of `template_caption`.

The inverse of these templates. What none of them writes is an error or the name of a thing, which
is nowhere and so wrong: no claim passes unjudged when a template changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from florilegium.specialists.words.colours import COLOURS
from florilegium.specialists.words.nouns import NUMBERS

Kind = Literal["name", "count", "colour", "size", "position", "background", "medium", "text"]


class Claim(NamedTuple):
    """One claim: what it is about, in the caption's words, and what it states about it."""

    kind: Kind
    noun: str
    value: str


_COLOUR = "|".join(sorted(map(re.escape, COLOURS), key=len, reverse=True))
_COUNT = "|".join((*NUMBERS[2:], "many"))
_PLACE = r"(?:at|on) the (?:top|bottom|left|right)(?: left| right)?|in the centre"
_FILLS = "filling most of the picture"
_PHRASE = re.compile(
    rf"(?:(?P<count>{_COUNT}) |an? )?(?:(?P<size>large|small) )?(?:(?P<colour>{_COLOUR}) )?"
    rf"(?P<noun>(?!(?:in|at|on) the |filling )[^,]+?)(?: (?P<place>{_PLACE}|{_FILLS}))?",
    re.IGNORECASE,
)
_SENTENCES = {
    "background": re.compile(
        rf"(?:The background|A picture that) is mostly (?P<colours>(?:{_COLOUR})(?: and .+)?)"
    ),
    "medium": re.compile(r"A (?P<medium>black and white) picture"),
    "reads": re.compile(r"(?:The text reads|Text that reads) (?P<lines>.+)"),
    "written": re.compile(rf"The text (?P<lines>⟦\d+⟧) is written (?:{_PLACE})"),
    "fills": re.compile(r"The (?P<noun>.+) fills? most of the picture"),
    "side": re.compile(
        r"The (?P<noun>.+) (?:is|are) (?P<side>to the left of|to the right of|above|below) "
        r"the (?P<other>.+)"
    ),
    "extent": re.compile(
        rf"The (?P<noun>.+?) (?:is|are) (?P<places>(?:{_PLACE})(?:(?:, | and )(?:{_PLACE}))*)"
        r"(?: and takes? up (?P<share>.+) of the picture)?"
    ),
    "shows": re.compile(r"The picture shows (?P<phrases>.+)"),
    "phrases": re.compile(r"(?P<phrases>.+)"),
}
"""In the order in which they are tried."""


def claims_of(caption: str) -> Iterator[Claim]:
    """Yield the claims of a caption.

    Raises:
        ValueError: for a sentence that no template writes.
    """
    quotes: list[str] = []

    def hide(match: re.Match[str]) -> str:
        quotes.append(match[0][1:-1])
        return f"⟦{len(quotes) - 1}⟧"

    hidden = re.sub(r'"[^"]*"', hide, caption)
    for sentence in re.split(r"\.\s+", hidden.removesuffix(".")):
        yield from _of_sentence(sentence, quotes)


def _of_sentence(sentence: str, quotes: list[str]) -> Iterator[Claim]:
    for name, pattern in _SENTENCES.items():
        if not (match := pattern.fullmatch(sentence)):
            continue
        if name == "background":
            for colour in re.split(", | and ", match["colours"]):
                is_whole = sentence.startswith("A picture")
                yield Claim("background", "picture" if is_whole else "", colour)
        elif name == "medium":
            yield Claim("medium", "", match["medium"])
        elif name in ("reads", "written"):
            for number in re.findall(r"⟦(\d+)⟧", match["lines"]):
                yield Claim("text", "", quotes[int(number)])
        elif name == "fills":
            yield Claim("size", match["noun"], _FILLS)
        elif name == "side":
            yield Claim("position", match["noun"], f"{match['side']} {match['other']}")
        elif name == "extent":
            for place in re.split(", | and ", match["places"]):
                yield Claim("position", match["noun"], place)
            if match["share"]:
                yield Claim("size", match["noun"], match["share"])
        else:
            for phrase in re.split(", | and ", match["phrases"]):
                yield from _of_phrase(phrase)
        return
    raise ValueError(f"no template writes {sentence!r}")


def _of_phrase(phrase: str) -> Iterator[Claim]:
    match = _PHRASE.fullmatch(phrase)
    if not match:
        raise ValueError(f"no template writes {phrase!r}")
    noun = match["noun"]
    noun = noun[0].lower() + noun[1:]
    yield Claim("name", noun, noun)
    if match["count"]:
        yield Claim("count", noun, match["count"].lower())
    if match["colour"]:
        yield Claim("colour", noun, match["colour"].lower())
    if match["size"]:
        yield Claim("size", noun, match["size"].lower())
    if match["place"]:
        kind: Kind = "size" if match["place"] == _FILLS else "position"
        yield Claim(kind, noun, match["place"])

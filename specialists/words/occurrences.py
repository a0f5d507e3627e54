"""Where a phrase stands in a text: as whole words, whatever the script.

Words are those of Unicode (UAX 29), with three differences. A hyphen joins: there is no "man" in
"man-made". A possessive "'s" is a word of its own: there is a man in "a man's hat". A full stop
between letters divides: "a sign.The end". In scripts without spaces, such as Chinese, Japanese
and Thai, a word may end at any letter. Plurals are other words: there is no "ear" in "ears".
"""

from __future__ import annotations

from functools import lru_cache

import regex

Span = tuple[int, int]
"""Characters of a text, first and one past last."""

_HYPHEN = r"[-\u2010\u2011]"
_EDGE = (
    rf"(?:\b(?!(?<=\w{_HYPHEN})\w)(?!(?<=\w){_HYPHEN}\w)"
    r"|(?<=\p{L})(?=['\u2019]s\b)"
    r"|(?<=\p{L}[.:])(?=\p{L})|(?<=\p{L})(?=[.:]\p{L}))"
)
_FLAGS = regex.VERSION1 | regex.WORD | regex.IGNORECASE
_BOUNDARY = regex.compile(_EDGE, _FLAGS)


def occurrences(phrase: str, text: str) -> list[Span]:
    """Return where a phrase stands in a text, from left to right, none within another.

    Case and the kind of white space do not matter.
    """
    return [match.span() for match in _pattern(phrase).finditer(text)] if phrase.strip() else []


def located(phrase: str, text: str, cursor: int = 0) -> Span | None:
    """Return where a phrase first stands in a text, from a cursor on or else anywhere."""
    found = occurrences(phrase, text)
    return next((span for span in found if span[0] >= cursor), found[0] if found else None)


def is_phrase(text: str, span: Span) -> bool:
    """Tell whether a span of a text begins and ends at edges of words."""
    return all(_BOUNDARY.match(text, edge) for edge in span)


@lru_cache(maxsize=4096)
def _pattern(phrase: str) -> regex.Pattern[str]:
    words = r"\s+".join(map(regex.escape, phrase.split()))
    return regex.compile(f"{_EDGE}{words}{_EDGE}", _FLAGS)

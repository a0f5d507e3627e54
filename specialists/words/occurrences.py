"""Finding a phrase in a text as whole words, in any script.

Word boundaries are those of Unicode (UAX 29), with three differences: a hyphen joins ("man-made"
contains no "man"), a possessive "'s" is separate ("a man's hat" contains "man"), and a full stop
between letters separates ("a sign.The end"). In scripts without spaces, such as Chinese, Japanese
and Thai, a word may end at any letter. Plurals do not match: "ears" contains no "ear".
"""

from __future__ import annotations

from functools import lru_cache

import regex

Span = tuple[int, int]
"""A span of a text in characters, end exclusive."""

_HYPHEN = r"[-\u2010\u2011]"
_EDGE = (
    rf"(?:\b(?!(?<=\w{_HYPHEN})\w)(?!(?<=\w){_HYPHEN}\w)"
    r"|(?<=\p{L})(?=['\u2019]s\b)"
    r"|(?<=\p{L}[.:])(?=\p{L})|(?<=\p{L})(?=[.:]\p{L}))"
)
_FLAGS = regex.VERSION1 | regex.WORD | regex.IGNORECASE
_BOUNDARY = regex.compile(_EDGE, _FLAGS)


def occurrences(phrase: str, text: str) -> list[Span]:
    """Return the spans of a phrase in a text, from left to right, without overlaps.

    Case and the kind of white space are ignored.
    """
    return [match.span() for match in _pattern(phrase).finditer(text)] if phrase.strip() else []


def located(phrase: str, text: str, cursor: int = 0) -> Span | None:
    """Return the first span of a phrase in a text from a cursor on, else anywhere, or `None`."""
    found = occurrences(phrase, text)
    return next((span for span in found if span[0] >= cursor), found[0] if found else None)


def is_phrase(text: str, span: Span) -> bool:
    """Return whether a span of a text starts and ends at word boundaries."""
    return all(_BOUNDARY.match(text, edge) for edge in span)


@lru_cache(maxsize=4096)
def _pattern(phrase: str) -> regex.Pattern[str]:
    words = r"\s+".join(map(regex.escape, phrase.split()))
    return regex.compile(f"{_EDGE}{words}{_EDGE}", _FLAGS)

"""Cleaning generated answers: role words, further turns and unfinished sentences are removed."""

from __future__ import annotations

import re

_ROLE = re.compile(
    r"\s*(?:<\|?assistant\|?>|(?:assistant|answer)\s*[:\n]|assistant\b(?=\s*$))\s*", re.IGNORECASE
)
"""A role prefix at the start of an answer."""
_NEXT_TURN = re.compile(r"\s*\n\s*(?:user|human|question|instruction)\s*:", re.IGNORECASE)
"""Where a model continues with a turn of the user."""
_SENTENCE_END = re.compile(
    r"""[.!?\u2026\u061f\u06d4\u0964\u0965]+["'\u201d\u2019)\]]*(?=\s|$)  # in scripts with spaces
    | [\u3002\uff01\uff1f]+[\u201d\u2019\uff09\u300d\u300f]*  # and in those without
    """,
    re.VERBOSE,
)
_QUOTES = {'"': '"', "“": "”", "«": "»"}


def own_turn(text: str) -> str:
    """Return an answer up to the start of the next turn."""
    turn = _NEXT_TURN.search(text, _opening(text))
    return text[: turn.start()] if turn else text


def whole_sentences(text: str) -> str:
    """Return a text up to its last complete sentence; "" without one."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else ""


def cleaned(text: str) -> str:
    """Return an answer without role prefix and enclosing quotation marks, with single spaces."""
    words = " ".join(text[_opening(text) :].split())
    inside = words[1:-1]
    is_quoted = len(words) > 2 and _QUOTES.get(words[0]) == words[-1]
    if is_quoted and not any(mark in inside for mark in (words[0], words[-1])):
        return inside.strip()
    return words


def _opening(text: str) -> int:
    role = _ROLE.match(text)
    return role.end() if role else 0

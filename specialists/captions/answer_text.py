"""What of a generated answer is the answer: no role words, no next turn, no unfinished sentence.

Text in, text out; knows no model and no tokens.
"""

from __future__ import annotations

import re

_ROLE = re.compile(
    r"\s*(?:<\|?assistant\|?>|(?:assistant|answer)\s*[:\n]|assistant\b(?=\s*$))\s*", re.IGNORECASE
)
"""How an answer may open that repeats whose turn it is."""
_NEXT_TURN = re.compile(r"\s*\n\s*(?:user|human|question|instruction)\s*:", re.IGNORECASE)
"""Where a model goes on with somebody else's turn."""
_SENTENCE_END = re.compile(
    r"""[.!?\u2026]+["'\u201d\u2019)\]]*(?=\s|$)  # in scripts with spaces; ellipsis, curly quotes
    | [\u3002\uff01\uff1f]+[\u201d\u2019\uff09\u300d\u300f]*  # and in those without
    """,
    re.VERBOSE,
)
_QUOTES = {'"': '"', "“": "”", "«": "»"}


def own_turn(text: str) -> str:
    """Return an answer up to where another turn begins."""
    turn = _NEXT_TURN.search(text, _opening(text))
    return text[: turn.start()] if turn else text


def whole_sentences(text: str) -> str:
    """Return a text up to its last sentence that has an end; empty where none has."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else ""


def cleaned(text: str) -> str:
    """Return an answer without role words or quotation marks around it, with single spaces."""
    words = " ".join(text[_opening(text) :].split())
    inside = words[1:-1]
    is_quoted = len(words) > 2 and _QUOTES.get(words[0]) == words[-1]
    if is_quoted and not any(mark in inside for mark in (words[0], words[-1])):
        return inside.strip()
    return words


def _opening(text: str) -> int:
    role = _ROLE.match(text)
    return role.end() if role else 0

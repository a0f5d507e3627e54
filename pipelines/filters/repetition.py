"""Counts repetitions in a text: whole clauses, or words in a loop.

Names and idioms repeat words, too ("New York, New York", "cha cha cha", "side by side by side"):
the shorter a run of words is, the more often it must be repeated to be a fault.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

LONGEST_LOOP = 16
"""Words of the longest run whose immediate repetition is searched."""
SHORTEST_CLAUSE = 5
"""Words, at least, of a clause whose repetition is a fault; "on the left side" is allowed."""
SHORTEST_SENTENCE = 3
"""The same for whole sentences; "Extra! Extra!" is allowed."""

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_CLAUSE_END = re.compile(r"[.,;:!?\n]+")
_SENTENCE_END = re.compile(r"[.!?\n]+")
_STUMBLES = frozenset(
    {
        "a",
        "an",
        "and",
        "as",
        "at",
        "by",
        "for",
        "from",
        "in",
        "is",
        "of",
        "on",
        "or",
        "the",
        "to",
        "with",
    }
)
"""Words that never occur three times in a row in correct text."""
_PILED = frozenset({"after", "beside", "by", "in", "on", "over", "to", "upon"})
"""Words that join repetitions of a noun: "row after row after row", "houses on houses on
houses"."""
_SETTINGS = frozenset(
    {
        "above",
        "along",
        "around",
        "at",
        "behind",
        "below",
        "beside",
        "between",
        "by",
        "during",
        "from",
        "in",
        "inside",
        "near",
        "next",
        "on",
        "over",
        "through",
        "to",
        "under",
        "with",
    }
)
"""Words that begin a clause about a position, which may be repeated for each object there."""


def count_repeats(prose: str) -> int:
    """Count the repetitions of whole clauses or sentences, or of runs of words in a loop, whichever
    are more."""
    return max(_repeated_clauses(prose), _loops(_words(prose)))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _repeated_clauses(prose: str) -> int:
    clauses = (_words(clause) for clause in _CLAUSE_END.split(prose))
    sentences = (_words(sentence) for sentence in _SENTENCE_END.split(prose))
    counted = [one for one in clauses if len(one) >= SHORTEST_CLAUSE and one[0] not in _SETTINGS]
    whole = [one for one in sentences if len(one) >= SHORTEST_SENTENCE]
    return max(_more_than_once(counted), _more_than_once(whole))


def _more_than_once(parts: Iterable[Sequence[str]]) -> int:
    return sum(count - 1 for count in Counter(map(tuple, parts)).values())


def _loops(words: Sequence[str]) -> int:
    count = start = 0
    while start < len(words):
        size = next((size for size in range(1, LONGEST_LOOP + 1) if _loop(words, start, size)), 0)
        count += size > 0
        start += _length(words, start, size) if size else 1
    return count


def _loop(words: Sequence[str], start: int, size: int) -> bool:
    """Whether the run of `size` words at `start` is repeated there often enough to be a fault."""
    if start + size >= len(words) or words[start] != words[start + size]:
        return False
    length = _length(words, start, size)
    run = words[start : start + size]
    if size == 1:
        return length >= (3 if run[0] in _STUMBLES else 4)
    if size == 2:
        return length >= (8 if len(_PILED.intersection(run)) == 1 else 6)
    if size < SHORTEST_CLAUSE:
        return 2 * length >= 5 * size or (size == SHORTEST_CLAUSE - 1 and length == len(words))
    is_joined = run[-1] in _STUMBLES and size > SHORTEST_CLAUSE
    return length >= 2 * size - is_joined


def _length(words: Sequence[str], start: int, size: int) -> int:
    """Return how many words from `start` on repeat with period `size`, the first run included."""
    stop = start + size
    while stop < len(words) and words[stop] == words[stop - size]:
        stop += 1
    return stop - start

"""Counts repetitions in a text: whole clauses, or words in a loop.

Names and idioms repeat words, too ("New York, New York", "cha cha cha", "side by side by side"):
the shorter a run of words is, the more often it must be repeated to be a fault.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from florilegium.specialists.words.writing import is_unspaced, words_of_any_script

LONGEST_LOOP = 16
"""Words of the longest run whose immediate repetition is searched."""
SHORTEST_CLAUSE = 5
"""Words, at least, of a clause whose repetition is a fault; "on the left side" is allowed."""
SHORTEST_SENTENCE = 3
"""The same for whole sentences; "Extra! Extra!" is allowed."""

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_CLAUSE_END = re.compile(r"[.,;:!?\n]+")
_SENTENCE_END = re.compile(r"[.!?\n]+")
_ANY_CLAUSE_END = re.compile(
    r"[.,;:!?\n\u037e\u060c\u061b\u061f\u06d4\u0964\u0965\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f]+"
)
_ANY_SENTENCE_END = re.compile(r"[.!?\n\u037e\u061f\u06d4\u0964\u0965\u3002\uff01\uff1f]+")
"""The same in other scripts: Greek, Arabic, Devanagari, Chinese."""
LETTERS_OF_WORD = 2
"""How many letters of a script without spaces stand for a word, at least."""
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
    repeated = _repeated(_CLAUSE_END.split(prose), _SENTENCE_END.split(prose), _words)
    return max(repeated, _loops(_words(prose)))


def count_repeats_of_any_script(prose: str) -> int:
    """Count the same in any language. In scripts without spaces, where letters stand for words, a
    clause has twice as many and may end at a space, as in Thai, and a loop is of at least two."""
    clauses, sentences = _ANY_CLAUSE_END.split(prose), _ANY_SENTENCE_END.split(prose)
    words = words_of_any_script(prose)
    per_word = 1
    if 2 * sum(map(is_unspaced, words)) > len(words):
        per_word = LETTERS_OF_WORD
        clauses = [part for clause in clauses for part in clause.split()]
    repeated = _repeated(clauses, sentences, words_of_any_script, per_word)
    return max(repeated, _loops(words, shortest=per_word))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _repeated(
    clauses: Sequence[str],
    sentences: Sequence[str],
    split: Callable[[str], list[str]],
    per_word: int = 1,
) -> int:
    """Count the clauses, or else the sentences, that occur again, of enough words."""
    counted = [
        one
        for one in map(split, clauses)
        if len(one) >= per_word * SHORTEST_CLAUSE and one[0] not in _SETTINGS
    ]
    whole = [one for one in map(split, sentences) if len(one) >= per_word * SHORTEST_SENTENCE]
    return max(_more_than_once(counted), _more_than_once(whole))


def _more_than_once(parts: Iterable[Sequence[str]]) -> int:
    return sum(count - 1 for count in Counter(map(tuple, parts)).values())


def _loops(words: Sequence[str], shortest: int = 1) -> int:
    count = start = 0
    sizes = range(shortest, LONGEST_LOOP + 1)
    while start < len(words):
        size = next((size for size in sizes if _loop(words, start, size)), 0)
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

"""What can be counted in a caption: parts of speech, complexity, repetition, echo.

Pure functions on a parsed text. This module knows no threshold and no stage.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

LONGEST_STUTTER = 16
"""Words of the longest run whose immediate repetition is looked for."""
SHORTEST_CLAUSE = 5
"""Words from which on saying a clause twice is a fault; "on the left side" is none."""

_WORD = re.compile(r"[^\W_]+")
_CLAUSE_END = re.compile(r"[.,;:!?\n]+")
_QUOTATION = re.compile(r'"[^"]*"|“[^”]*”|«[^»]*»|„[^“”]*[“”]')


def count_grammar(doc: Doc) -> Mapping[str, float]:
    """Count objects, attributes, actions and proper nouns, and how entangled they are.

    Objects are nouns and proper nouns, attributes adjectives, actions verbs. The complexity of
    a token is its degree in the dependency tree read as an undirected graph (Florence-2 paper,
    section 5.2); that of a caption is the mean over its objects, or actions, and 0 when it has
    none. Of mean and maximum, the mean is what comes near the paper's Table 3.
    """
    objects = [token for token in doc if token.pos_ in ("NOUN", "PROPN")]
    actions = [token for token in doc if token.pos_ == "VERB"]
    return {
        "objects": len(objects),
        "attributes": sum(token.pos_ == "ADJ" for token in doc),
        "actions": len(actions),
        "proper_nouns": sum(token.pos_ == "PROPN" for token in objects),
        "object_complexity": _mean_degree(objects),
        "action_complexity": _mean_degree(actions),
        "words": sum(not (token.is_punct or token.is_space) for token in doc),
    }


def _mean_degree(tokens: Sequence[Token]) -> float:
    degrees = [token.n_lefts + token.n_rights + (token.head.i != token.i) for token in tokens]
    return sum(degrees) / len(degrees) if degrees else 0.0


def prose_of(text: str) -> str:
    """Return the text without its quotations, or all of it when nothing else is said.

    What a caption quotes is the image's wording: in any language, repeated as it may be.
    """
    prose = _QUOTATION.sub(" ", text)
    return prose if _WORD.search(prose) else text


def words_of(text: str) -> list[str]:
    """Return the words of a text, lower-cased, without punctuation."""
    return _WORD.findall(text.casefold())


def count_repeats(prose: str) -> int:
    """Count what is said again: whole clauses, or runs of words repeated at once.

    Whichever is more. A single word counts from its third time in a row: "very very" is English.
    """
    return max(_repeated_clauses(prose), _stutters(words_of(prose)))


def _repeated_clauses(prose: str) -> int:
    clauses = [tuple(words_of(clause)) for clause in _CLAUSE_END.split(prose)]
    long_clauses = [clause for clause in clauses if len(clause) >= SHORTEST_CLAUSE]
    return len(long_clauses) - len(set(long_clauses))


def _stutters(words: Sequence[str]) -> int:
    count = start = 0
    while start < len(words):
        size = _stutter_at(words, start)
        count += size > 0
        start += size or 1
    return count


def _stutter_at(words: Sequence[str], start: int) -> int:
    """Return the length of the run that is repeated right after itself, 0 when none is."""
    if len(set(words[start : start + 3])) == 1 and len(words) >= start + 3:
        return 1
    for size in range(2, LONGEST_STUTTER + 1):
        if words[start : start + size] == words[start + size : start + 2 * size]:
            return size
    return 0


def ocr_overlap(prose: str, ocr_words: Collection[str], stop_words: Collection[str]) -> float:
    """Return the share of the caption's content words that stand in the image as text, 0..1.

    A caption that only reads out its image says nothing about what is seen (the CAT filter of
    DiHT, arXiv 2301.02280). Quoting is no echo: `prose` comes without quotations.
    """
    content = [word for word in words_of(prose) if len(word) > 1 and word not in stop_words]
    return sum(word in ocr_words for word in content) / len(content) if content else 0.0

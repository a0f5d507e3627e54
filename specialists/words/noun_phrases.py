"""The noun phrases of an English text, and where a long text can be cut without harm to them.

Reads what spaCy parsed; loads no parser and knows no annotation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from specialists.words.occurrences import is_phrase

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span

_UNSPOKEN = ("DET", "PUNCT", "SPACE")
"""Parts of speech that a phrase may open with and that name nothing: articles, quotation marks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NounPhrase:
    """A noun phrase, by the characters of its text: first and one past last.

    `words` is the span without the article that opens it, `head` the base form of its noun, in
    lower case: "The large dogs" is about "large dogs" and its head is "dog".
    """

    span: tuple[int, int]
    words: tuple[int, int]
    head: str


def noun_phrases(document: Doc) -> list[NounPhrase]:
    """Return the noun phrases of a text in their order, whole words; pronouns are none."""
    return [
        _noun_phrase(chunk)
        for chunk in document.noun_chunks
        if chunk.root.pos_ in ("NOUN", "PROPN") and is_whole(chunk)
    ]


def is_whole(words: Span) -> bool:
    """Tell whether tokens of the parser, which cuts "10km" in two, are whole words."""
    return is_phrase(words.doc.text, (words.start_char, words.end_char))


def _noun_phrase(chunk: Span) -> NounPhrase:
    opening = 0
    while chunk[opening].i < chunk.root.i and chunk[opening].pos_ in _UNSPOKEN:
        opening += 1
    return NounPhrase(
        span=(chunk.start_char, chunk.end_char),
        words=(chunk[opening].idx, chunk.end_char),
        head=(chunk.root.lemma_ or chunk.root.text).lower(),
    )


def parts(document: Doc, sizes: Sequence[int], *, room: int) -> Iterator[tuple[int, int]]:
    """Cut a text into parts of at most so much, as characters: first and one past last.

    Cuts are at ends of sentences; where a sentence is too long, between its phrases, and where
    a phrase is, within it.

    Args:
        sizes: the size of each token of spaCy, in the unit of `room`.
    """
    whole = len(document)
    reach = [0, *accumulate(sizes)]
    within = {
        token.i for chunk in document.noun_chunks for token in document[chunk.start + 1 : chunk.end]
    }
    between = [place for place in range(1, whole) if place not in within]
    ends = [sentence.end for sentence in document.sents]
    start = 0
    while start < whole:
        stop = next(
            (
                max(fitting)
                for places in (ends, [*between, whole], range(1, whole + 1))
                if (fitting := [p for p in places if p > start and reach[p] - reach[start] <= room])
            ),
            start + 1,  # a single word without end
        )
        yield document[start].idx, document[stop - 1].idx + len(document[stop - 1])
        start = stop

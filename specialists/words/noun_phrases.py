"""The noun phrases of a text parsed by spaCy, and splitting a long text between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from florilegium.specialists.words.occurrences import is_phrase

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span, Token

_SKIPPED = ("DET", "PUNCT", "SPACE")
"""Parts of speech to skip at the start of a phrase: articles, quotation marks."""
_MARGINS = ("PUNCT", "SPACE")
"""Parts of speech that a referring expression neither starts nor ends with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NounPhrase:
    """A noun phrase; spans are in characters, end exclusive.

    `words` is the span without the article, `head` the lemma of its noun in lower case: for "The
    large dogs", "large dogs" and "dog". `expression` is the span with the words that depend on the
    noun: "The large dogs in the snow".
    """

    span: tuple[int, int]
    words: tuple[int, int]
    head: str
    expression: tuple[int, int]


def noun_phrases(document: Doc) -> list[NounPhrase]:
    """Return the noun phrases of a text in order, of whole words, without pronouns."""
    return [
        _noun_phrase(chunk)
        for chunk in document.noun_chunks
        if chunk.root.pos_ in ("NOUN", "PROPN") and is_whole(chunk)
    ]


def is_whole(words: Span) -> bool:
    """Return whether tokens are whole words; the tokenizer splits "10km" in two."""
    return is_phrase(words.doc.text, (words.start_char, words.end_char))


def _noun_phrase(chunk: Span) -> NounPhrase:
    opening = 0
    while chunk[opening].i < chunk.root.i and chunk[opening].pos_ in _SKIPPED:
        opening += 1
    expression = referring_expression(chunk)
    return NounPhrase(
        span=(chunk.start_char, chunk.end_char),
        words=(chunk[opening].idx, chunk.end_char),
        head=(chunk.root.lemma_ or chunk.root.text).lower(),
        expression=(expression.start_char, expression.end_char),
    )


def referring_expression(chunk: Span) -> Span:
    """Return a noun chunk with the words around it that depend on its noun, directly or not.

    GrIT's expansion (Kosmos-2, arXiv 2306.14824, section 2): "a dog" becomes "a dog in a field of
    flowers". As there, a noun with conjuncts is not expanded. Here, the expansion also ends before
    a conjunct of a dependent word, which may be another thing ("a man with a hat | and a dog"), and
    before words that belong to something else: it is contiguous text.
    """
    if chunk.root.conjuncts:
        return chunk
    document = chunk.doc
    own = {one.i for one in _dependents(chunk.root) if not one.is_quote and not one.is_bracket}
    start, stop = chunk.start, chunk.end
    while start - 1 in own:
        start -= 1
    while stop in own:
        stop += 1
    while start < chunk.start and document[start].pos_ in _MARGINS:
        start += 1
    while stop > chunk.end and document[stop - 1].pos_ in _MARGINS:
        stop -= 1
    expression = document[start:stop]
    return expression if is_whole(expression) else chunk


def _dependents(token: Token) -> Iterator[Token]:
    """Yield the words that depend on a word, without conjuncts and what depends on those."""
    for child in token.children:
        if child.dep_ not in ("cc", "conj", "preconj"):
            yield child
            yield from _dependents(child)


def split(document: Doc, sizes: Sequence[int], *, room: int) -> Iterator[tuple[int, int]]:
    """Split a text into parts of at most `room`; yield character spans, end exclusive.

    Splits are between sentences; in a sentence that is too long, between noun phrases; in a
    phrase that is too long, within it.

    Args:
        sizes: the size of each spaCy token, in the unit of `room`.
    """
    whole = len(document)
    reach = [0, *accumulate(sizes)]
    within = {
        token.i for chunk in document.noun_chunks for token in document[chunk.start + 1 : chunk.end]
    }
    between = [index for index in range(1, whole) if index not in within]
    ends = [sentence.end for sentence in document.sents]
    start = 0
    while start < whole:
        stop = next(
            (
                max(fitting)
                for candidates in (ends, [*between, whole], range(1, whole + 1))
                if (
                    fitting := [
                        p for p in candidates if p > start and reach[p] - reach[start] <= room
                    ]
                )
            ),
            start + 1,  # a single word that is too long
        )
        yield document[start].idx, document[stop - 1].idx + len(document[stop - 1])
        start = stop

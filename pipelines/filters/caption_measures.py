"""Counts in a caption: parts of speech, complexity, repetition of recognised text.

Pure functions on a parsed text. This module knows no threshold and no stage.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

_WORD = re.compile(r"[^\W_]+")
_QUOTATION = re.compile(r'"[^"]*"|“[^”]*”|«[^»]*»|„[^“”]*[“”]')


def count_grammar(doc: Doc) -> Mapping[str, float]:
    """Count objects, attributes, actions and proper nouns, and measure their complexity.

    Section 5.2 of the Florence-2 paper counts by part of speech and does not publish its rules.
    Objects are nouns and proper nouns; attributes are adjectives, adverbs, numerals, and nouns
    and participles before the noun that they describe; actions are verbs.

    The complexity of a word is its degree in the dependency tree read as an undirected graph. All
    mentions of a word (by its lemma) are one node: what is named again is the same object, with
    more connections. Punctuation is no node. The complexity of a caption is the mean over its
    mentions of objects, or actions, and 0 when it has none.

    `things` are objects, too, but a name of several words counts once. Numbers count as words only
    beside a word.
    """
    objects = [token for token in doc if token.pos_ in ("NOUN", "PROPN")]
    actions = [token for token in doc if token.pos_ == "VERB"]
    degrees = _degrees(doc)
    return {
        "objects": len(objects),
        "things": sum(not _continues_name(token) for token in objects),
        "attributes": sum(map(_is_attribute, doc)),
        "actions": len(actions),
        "proper_nouns": sum(token.pos_ == "PROPN" for token in objects),
        "object_complexity": _mean_degree(objects, degrees),
        "action_complexity": _mean_degree(actions, degrees),
        "words": _count_words(doc),
    }


def _is_attribute(token: Token) -> bool:
    describes_noun = token.pos_ in ("NOUN", "VERB") and token.dep_ in ("compound", "amod")
    return token.pos_ in ("ADJ", "ADV", "NUM") or describes_noun


def _degrees(doc: Doc) -> Mapping[str, int]:
    """Return how many other words each lemma is connected to in the dependency tree."""
    beside: defaultdict[str, set[str]] = defaultdict(set)
    for token in doc:
        word, head = token.lemma_, token.head.lemma_
        if word != head and not (token.is_punct or token.is_space or token.head.is_punct):
            beside[word].add(head)
            beside[head].add(word)
    return {word: len(others) for word, others in beside.items()}


def _continues_name(token: Token) -> bool:
    return token.pos_ == "PROPN" and token.dep_ in ("compound", "flat") and token.head.i != token.i


def _count_words(doc: Doc) -> int:
    if not any(map(str.isalpha, doc.text)):
        return 0
    return sum(_WORD.search(token.text) is not None for token in doc)


def _mean_degree(tokens: Sequence[Token], degrees: Mapping[str, int]) -> float:
    return sum(degrees.get(token.lemma_, 0) for token in tokens) / max(len(tokens), 1)


def prose_of(text: str) -> str:
    """Return the text without its quotations, or all of it when there is nothing else.

    A quotation is text in the image: it may be in any language and may repeat words.
    """
    prose = _QUOTATION.sub(" ", text)
    return prose if _WORD.search(prose) else text


def words_of(text: str) -> list[str]:
    """Return the words of a text, lower-cased, without punctuation."""
    return _WORD.findall(text.casefold())


def ocr_overlap(prose: str, ocr_words: Collection[str], stop_words: Collection[str]) -> float:
    """Return the share of the caption's content words that are text in the image, 0..1.

    A caption that only repeats this text does not describe the image (the CAT filter of DiHT,
    arXiv 2301.02280). Quotations are allowed: `prose` is without them. A caption of a single
    content word ("A pizza.") has 0.
    """
    content = [word for word in words_of(prose) if len(word) > 1 and word not in stop_words]
    return sum(word in ocr_words for word in content) / len(content) if len(content) > 1 else 0.0

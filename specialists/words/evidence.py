"""What a text names that nobody said: its objects against the words of all who were heard.

An object is a noun, as spaCy's parser has it. Words decide, by lemma and plural, and no synonym
and no broader term stands for another: who heard of a man has not heard of a person, and a kind
that is added ("kitchen table") is added. It looks at no pixel and counts nothing: two dogs are
supported by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from threading import Lock
from typing import TYPE_CHECKING

from engine.annotation import CAPTION_TASKS, Annotation
from specialists.words.colours import COLOURS
from specialists.words.english import load_english, parse
from specialists.words.nouns import plural_form
from specialists.words.word_list import WordList

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

NAMED_TASKS = (
    "object_detection",
    "open_vocabulary_detection",
    "dense_region_caption",
    "region_category",
    "region_description",
)
"""Tasks whose regions bear a name of what is in them."""
EVIDENCE_TASKS = (*CAPTION_TASKS, *NAMED_TASKS, "ocr", "tag")
"""Tasks whose words speak for a text."""

_READ = "text word letter writing"
"""What whoever reads a line in the image has said too."""
_MOST_KEPT = 20_000
_COLOUR_WORDS = frozenset(word for colour in COLOURS for word in colour.split())
_WORD = re.compile(r"[^\W_]+")
_END = re.compile(r"[.!?…][\"”)\]]*(\s+)(?=[\"“(\[]*[^\W_a-z])")
"""The end of a sentence before a capital or a number: what lies farther away does not count."""
_ABBREVIATION = re.compile(r"\b([A-Z]|Mr|Mrs|Ms|Dr|St|Mt|No|Prof|Jr|Sr|vs)\.$")


class ObjectCheck:
    """Finds the objects of sentences that their evidence does not name; may be shared by threads.

    `general` lists nouns that name nothing one can point at, which anybody may use.
    """

    def __init__(self, general: WordList) -> None:
        load_english()
        self._general = general
        self._lock = Lock()  # of the forms that are kept
        self._forms: dict[str, frozenset[str]] = {}

    def unsupported(
        self, parts: Sequence[str], heard: Sequence[Annotation]
    ) -> list[tuple[str, ...]]:
        """Return for each sentence the objects that nobody named, as lemmas in their order."""
        words = {text for one in heard for text in words_of(one)}
        with self._lock:
            named = frozenset[str]().union(*self._forms_of(words))
            return [
                tuple(
                    token.lemma_.lower()
                    for token in document
                    if self._is_object(token) and not _is_named(token, named)
                )
                for document in map(parse(parts).__getitem__, parts)
            ]

    def _forms_of(self, texts: set[str]) -> list[frozenset[str]]:
        """Return the forms of the words of each text. Names return in image after image, so what
        was parsed is kept for a while."""
        if len(self._forms) > _MOST_KEPT:
            self._forms.clear()
        new = sorted(texts - self._forms.keys())
        for text, document in parse(new).items():
            self._forms[text] = frozenset(_forms(document))
        return [self._forms[text] for text in texts]

    def _is_object(self, token: Token) -> bool:
        """Tell whether a token names a thing: no number, no colour, no general word."""
        names = (token.lower_, token.lemma_.lower())
        return (
            token.pos_ in ("NOUN", "PROPN")
            and not token.like_num
            and any(len(word) > 1 and word.isalpha() for word in _WORD.findall(token.lower_))
            and _COLOUR_WORDS.isdisjoint(names)
            and not any(map(self._general.has_phrase, names))
        )


def _is_named(token: Token, named: frozenset[str]) -> bool:
    lemma = token.lemma_.lower()
    pieces = _WORD.findall(token.lower_)
    forms = (token.lower_, lemma, plural_form(lemma))
    return not named.isdisjoint(forms) or named.issuperset(pieces)


def _forms(document: Doc) -> Iterator[str]:
    """Yield every word of a text in the forms in which it may be said again."""
    for token in document:
        for word in (token.lower_, token.lemma_.lower(), *_WORD.findall(token.lower_)):
            yield word
            yield plural_form(word)


def sentences(text: str) -> list[str]:
    """Cut a text into sentences; those that remain of a text are cut the same way.

    Within double quotes nothing is cut: it is read off the image.
    """
    cuts = [
        match
        for match in _END.finditer(text)
        if text.count('"', 0, match.start(1)) % 2 == 0
        and not _ABBREVIATION.search(text, 0, match.start() + 1)
    ]
    starts = [0, *(match.end() for match in cuts)]
    stops = [*(match.start(1) for match in cuts), len(text)]
    parts = (text[start:stop].strip() for start, stop in zip(starts, stops, strict=True))
    return [part for part in parts if part]


def evidence_among(annotations: Iterable[Annotation]) -> list[Annotation]:
    """Return the annotations that speak for a text: captions, and who first says each name."""
    first: dict[tuple[str, ...], Annotation] = {}
    for one in annotations:
        if one.task in EVIDENCE_TASKS and (words := words_of(one)):
            is_caption = one.task in CAPTION_TASKS
            first.setdefault((one.id, *words) if is_caption else words, one)
    return list(first.values())


def words_of(annotation: Annotation) -> tuple[str, ...]:
    """Return the texts that an annotation says: its label, its text, or both."""
    said = [text for text in (annotation.label, annotation.text) if text.strip()]
    if said and annotation.task == "ocr":
        said.append(_READ)
    return tuple(dict.fromkeys(said))

"""Checking the objects that a text names against the texts of other annotations (the evidence).

An object is a noun, by spaCy's parser. Words are compared by lemma and plural; synonyms and
hypernyms do not count: "man" is no evidence for "person", and an added kind ("kitchen table") is
unsupported. Pixels and counts are not used: one dog supports two dogs. A sentence without objects
needs evidence for its verbs and adjectives; an instruction is always unsupported.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.tasks import CAPTION_TASKS, DESCRIBED_TASKS
from florilegium.specialists.words.colours import COLOURS
from florilegium.specialists.words.english import load_english, parse
from florilegium.specialists.words.instructions import (
    count_instructions,
    is_instruction,
    without_quotations,
)
from florilegium.specialists.words.nouns import plural_form
from florilegium.specialists.words.word_list import WordList

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

NO_EVIDENCE = "no_evidence"
INSTRUCTION = "instruction"
EVIDENCE_TASKS = (*CAPTION_TASKS, *DESCRIBED_TASKS, "ocr", "tag")
"""Tasks whose annotations are evidence."""

_IMPLIED_BY_OCR = "text word letter writing"
"""Nouns that a line of OCR supports, too."""
_MAX_CACHED = 20_000
_COLOUR_WORDS = frozenset(word for colour in COLOURS for word in colour.split())
_SUBJECTS = ("nsubj", "nsubjpass", "csubj", "aux", "auxpass", "expl")
_LIGHT_VERBS = frozenset(
    ("be", "have", "show", "see", "depict", "feature", "appear", "seem", "look")
)
"""Verbs that need no evidence, such as "shows"."""
_SIGNS = frozenset("{}<>`\\|")
"""Characters of code or markup, which no description contains."""
_CODE = re.compile(r"[\w\])]\((?![sS]\))|==|\w\s?=\s?\w|;\s*$|--\s*$|^\W*[/!@$#]\w")
"""Code and commands: a call, an equation, the end of a statement, `/imagine`."""
_ADDRESS = re.compile(
    r"(?i:(?:https?|ftp|file|data|javascript)://?|\bwww\.)|\S@\S+\.\w|[\w-]\.[a-z]{2,}(?:/|\b)"
)
_LATIN = re.compile(r"(?:[\u0000-\u024f\u1e00-\u1eff]|[^\w])*")
_WORD = re.compile(r"[^\W_]+")
_END = re.compile(r"[.!?…][\"”)\]]*(\s+)(?=[\"“(\[]*[^\W_a-z])")
"""The end of a sentence, before a capital letter or a number."""
_ABBREVIATION = re.compile(r"\b([A-Z]|Mr|Mrs|Ms|Dr|St|Mt|No|Prof|Jr|Sr|vs)\.$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The result for a sentence: its unsupported objects, as lemmas in order, and its problem:
    `no_evidence`, `instruction` or ""."""

    objects: tuple[str, ...] = ()
    problem: str = ""

    @property
    def is_supported(self) -> bool:
        """Whether all of it is supported."""
        return not self.objects and not self.problem


class ObjectCheck:
    """Checks sentences against their evidence; thread-safe.

    `general` lists abstract nouns, which need no evidence.
    """

    def __init__(self, general: WordList) -> None:
        load_english()
        self._general = general
        self._lock = Lock()  # of `_forms`
        self._forms: dict[str, frozenset[str]] = {}

    def unsupported(
        self, parts: Sequence[str], evidence: Sequence[Annotation]
    ) -> list[tuple[str, ...]]:
        """Return the unsupported objects of each sentence, as lemmas in order."""
        return [finding.objects for finding in self.findings(parts, evidence)]

    def findings(self, parts: Sequence[str], evidence: Sequence[Annotation]) -> list[Finding]:
        """Return the finding for each sentence.

        Instructions are no evidence. OCR is evidence for objects and quotations only.
        """
        texts = {
            text: one.task == "ocr"
            for one in sorted(evidence, key=lambda one: one.task != "ocr")
            for text in texts_of(one)
            if one.task == "ocr" or not count_instructions(text)
        }
        with self._lock:
            forms = dict(zip(texts, self._forms_of(texts), strict=True))
            named = frozenset[str]().union(*forms.values())
            stated = frozenset[str]().union(
                *(forms[text] for text in texts if text == _IMPLIED_BY_OCR or not texts[text])
            )
            return [
                self._finding(part, document, named, stated)
                for part, document in zip(parts, map(parse(parts).__getitem__, parts), strict=True)
            ]

    def _finding(
        self, part: str, document: Doc, named: frozenset[str], stated: frozenset[str]
    ) -> Finding:
        things = [token for token in document if self._is_object(token)]
        objects = tuple(token.lemma_.lower() for token in things if not _is_named(token, named))
        if is_instruction(part) or _commands(document, stated):
            return Finding(objects=objects, problem=INSTRUCTION)
        outside = without_quotations(part)
        own_words = frozenset(_WORD.findall(outside.lower()))
        own = [one for one in document if own_words.issuperset(_WORD.findall(one.lower_))]
        is_supported = (
            _SIGNS.isdisjoint(outside)
            and not _CODE.search(outside)
            and not _ADDRESS.search(outside)
            and named.issuperset(own_words.symmetric_difference(_WORD.findall(part.lower())))
            and not any(_is_strange(token, stated) for token in own)
            and (
                any(_is_named(thing, stated) for thing in things)
                or all(_is_supported(token, stated, things) for token in own)
            )
        )
        return Finding(objects=objects, problem="" if is_supported else NO_EVIDENCE)

    def _forms_of(self, texts: Collection[str]) -> list[frozenset[str]]:
        """Return the forms of the words of each text; cached, as names recur in many images."""
        if len(self._forms) > _MAX_CACHED:
            self._forms.clear()
        new = sorted(set(texts) - self._forms.keys())
        for text, document in parse(new).items():
            self._forms[text] = frozenset(_forms(document))
        return [self._forms[text] for text in texts]

    def _is_object(self, token: Token) -> bool:
        """Return whether a token is a noun that needs evidence: no number, colour or general
        word."""
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


def _commands(document: Doc, stated: frozenset[str]) -> bool:
    """Return whether a sentence has an imperative without evidence: a bare verb without subject."""
    return any(
        token.tag_ == "VB"
        and token.dep_ in ("ROOT", "conj", "ccomp", "parataxis")
        and not any(child.dep_ in _SUBJECTS for child in token.children)
        and not (token.dep_ != "ROOT" and any(child.dep_ == "aux" for child in token.head.children))
        and not _is_named(token, stated)
        for token in document
    )


def _is_strange(token: Token, stated: frozenset[str]) -> bool:
    """Return whether a token is a foreign word or of another script, without evidence."""
    is_odd = token.pos_ in ("X", "INTJ") or not _LATIN.fullmatch(token.text)
    return is_odd and any(map(str.isalpha, token.text)) and not _is_named(token, stated)


def _is_supported(token: Token, stated: frozenset[str], things: Sequence[Token]) -> bool:
    """Return whether a word of a sentence without objects has evidence, or needs none."""
    is_content = (token.pos_ in ("VERB", "ADJ", "NUM") and not token.is_stop) or token in things
    return not is_content or token.lemma_.lower() in _LIGHT_VERBS or _is_named(token, stated)


def _forms(document: Doc) -> Iterator[str]:
    """Yield every word of a text in all forms that count as the same."""
    for token in document:
        for word in (token.lower_, token.lemma_.lower(), *_WORD.findall(token.lower_)):
            yield word
            yield plural_form(word)


def sentences(text: str) -> list[str]:
    """Split a text into sentences; a subset of them, joined, is split the same way.

    Text in double quotes is not split: it is quoted from the image.
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
    """Return the annotations that are evidence: all captions, and the first one for each name."""
    first: dict[tuple[str, ...], Annotation] = {}
    for one in annotations:
        if one.task in EVIDENCE_TASKS and (words := texts_of(one)):
            is_caption = one.task in CAPTION_TASKS
            first.setdefault((one.id, *words) if is_caption else words, one)
    return list(first.values())


def texts_of(annotation: Annotation) -> tuple[str, ...]:
    """Return the texts of an annotation: its label, its text, or both."""
    texts = [text for text in (annotation.label, annotation.text) if text.strip()]
    if texts and annotation.task == "ocr":
        texts.append(_IMPLIED_BY_OCR)
    return tuple(dict.fromkeys(texts))

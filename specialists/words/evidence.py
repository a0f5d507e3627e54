"""What a text names that nobody said: its objects against the words of all who were heard.

An object is a noun, as spaCy's parser has it. Words decide, by lemma and plural, and no synonym
and no broader term stands for another: who heard of a man has not heard of a person, and a kind
that is added ("kitchen table") is added. It looks at no pixel and counts nothing: two dogs are
supported by one. A sentence that names no object needs evidence for its verbs and adjectives, and
one that tells its reader what to do has none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from engine.core.annotation import Annotation
from engine.core.tasks import CAPTION_TASKS, DESCRIBED_TASKS
from specialists.words.colours import COLOURS
from specialists.words.english import load_english, parse
from specialists.words.instructions import (
    count_instructions,
    is_instruction,
    without_quotations,
)
from specialists.words.nouns import plural_form
from specialists.words.word_list import WordList

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

NO_EVIDENCE = "no_evidence"
INSTRUCTION = "instruction"
EVIDENCE_TASKS = (*CAPTION_TASKS, *DESCRIBED_TASKS, "ocr", "tag")
"""Tasks whose words speak for a text."""

_READ = "text word letter writing"
"""What whoever reads a line in the image has said too."""
_MOST_KEPT = 20_000
_COLOUR_WORDS = frozenset(word for colour in COLOURS for word in colour.split())
_SUBJECTS = ("nsubj", "nsubjpass", "csubj", "aux", "auxpass", "expl")
_LIGHT = frozenset(("be", "have", "show", "see", "depict", "feature", "appear", "seem", "look"))
"""Verbs by which a sentence says that something is there."""
_SIGNS = frozenset("{}<>`\\|")
"""Signs of code, which no description has."""
_CODE = re.compile(r"[\w\])]\((?![sS]\))|==|\w\s?=\s?\w|;\s*$|--\s*$|^\W*[/!@$#]\w")
"""What stands in code and in commands: a call, an equation, the end of a statement, `/imagine`."""
_ADDRESS = re.compile(
    r"(?i:(?:https?|ftp|file|data|javascript)://?|\bwww\.)|\S@\S+\.\w|[\w-]\.[a-z]{2,}(?:/|\b)"
)
_LATIN = re.compile(r"(?:[\u0000-\u024f\u1e00-\u1eff]|[^\w])*")
_WORD = re.compile(r"[^\W_]+")
_END = re.compile(r"[.!?…][\"”)\]]*(\s+)(?=[\"“(\[]*[^\W_a-z])")
"""The end of a sentence before a capital or a number: what lies farther away does not count."""
_ABBREVIATION = re.compile(r"\b([A-Z]|Mr|Mrs|Ms|Dr|St|Mt|No|Prof|Jr|Sr|vs)\.$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What is wrong with a sentence: the objects that nobody named, as lemmas in their order, and
    whether it has `no_evidence` otherwise, or is an `instruction`."""

    objects: tuple[str, ...] = ()
    problem: str = ""

    @property
    def is_supported(self) -> bool:
        """Whether nothing is."""
        return not self.objects and not self.problem


class ObjectCheck:
    """Holds sentences against their evidence; may be shared by threads.

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
        return [finding.objects for finding in self.findings(parts, heard)]

    def findings(self, parts: Sequence[str], heard: Sequence[Annotation]) -> list[Finding]:
        """Return for each sentence what it has no evidence for.

        Instructions among the evidence are none. Text in the image speaks for objects and for
        what a sentence quotes, for nothing else that it says.
        """
        texts = {
            text: one.task == "ocr"
            for one in sorted(heard, key=lambda one: one.task != "ocr")
            for text in words_of(one)
            if one.task == "ocr" or not count_instructions(text)
        }
        with self._lock:
            forms = dict(zip(texts, self._forms_of(texts), strict=True))
            named = frozenset[str]().union(*forms.values())
            spoken = frozenset[str]().union(
                *(forms[text] for text in texts if text == _READ or not texts[text])
            )
            return [
                self._finding(part, document, named, spoken)
                for part, document in zip(parts, map(parse(parts).__getitem__, parts), strict=True)
            ]

    def _finding(
        self, part: str, document: Doc, named: frozenset[str], spoken: frozenset[str]
    ) -> Finding:
        things = [token for token in document if self._is_object(token)]
        objects = tuple(token.lemma_.lower() for token in things if not _is_named(token, named))
        if is_instruction(part) or _commands(document, spoken):
            return Finding(objects=objects, problem=INSTRUCTION)
        outside = without_quotations(part)
        own_words = frozenset(_WORD.findall(outside.lower()))
        own = [one for one in document if own_words.issuperset(_WORD.findall(one.lower_))]
        is_supported = (
            _SIGNS.isdisjoint(outside)
            and not _CODE.search(outside)
            and not _ADDRESS.search(outside)
            and named.issuperset(own_words.symmetric_difference(_WORD.findall(part.lower())))
            and not any(_is_strange(token, spoken) for token in own)
            and (
                any(_is_named(thing, spoken) for thing in things)
                or all(_is_said(token, spoken, things) for token in own)
            )
        )
        return Finding(objects=objects, problem="" if is_supported else NO_EVIDENCE)

    def _forms_of(self, texts: Collection[str]) -> list[frozenset[str]]:
        """Return the forms of the words of each text. Names return in image after image, so what
        was parsed is kept for a while."""
        if len(self._forms) > _MOST_KEPT:
            self._forms.clear()
        new = sorted(set(texts) - self._forms.keys())
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


def _commands(document: Doc, spoken: frozenset[str]) -> bool:
    """Tell whether a sentence commands by a verb that nobody said: a bare one without a subject."""
    return any(
        token.tag_ == "VB"
        and token.dep_ in ("ROOT", "conj", "ccomp", "parataxis")
        and not any(child.dep_ in _SUBJECTS for child in token.children)
        and not (token.dep_ != "ROOT" and any(child.dep_ == "aux" for child in token.head.children))
        and not _is_named(token, spoken)
        for token in document
    )


def _is_strange(token: Token, spoken: frozenset[str]) -> bool:
    """Tell whether a token is no English word in a sentence, or of another script, and nobody's."""
    is_odd = token.pos_ in ("X", "INTJ") or not _LATIN.fullmatch(token.text)
    return is_odd and any(map(str.isalpha, token.text)) and not _is_named(token, spoken)


def _is_said(token: Token, spoken: frozenset[str], things: Sequence[Token]) -> bool:
    """Tell whether a word of a sentence without objects was said, or says nothing by itself."""
    is_content = (token.pos_ in ("VERB", "ADJ", "NUM") and not token.is_stop) or token in things
    return not is_content or token.lemma_.lower() in _LIGHT or _is_named(token, spoken)


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

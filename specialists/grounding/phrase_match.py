"""Phrase grounding by words: noun phrases of captions are matched with the labels of boxes.

Matching compares label, lemma and head noun; no pixels are used. If several boxes have the name,
`mentions` resolves which one a caption refers to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.rank import ranked
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Input, Specialist, StageConfig, maybe, one_of
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.specialists.grounding.mentions import Mention, distinct_lines, referents
from florilegium.specialists.words.colours import COLOURS
from florilegium.specialists.words.english import (
    english_captions,
    english_revision,
    load_english,
    parse,
)
from florilegium.specialists.words.noun_phrases import is_whole
from florilegium.specialists.words.nouns import NUMBERS, REFERENCES, plural, quoted
from florilegium.specialists.words.occurrences import occurrences

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span, Token

SAME = 1.0
"""The phrase ends with the label: "a red motor scooter" and "motor scooter"."""
KIND_OF = 0.9
"""The phrase names a kind of the label: "a motor scooter" and "scooter"."""
MORE_GENERAL = 0.7
"""The phrase is the head noun of the label: "the scooter" and "motor scooter"."""

_NOT_A_KIND = ("guinea pig", "hot dog", "hot pot", "prairie dog", "sea cucumber", "sea lion")
"""Names that are no hyponyms of their head noun."""
_COLOUR_WORDS = frozenset(word for colour in COLOURS for word in colour.split())
_ANOTHER = ("another", "other", "others")
_QUOTE = re.compile(r'"[^"]*"')


class PhraseMatchConfig(StageConfig):
    """Options of `phrase_match`."""

    least_strength: float = Field(default=MORE_GENERAL, ge=0, le=1)
    """Minimum strength of a match: 1 the same name, 0.9 a kind of it, 0.7 its head noun."""


class PhraseMatch(Specialist[PhraseMatchConfig]):
    """One annotation per phrase and region; the parent is the caption.

    A singular phrase gets the region that is first in rank, "two cups" two, a bare plural all.
    Quoted words get the line of OCR that they quote. Two mentions of one name ("a dog ... a dog")
    get a region each by the positions stated in the caption, quotations also by their order; if
    these are ambiguous, none. The score is the region's score times the strength of the match
    (`SAME`, `KIND_OF`, `MORE_GENERAL`).
    """

    Config: ClassVar[type[StageConfig]] = PhraseMatchConfig
    version: ClassVar[int] = 3
    reads: tuple[Input, ...] = (
        one_of(*CAPTION_TASKS),
        one_of("object_detection"),
        maybe("ocr"),
    )
    produces: tuple[str, ...] = ("phrase_grounding",)
    extra: ClassVar[str] = "starter"

    @property
    def model(self) -> str:
        """The parser that finds the phrases."""
        return "en_core_web_sm"

    def revision(self) -> str:
        """Name the package of the English pipeline."""
        return english_revision()

    def load(self) -> None:
        """Load spaCy's English pipeline."""
        load_english()

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Ground the captions; all are parsed in one call, independently."""
        documents = self._parsed(samples)
        return [self._grounded(sample, documents) for sample in samples]

    def _parsed(self, samples: Sequence[Sample]) -> dict[str, Doc]:
        """Parse the captions of samples with regions, each text once."""
        return parse(
            caption.text
            for sample in samples
            if _regions(sample)
            for caption in english_captions(sample)
        )

    def _grounded(self, sample: Sample, documents: Mapping[str, Doc]) -> list[Annotation]:
        regions = _regions(sample)
        labels = sorted({region.label for region in regions})
        lines = [line for line in sample.of("ocr") if line.box_xyxy and line.text.strip()]
        groundings: list[Annotation] = []
        for caption in english_captions(sample):
            mentions = list(quotations(caption.text, lines))
            for phrase in phrases(documents[caption.text], labels) if regions else ():
                mentions += named(phrase, regions, self.config.least_strength)
            mentions.sort(key=lambda mention: mention.span)
            found = referents(caption.text, mentions, (sample.width, sample.height))
            for mention, own in zip(mentions, found, strict=True):
                groundings += [_grounding(caption, mention, region) for region in own]
        return groundings


def phrases(document: Doc, labels: Sequence[str]) -> Iterator[Span]:
    """Yield the noun chunks outside of quotations, and labels that the parser did not recognise.

    The parser takes "moped" in "a large red moped" for a verb; the words of a label are a noun.
    """
    taken: set[int] = set()
    for quote in _QUOTE.finditer(document.text):
        quoted_words = document.char_span(*quote.span(), alignment_mode="expand")
        taken.update(range(quoted_words.start, quoted_words.end))
    chunks = [
        chunk
        for chunk in document.noun_chunks
        if taken.isdisjoint(range(chunk.start, chunk.end)) and is_whole(chunk)
    ]
    yield from chunks
    for chunk in chunks:
        taken.update(range(chunk.start, chunk.end))
    for name in sorted(map(_words, labels), key=len, reverse=True):
        for start in range(len(document) - len(name) + 1):
            indices = range(start, start + len(name))
            words = document[start : indices.stop]
            is_free = name and taken.isdisjoint(indices) and is_whole(words)
            if is_free and all(map(_is_same, words, name)):
                taken.update(indices)
                yield _with_adjectives(words)


def _with_adjectives(mention: Span) -> Span:
    """Extend a mention to the left over determiners, adjectives and numbers."""
    start = mention.start
    while start > 0 and (
        mention.doc[start - 1].pos_ in ("DET", "ADJ", "NUM") or _is_colour(mention.doc[start - 1])
    ):
        start -= 1
    while not is_whole(mention.doc[start : mention.end]):  # "red" of "dark-red"
        start += 1
    return mention.doc[start : mention.end]


def named(phrase: Span, regions: Sequence[Annotation], least: float) -> Iterator[Mention]:
    """Yield the mention of a phrase with the regions that match it best, if any does.

    Args:
        regions: the first in rank first.
    """
    strengths = [strength_of(phrase, region.label) for region in regions]
    best = max(strengths, default=0.0)
    if best == 0 or best < least:
        return
    nearest = [
        region for region, strength in zip(regions, strengths, strict=True) if strength == best
    ]
    if best == SAME:  # "a tabby cat" is a "tabby cat" before it is a "cat"
        longest = max(len(_words(region.label)) for region in nearest)
        nearest = [region for region in nearest if len(_words(region.label)) == longest]
    yield Mention(
        span=(phrase.start_char, phrase.end_char),
        regions=tuple(nearest),
        strength=best,
        count=count_of(phrase),
        is_known=phrase[0].lower_ in REFERENCES,
        is_another=any(token.lower_ in _ANOTHER for token in phrase),
    )


def strength_of(phrase: Span, label: str) -> float:
    """Return the strength of the match of a phrase, which ends with its head noun, and a label,
    0..1."""
    words, name = [token for token in phrase if not token.is_punct], _words(label)
    if not words or not name or not _is_same(words[-1], name[-1]):
        return 0.0
    ending = " ".join(token.lemma_.lower() for token in words[-2:])
    if ending in _NOT_A_KIND and ending != label.lower():
        return 0.0
    if len(words) >= len(name) and all(map(_is_same, words[-len(name) :], name)):
        return KIND_OF if any(map(_is_kind, words[: -len(name)])) else SAME
    is_other_kind = any(map(_is_kind, words[:-1])) or label.lower() in _NOT_A_KIND
    return 0.0 if is_other_kind else MORE_GENERAL


def count_of(phrase: Span) -> int | None:
    """Return the number of objects that a phrase refers to; `None` for a plural without a
    number."""
    for token in phrase:
        if token.lower_ in NUMBERS:
            return NUMBERS.index(token.lower_)
        if token.text.isdecimal():
            return int(token.text)
    return None if phrase[-1].tag_ in ("NNS", "NNPS") else 1


def quotations(caption: str, lines: Sequence[Annotation]) -> Iterator[Mention]:
    """Yield the quotations of a caption that are lines of OCR."""
    lines_of: dict[str, list[Annotation]] = {}
    for line in lines:
        lines_of.setdefault(quoted(line.text), []).append(line)
    for quotation, own in lines_of.items():
        regions = tuple(distinct_lines(own))
        for start, stop in occurrences(quotation, caption):
            if " ".join(caption[start:stop].split()) == quotation:  # in the same case
                yield Mention(
                    span=(start + 1, stop - 1), regions=regions, strength=SAME, is_quotation=True
                )


def _regions(sample: Sample) -> list[Annotation]:
    """Return the regions with boxes, the first in rank first."""
    regions = [region for region in sample.of("object_detection") if region.box_xyxy]
    return ranked(regions, sample.known)


def _words(label: str) -> list[str]:
    return re.findall(r"[^\s-]+", label.lower())


def _is_same(token: Token, word: str) -> bool:
    return token.lower_ in (word, plural(word)) or token.lemma_.lower() == word


def _is_kind(token: Token) -> bool:
    """Return whether a word before the head noun is a noun that makes it a subtype."""
    return token.pos_ in ("NOUN", "PROPN") and not _is_colour(token)


def _is_colour(token: Token) -> bool:
    return token.lower_ in _COLOUR_WORDS


def _grounding(caption: Annotation, mention: Mention, region: Annotation) -> Annotation:
    return Annotation(
        kind="phrase",
        task="phrase_grounding",
        text=caption.text[slice(*mention.span)],
        label="text" if mention.is_quotation else region.label,
        language=caption.language,
        box_xyxy=region.box_xyxy,
        span=mention.span,
        score=None if region.score is None else region.score * mention.strength,
        parent_id=caption.id,
    )
